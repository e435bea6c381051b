//! Edits under load, faults in the folder, crashes, draining: what happens while things change.
#![cfg(test)]

mod support;

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Backend, Connection, Gateway, gateway, get, listener, route, services};

/// A route whose answers tell the version of the manifest.
fn versioned(name: &str, host: &str, version: usize) -> String {
    let rules = format!(
        "
        - filters:
          - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-version, value: '{version}'}}]}}}}
          backendRefs: [{{name: {name}, port: 80}}]
        "
    );
    route(name, &[host], &rules)
}

fn version(gateway: &Gateway, host: &str) -> Option<usize> {
    gateway.try_send(&get(host, "/")).ok()?.header("x-version")?.parse().ok()
}

/// What clients that never pause have seen.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    answered: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Load {
    /// Sends one request after the other until told to stop; a new connection for each, or one for all.
    fn run(&self, gateway: &Gateway, host: &str, keep_alive: bool) {
        let mut connection = None;
        while !self.done.load(Ordering::Relaxed) {
            let open = connection.take().map_or_else(|| gateway.connect(80), Ok);
            match open.and_then(|open| one_request(open, host)) {
                Ok(open) if keep_alive => connection = Some(open),
                Ok(_) => (),
                Err(error) => self.failures.lock().unwrap().push(error.to_string()),
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn one_request(mut connection: Connection, host: &str) -> io::Result<Connection> {
    let response = connection.exchange(&get(host, "/"))?;
    let good = response.status == 200 && response.header("x-version").is_some();
    if good { Ok(connection) } else { Err(io::Error::other(format!("{response:?}"))) }
}

#[test]
fn a_hundred_edits_under_load_fail_no_request() {
    let [busy] = Backend::group(["busy"]);
    let gateway = Gateway::shared();
    gateway.apply("busy.yaml", &(services(&[&busy]) + &versioned("busy", "busy.test", 0)));
    let load = Load::default();
    let slowest = std::thread::scope(|scope| {
        for client in 0..4 {
            let load = &load;
            scope.spawn(move || load.run(gateway, "busy.test", client % 2 == 0));
        }
        let mut slowest = Duration::ZERO;
        for edit in 1..=100 {
            let begin = Instant::now();
            gateway.write("busy.yaml", &(services(&[&busy]) + &versioned("busy", "busy.test", edit)));
            gateway.wait_for("the edit", Duration::from_secs(20), || {
                version(gateway, "busy.test") == Some(edit)
            });
            slowest = slowest.max(begin.elapsed());
        }
        load.done.store(true, Ordering::Relaxed);
        slowest
    });
    let failures = load.failures.into_inner().unwrap();
    let answered = load.answered.into_inner();
    println!("{answered} requests during 100 edits, the slowest of which took {slowest:?}");
    assert!(answered > 500, "only {answered} requests");
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {}\n{}",
        failures.len(),
        failures[0],
        gateway.log_tail()
    );
}

#[test]
fn a_malformed_file_is_reported_and_the_last_good_version_stays() {
    let [good] = Backend::group(["good"]);
    let gateway = Gateway::shared();
    gateway.apply("good.yaml", &(services(&[&good]) + &versioned("good", "good.test", 1)));
    gateway.write("good.yaml", "kind: HTTPRoute\n  metadata: [unclosed\n");
    gateway.settle();
    assert_eq!(version(gateway, "good.test"), Some(1));
    gateway.wait_for("the report", Duration::from_secs(5), || gateway.log().contains("good.yaml"));
    gateway.apply("good.yaml", &(services(&[&good]) + &versioned("good", "good.test", 2)));
    assert_eq!(version(gateway, "good.test"), Some(2));
}

#[test]
fn a_malformed_object_keeps_its_last_good_version_and_costs_no_other() {
    let [part] = Backend::group(["part"]);
    let gateway = Gateway::shared();
    let first = versioned("part", "part.test", 1);
    gateway.apply("part.yaml", &(services(&[&part]) + &first + &versioned("part-b", "b.part.test", 1)));
    let broken = first.replace("hostnames: [\"part.test\"]", "hostnames: {not: a list}");
    assert_ne!(first, broken);
    let other = versioned("part-b", "b.part.test", 2).replace("name: part-b, port", "name: part, port");
    gateway.apply("part.yaml", &(services(&[&part]) + &broken + &other));
    assert_eq!(version(gateway, "part.test"), Some(1));
    assert_eq!(version(gateway, "b.part.test"), Some(2));
    gateway.wait_for("the report", Duration::from_secs(5), || {
        gateway.log().lines().any(|line| line.contains("part.yaml") && line.contains("default/part"))
    });
    gateway.remove("part.yaml");
    assert_eq!(
        gateway.send(&get("part.test", "/")).status,
        404,
        "a file that is gone takes its objects along"
    );
}

#[test]
fn sub_folders_and_other_files() {
    let [sub] = Backend::group(["sub"]);
    let gateway = Gateway::shared();
    gateway.write("notes.txt", "kind: [not yaml");
    gateway.apply("team/web/service.yml", &services(&[&sub]));
    gateway.apply("team/web/route.yaml", &versioned("sub", "sub.test", 1));
    assert_eq!(version(gateway, "sub.test"), Some(1));
    std::fs::remove_dir_all(gateway.folder().join("team")).unwrap();
    gateway.settle();
    assert_eq!(gateway.send(&get("sub.test", "/")).status, 404);
}

#[test]
fn objects_of_other_kinds_are_left_alone() {
    let [own] = Backend::group(["own"]);
    let gateway = Gateway::shared();
    let others = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 3}
---
apiVersion: example.net/v1
kind: HTTPRoute
metadata: {name: not-ours}
spec: {rules: 7}
";
    gateway
        .apply("others.yaml", &(others.to_owned() + &services(&[&own]) + &versioned("own", "own.test", 1)));
    assert_eq!(version(gateway, "own.test"), Some(1));
}

fn own_gateway(backend: &Backend, host: &str) -> Gateway {
    let manifests = services(&[backend]) + &versioned(&backend.name, host, 1);
    let files = [("gateway.yaml", gateway("gw", &listener("http", 80))), ("route.yaml", manifests)];
    Gateway::start(&[80], &files)
}

/// The process that serves: Varnish names it after its work.
fn varnish_child(gateway: &Gateway) -> u32 {
    gateway.processes("cache-main").first().copied().expect("varnishd has a child")
}

#[test]
fn a_crash_of_varnishs_child_heals_itself() {
    let [crash] = Backend::group(["crash"]);
    let gateway = own_gateway(&crash, "crash.test");
    let before = varnish_child(&gateway);
    gateway.signal(before, "SEGV");
    gateway.wait_for("another child", Duration::from_secs(30), || {
        gateway.processes("cache-main").iter().any(|pid| *pid != before)
    });
    gateway.wait_for("an answer", Duration::from_secs(30), || version(&gateway, "crash.test") == Some(1));
    gateway.wait_for("readiness", Duration::from_secs(30), || {
        gateway.admin_get("/readyz").is_some_and(|response| response.status == 200)
    });
    assert!(gateway.status()["child_starts"].as_u64() >= Some(2), "{}", gateway.status());
    gateway.apply("route.yaml", &(services(&[&crash]) + &versioned("crash", "crash.test", 2)));
    assert_eq!(version(&gateway, "crash.test"), Some(2));
}

#[test]
fn a_listener_that_is_added_or_removed_keeps_varnish_and_its_cache() {
    let [add] = Backend::group(["add"]);
    let gateway_on = |ports: &[(&str, u16)]| {
        gateway("gw", &ports.iter().map(|(name, port)| listener(name, *port)).collect::<String>())
    };
    let manifests = services(&[&add]) + &versioned("add", "add.test", 1);
    let files = [("gateway.yaml", gateway_on(&[("http", 80)])), ("route.yaml", manifests)];
    let gateway = Gateway::start(&[80, 82], &files);
    let child = varnish_child(&gateway);
    let cached = get("add.test", "/?cc=max-age=600");
    assert_eq!(gateway.send(&cached).status, 200);
    gateway.apply("gateway.yaml", &gateway_on(&[("http", 80), ("more", 82)]));
    let answer = gateway.send(&get("add.test", "/").port(82));
    assert_eq!(answer.received("x-forwarded-proto"), ["http"]);
    let before = add.requests();
    assert_eq!((gateway.send(&cached).status, add.requests()), (200, before), "it is in the cache still");
    gateway.apply("gateway.yaml", &gateway_on(&[("http", 80)]));
    gateway.wait_for("the port to close", Duration::from_secs(10), || gateway.connect(82).is_err());
    assert_eq!((gateway.send(&cached).status, add.requests()), (200, before));
    assert_eq!(varnish_child(&gateway), child);
}

#[test]
fn a_killed_reloader_is_started_again() {
    let [kill] = Backend::group(["kill"]);
    let gateway = own_gateway(&kill, "kill.test");
    let before = gateway.processes("copal-reloader");
    gateway.signal(before[0], "KILL");
    gateway.wait_for("another reloader", Duration::from_secs(30), || {
        gateway.processes("copal-reloader").iter().any(|pid| !before.contains(pid))
    });
    gateway.wait_for("an answer", Duration::from_secs(30), || version(&gateway, "kill.test") == Some(1));
    gateway.apply("route.yaml", &(services(&[&kill]) + &versioned("kill", "kill.test", 2)));
    assert_eq!(version(&gateway, "kill.test"), Some(2));
}

#[test]
fn draining_finishes_requests_closes_idle_connections_and_exits_with_zero() {
    let [drain] = Backend::group(["drain"]);
    let gateway = own_gateway(&drain, "drain.test");
    let children = [gateway.processes("copal-reloader"), gateway.processes("varnishd")].concat();
    let mut idle = gateway.connect(80).unwrap();
    assert_eq!(idle.exchange(&get("drain.test", "/")).unwrap().status, 200);
    let mut busy = gateway.connect(80).unwrap();
    busy.write(&get("drain.test", "/?delay_ms=3000").wire()).unwrap();
    gateway.wait_for("the request to arrive", Duration::from_secs(5), || drain.requests() == 2);
    gateway.terminate();
    gateway.wait_for("readiness to end", Duration::from_secs(5), || {
        gateway.admin_get("/readyz").is_none_or(|response| response.status == 503)
    });
    assert!(idle.closes_within(Duration::from_secs(10)), "an idle connection is closed");
    let response = busy.read_response(false).expect("a request in flight is answered");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("connection"), Some("close"));
    let status = gateway.wait_exit(Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{}", gateway.log_tail());
    let left: Vec<&u32> = children.iter().filter(|pid| support::resident_kib(**pid) > 0).collect();
    assert!(left.is_empty(), "still running: {left:?}");
    assert!(gateway.connect(80).is_err());
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let file = folder.path().join("file.txt");
    std::fs::write(&file, "not a folder").unwrap();
    for unusable in [&absent, &file] {
        let output = Command::new(env!("CARGO_BIN_EXE_copal"))
            .arg("run")
            .arg(unusable)
            .arg("--state")
            .arg(folder.path().join("state"))
            .args(["--admin", &format!("127.0.0.1:{}", support::free_ports(1))])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{message}");
        assert!(message.contains(&unusable.display().to_string()), "{message}");
    }
}
