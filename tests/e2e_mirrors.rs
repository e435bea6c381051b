//! RequestMirror through a real varnishd and relay.
#![cfg(test)]

mod support;

use std::time::{Duration, Instant};

use support::{Backend, Gateway, Request, get, route, service_of, services};

/// A rule for a path with these filters, to the Service `main`.
fn rule(path: &str, filters: &[&str]) -> String {
    format!(
        "- matches: [{{path: {{value: {path}}}}}]\n  filters: [{}]\n  backendRefs: [{{name: main, port: 80}}]\n",
        filters.join(", ")
    )
}

fn mirror(service: &str, share: &str) -> String {
    format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: {service}, port: 80}}{share}}}}}")
}

/// Copies are sent without anybody waiting for them.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_mirror_gets_what_the_backend_gets() {
    let [main, copy] = Backend::group(["main", "copy"]);
    let headers = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: new}], remove: [x-gone]}}";
    let rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /to}}}";
    let rules = rule("/from", &[&mirror("copy", ""), headers, rewrite]);
    let gateway = Gateway::shared();
    gateway.scene("mirror", &[services(&[&main, &copy]), route("r", &["mirror.test"], &rules)]);
    main.record();
    copy.record();
    let request =
        Request::new("POST", "mirror.test", "/from?q=1").header("X-Gone", "1").body(&vec![b'x'; 200_000]);
    assert_eq!(gateway.send(&request).backend(), "main");
    wait_for("the copy", || copy.recorded().len() == 1);
    let (sent, copied) = (&main.recorded()[0], &copy.recorded()[0]);
    for field in ["method", "path", "host", "bytes"] {
        assert_eq!(sent[field], copied[field], "{field}");
    }
    assert_eq!((copied["path"].as_str(), copied["bytes"].as_u64()), (Some("/to?q=1"), Some(200_000)));
    assert_eq!(copied["headers"]["x-set"], serde_json::json!(["new"]));
    assert_eq!(copied["headers"].get("x-gone"), None);
    assert_eq!(copied["headers"]["x-forwarded-proto"], sent["headers"]["x-forwarded-proto"]);
}

#[test]
fn several_mirrors_and_every_request_though_it_could_be_cached() {
    let [main, one, two] = Backend::group(["main", "one", "two"]);
    let rules = rule("/", &[&mirror("one", ""), &mirror("two", "")]);
    let gateway = Gateway::shared();
    gateway.scene("mirrors", &[services(&[&main, &one, &two]), route("r", &["mirrors.test"], &rules)]);
    for _ in 0..10 {
        assert_eq!(gateway.send(&get("mirrors.test", "/?cc=max-age=60")).backend(), "main");
    }
    assert_eq!(main.requests(), 10);
    wait_for("all copies", || (one.requests(), two.requests()) == (10, 10));
}

#[test]
fn shares_are_kept() {
    let [main, fifth, half, none] = Backend::group(["main", "fifth", "half", "none"]);
    let filters = [
        mirror("fifth", ", percent: 20"),
        mirror("half", ", fraction: {numerator: 25, denominator: 50}"),
        mirror("none", ", percent: 0"),
    ];
    let rules = rule("/", &filters.each_ref().map(String::as_str));
    let gateway = Gateway::shared();
    gateway.scene("share", &[services(&[&main, &fifth, &half, &none]), route("r", &["share.test"], &rules)]);
    let mut connection = gateway.connect(80).unwrap();
    for _ in 0..1000 {
        assert_eq!(connection.exchange(&get("share.test", "/")).unwrap().status, 200);
    }
    std::thread::sleep(Duration::from_millis(500));
    // Four standard deviations of binomial distributions with n = 1000 are 51 and 63.
    assert!((149..=251).contains(&fifth.requests()), "{} of 1000 are no 20 %", fifth.requests());
    assert!((437..=563).contains(&half.requests()), "{} of 1000 are no half", half.requests());
    assert_eq!((main.requests(), none.requests()), (1000, 0));
}

#[test]
fn a_mirror_that_is_gone_slow_or_failing_costs_nobody_anything() {
    let [main, gone, slow, failing] = Backend::group(["main", "gone", "slow", "failing"]);
    let mirrors = ["gone", "slow", "failing", "absent"].map(|name| mirror(name, ""));
    let rules = rule("/", &mirrors.each_ref().map(String::as_str));
    let gateway = Gateway::shared();
    let manifests = [services(&[&main, &gone, &slow, &failing]), route("r", &["bad-mirrors.test"], &rules)];
    gateway.scene("bad-mirrors", &manifests);
    gone.stop();
    slow.script(&[support::Step::Delay(Duration::from_secs(30)); 20]);
    failing.script(&[support::Step::Close; 20]);
    let start = Instant::now();
    for _ in 0..20 {
        let response = gateway.send(&Request::new("PUT", "bad-mirrors.test", "/").body(&[b'x'; 10_000]));
        assert_eq!((response.status, response.told("bytes")), (200, "10000".into()));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "20 requests took {:?}", start.elapsed());
}

#[test]
fn mirrors_change_live() {
    let [main, old, new] = Backend::group(["main", "old", "new"]);
    let gateway = Gateway::shared();
    let scene = |mirrors: &[&str]| {
        let filters: Vec<_> = mirrors.iter().map(|name| mirror(name, "")).collect();
        let rules = rule("/", &filters.iter().map(String::as_str).collect::<Vec<_>>());
        let manifests = [services(&[&main, &old, &new]), route("r", &["live-mirrors.test"], &rules)];
        gateway.scene("live-mirrors", &manifests);
        assert_eq!(gateway.send(&get("live-mirrors.test", "/")).backend(), "main");
    };
    scene(&["old"]);
    wait_for("the old mirror's copy", || old.requests() == 1);
    scene(&["new"]);
    wait_for("the new mirror's copy", || new.requests() == 1);
    scene(&[]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((main.requests(), old.requests(), new.requests()), (3, 1, 1));
}

#[test]
fn statuses_of_the_backend_are_those_without_mirrors() {
    let [main, gone, copy] = Backend::group(["main", "gone", "copy"]);
    let rules = [
        rule("/late", &[&mirror("copy", "")]) + "  timeouts: {request: 300ms}\n",
        rule("/plain", &[&mirror("copy", "")]),
        rule("/gone", &[&mirror("copy", "")]).replace("name: main", "name: gone"),
    ];
    let gateway = Gateway::shared();
    let manifests = [services(&[&main, &gone, &copy]), route("r", &["faults.test"], &rules.concat())];
    gateway.scene("mirror-faults", &manifests);
    gone.stop();
    let status = |target: &str| gateway.send(&get("faults.test", target)).status;
    assert_eq!(status("/late?delay_ms=2000"), 504);
    assert_eq!(status("/plain/status/418"), 418);
    assert_eq!(status("/plain?close"), 503);
    let refused = status("/gone");
    assert!([502, 503].contains(&refused), "{refused}");
}

#[test]
fn websocket_with_a_mirror() {
    let [main, copy] = Backend::group(["main", "copy"]);
    let ws = service_of("main", "appProtocol: kubernetes.io/ws", &[main.address]);
    let rules = rule("/", &[&mirror("copy", "")]);
    let gateway = Gateway::shared();
    gateway.scene("ws-mirror", &[ws, services(&[&copy]), route("r", &["ws-mirror.test"], &rules)]);
    let upgrade = get("ws-mirror.test", "/")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut tunnel = gateway.connect(80).unwrap();
    assert_eq!(tunnel.exchange(&upgrade).unwrap().status, 101);
    tunnel.write(b"there and back").unwrap();
    assert_eq!(tunnel.read_exact(14).unwrap(), b"there and back");
}
