//! Where requests go: weights, endpoints, invalid references; time-outs, retries, WebSocket, HTTP/2.
#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::{Backend, Gateway, Request, Step, get, h2c, route, service, service_of, services};

fn rule(path: &str, rest: &str) -> String {
    format!("- matches: [{{path: {{value: {path}}}}}]\n  {rest}\n")
}

#[test]
fn requests_are_split_by_weight() {
    let [seventy, thirty, zero] = Backend::group(["seventy", "thirty", "zero"]);
    let rules = "
        - backendRefs:
          - {name: seventy, port: 80, weight: 70}
          - {name: thirty, port: 80, weight: 30}
          - {name: zero, port: 80, weight: 0}
    ";
    let gateway = Gateway::shared();
    gateway.scene("weights", &[services(&[&seventy, &thirty, &zero]), route("r", &["weights.test"], rules)]);
    let mut connection = gateway.connect(80).unwrap();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1000 {
        let response = connection.exchange(&get("weights.test", "/")).unwrap();
        *counts.entry(response.backend().to_owned()).or_default() += 1;
    }
    // Four standard deviations of a binomial distribution with n = 1000, p = 0.7 are 58.
    assert!((642..=758).contains(&counts["seventy"]), "{counts:?}");
    assert_eq!(counts["seventy"] + counts["thirty"], 1000, "{counts:?}");
}

#[test]
fn weights_of_nothing_but_zero_and_of_an_invalid_backend() {
    let [one] = Backend::group(["one"]);
    let rules = [
        rule("/zero", "backendRefs: [{name: one, port: 80, weight: 0}]"),
        rule("/half", "backendRefs: [{name: one, port: 80, weight: 1}, {name: absent, port: 80, weight: 1}]"),
    ];
    let gateway = Gateway::shared();
    gateway.scene("odd-weights", &[services(&[&one]), route("r", &["odd.test"], &rules.concat())]);
    assert_eq!(gateway.send(&get("odd.test", "/zero")).status, 500);
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    for _ in 0..200 {
        *counts.entry(gateway.send(&get("odd.test", "/half")).status).or_default() += 1;
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [200, 500], "{counts:?}");
    assert!((57..=143).contains(&counts[&200]), "half, within six standard deviations: {counts:?}");
}

#[test]
fn endpoints_of_all_slices_serve() {
    let mut backends = vec![Backend::start("v4-a"), Backend::start("v4-b")];
    backends.extend(Backend::bind("v6", "[::1]:0").ok());
    let everyone: Vec<&Backend> = backends.iter().collect();
    let not_ready = Backend::start("not-ready");
    let slice = service("all", &[&not_ready]).split("---").last().unwrap_or_default().to_owned();
    let slice =
        format!("---{}", slice.replace("all-0", "all-not-ready").replace("ready: true", "ready: false"));
    let manifests = [
        service("all", &everyone),
        slice,
        route("r", &["slices.test"], "- backendRefs: [{name: all, port: 80}]"),
    ];
    let gateway = Gateway::shared();
    gateway.scene("slices", &manifests);
    for _ in 0..60 {
        assert_eq!(gateway.send(&get("slices.test", "/")).status, 200);
    }
    for backend in &backends {
        assert!(backend.requests() >= 5, "{} had {} of 60 requests", backend.name, backend.requests());
    }
    assert_eq!(not_ready.requests(), 0);
}

#[test]
fn endpoints_change_live() {
    let [old, new] = Backend::group(["old", "new"]);
    let rules = "- backendRefs: [{name: s, port: 80}]";
    let gateway = Gateway::shared();
    gateway.scene("endpoints", &[service("s", &[&old]), route("r", &["endpoints.test"], rules)]);
    gateway.check("GET endpoints.test/ -> 200 old");
    gateway.scene("endpoints", &[service("s", &[&new]), route("r", &["endpoints.test"], rules)]);
    gateway.check("GET endpoints.test/ -> 200 new");
    gateway.scene("endpoints", &[service("s", &[]), route("r", &["endpoints.test"], rules)]);
    gateway.check("GET endpoints.test/ -> 503");
}

#[test]
fn invalid_references_cost_their_rule_alone() {
    let [one] = Backend::group(["one"]);
    let rules = [
        rule("/good", "backendRefs: [{name: one, port: 80}]"),
        rule("/absent", "backendRefs: [{name: absent, port: 80}]"),
        rule("/kind", "backendRefs: [{name: one, kind: Bucket, group: example.net, port: 80}]"),
        rule("/port", "backendRefs: [{name: one, port: 81}]"),
        rule("/no-port", "backendRefs: [{name: one}]"),
        rule("/namespace", "backendRefs: [{name: one, namespace: elsewhere, port: 80}]"),
        rule("/none", "name: no-backends"),
        rule("/empty", "backendRefs: []"),
        rule("/idle", "backendRefs: [{name: idle, port: 80}]"),
        rule("/gone", "backendRefs: [{name: gone, port: 80}]"),
    ];
    let gone = Backend::start("gone");
    let manifests =
        [services(&[&one, &gone]), service_of("idle", "", &[]), route("r", &["refs.test"], &rules.concat())];
    gone.stop();
    let gateway = Gateway::shared();
    gateway.scene("refs", &manifests);
    gateway.check(
        "
        GET refs.test/good              -> 200 one
        GET refs.test/absent            -> 500
        GET refs.test/kind              -> 500
        GET refs.test/port              -> 500
        GET refs.test/no-port           -> 500
        GET refs.test/namespace         -> 500
        GET refs.test/none              -> 500
        GET refs.test/empty             -> 500
        GET refs.test/idle              -> 503
        GET refs.test/none-of-them      -> 404
        GET refs.test/good/again        -> 200 one
        ",
    );
    let refused = gateway.send(&get("refs.test", "/gone")).status;
    assert!([502, 503].contains(&refused), "a backend that refuses connections gives {refused}");
}

#[test]
fn a_time_out_gives_504_and_zero_means_none() {
    let [slow] = Backend::group(["slow"]);
    let to = "backendRefs: [{name: slow, port: 80}]";
    let rules = [
        rule("/request", &format!("timeouts: {{request: 300ms}}\n  {to}")),
        rule("/backend", &format!("timeouts: {{backendRequest: 300ms}}\n  {to}")),
        rule("/both", &format!("timeouts: {{request: 2s, backendRequest: 300ms}}\n  {to}")),
        rule("/never", &format!("timeouts: {{request: 0s}}\n  {to}")),
        rule("/neither", &format!("timeouts: {{backendRequest: 0s}}\n  {to}")),
        rule("/default", to),
    ];
    let gateway = Gateway::shared();
    gateway.scene("timeouts", &[services(&[&slow]), route("r", &["slow.test"], &rules.concat())]);
    let begin = Instant::now();
    gateway.check(
        "
        GET slow.test/request?delay_ms=1500     -> 504
        GET slow.test/backend?delay_ms=1500     -> 504
        GET slow.test/both?delay_ms=1500        -> 504
        ",
    );
    assert!(begin.elapsed() < Duration::from_millis(2500), "took {:?}", begin.elapsed());
    gateway.check(
        "
        GET slow.test/request?delay_ms=10       -> 200 slow
        GET slow.test/backend?delay_ms=10       -> 200 slow
        GET slow.test/never?delay_ms=800        -> 200 slow
        GET slow.test/neither?delay_ms=800      -> 200 slow
        GET slow.test/default?delay_ms=800      -> 200 slow
        ",
    );
}

#[test]
fn a_retry_is_for_the_listed_codes_and_gives_the_original_status_in_the_end() {
    let [flaky] = Backend::group(["flaky"]);
    let to = "backendRefs: [{name: flaky, port: 80}]";
    let rules = [
        rule("/two", &format!("retry: {{codes: [500, 503], attempts: 2}}\n  {to}")),
        rule("/none", to),
        rule("/four", &format!("retry: {{codes: [502], attempts: 4}}\n  {to}")),
    ];
    let gateway = Gateway::shared();
    gateway.scene("retry", &[services(&[&flaky]), route("r", &["retry.test"], &rules.concat())]);
    let fails = |code: u16, times: usize| flaky.script(&vec![Step::Status(code); times]);
    let expect = |path: &str, status: u16, tries: usize| {
        let before = flaky.requests();
        let response = gateway.send(&get("retry.test", path));
        assert_eq!((response.status, flaky.requests() - before), (status, tries), "{path}");
        flaky.script(&[]);
    };
    fails(503, 1);
    expect("/two", 200, 2);
    fails(500, 2);
    expect("/two", 200, 3);
    fails(503, 3);
    expect("/two", 503, 3);
    fails(502, 1);
    expect("/two", 502, 1);
    fails(503, 1);
    expect("/none", 503, 1);
    fails(502, 4);
    expect("/four", 200, 5);
    fails(502, 6);
    expect("/four", 502, 5);
}

#[test]
fn a_retry_follows_a_connection_that_failed() {
    let [flaky, steady] = Backend::group(["flaky", "steady"]);
    let rules = "- {retry: {codes: [503], attempts: 3}, backendRefs: [{name: pair, port: 80}]}";
    let gateway = Gateway::shared();
    gateway
        .scene("reconnect", &[service("pair", &[&flaky, &steady]), route("r", &["reconnect.test"], rules)]);
    flaky.script(&[Step::Close; 2]);
    for _ in 0..6 {
        assert_eq!(gateway.send(&get("reconnect.test", "/")).status, 200);
    }
    flaky.stop();
    let statuses: Vec<u16> = (0..20).map(|_| gateway.send(&get("reconnect.test", "/")).status).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[test]
fn a_time_out_holds_with_retries_too() {
    let [slow] = Backend::group(["slow"]);
    let rules = "
        - timeouts: {request: 800ms, backendRequest: 300ms}
          retry: {codes: [504], attempts: 10}
          backendRefs: [{name: slow, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("retry-timeout", &[services(&[&slow]), route("r", &["both.slow.test"], rules)]);
    let begin = Instant::now();
    assert_eq!(gateway.send(&get("both.slow.test", "/?delay_ms=3000")).status, 504);
    assert!(begin.elapsed() < Duration::from_millis(1600), "took {:?}", begin.elapsed());
}

#[test]
fn a_web_socket_is_a_tunnel_to_ports_that_speak_it() {
    let echo = Backend::start("echo");
    let gateway = Gateway::shared();
    let manifests = [
        service_of("ws", "appProtocol: kubernetes.io/ws", &[echo.address]),
        service_of("plain", "", &[echo.address]),
        route("r", &["ws.test"], "- backendRefs: [{name: ws, port: 80}]"),
        route("p", &["plain.ws.test"], "- backendRefs: [{name: plain, port: 80}]"),
    ];
    gateway.scene("websocket", &manifests);
    let upgrade = |host: &str| {
        get(host, "/socket")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let mut tunnel = gateway.connect(80).unwrap();
    let response = tunnel.exchange(&upgrade("ws.test")).unwrap();
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")), "{response:?}");
    for message in [&b"hello"[..], &[0, 255, 10, 13, 10], &[b'x'; 2000]] {
        tunnel.write(message).unwrap();
        assert_eq!(tunnel.read_exact(message.len()).unwrap(), message);
    }
    gateway.check("GET ws.test/not-a-socket -> 200 echo");
    let plain = gateway.send(&upgrade("plain.ws.test"));
    assert_ne!(plain.status, 101, "a port that does not say it speaks WebSocket gets plain requests");
}

#[test]
fn bodies_pass_both_ways() {
    let [one] = Backend::group(["one"]);
    let gateway = Gateway::shared();
    gateway.scene(
        "bodies",
        &[services(&[&one]), route("r", &["bodies.test"], "- backendRefs: [{name: one, port: 80}]")],
    );
    let large = gateway.send(&get("bodies.test", "/?size=3000000"));
    assert_eq!((large.status, large.body.len()), (200, 3_000_000));
    let upload = gateway.send(&Request::new("PUT", "bodies.test", "/").body(&vec![b'y'; 2_000_000]));
    assert_eq!(
        (upload.status, upload.told("method"), upload.told("bytes")),
        (200, "PUT".into(), "2000000".into())
    );
    let mut connection = gateway.connect(80).unwrap();
    let head = connection.exchange(&Request::new("HEAD", "bodies.test", "/")).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(connection.exchange(&get("bodies.test", "/after")).unwrap().told("path"), "/after");
}

#[test]
fn http_2_with_prior_knowledge_is_routed_like_the_rest() {
    let [one] = Backend::group(["one"]);
    let gateway = Gateway::shared();
    let rules = rule("/h2", "backendRefs: [{name: one, port: 80}]");
    gateway.scene("h2", &[services(&[&one]), route("r", &["h2.test"], &rules)]);
    let (protocol, response) = h2c(gateway.address(80), "h2.test", "/h2/x?q=1");
    assert_eq!((protocol.as_str(), response.status), ("HTTP/2", 200), "{response:?}");
    assert_eq!((response.told("path"), response.told("host")), ("/h2/x?q=1".into(), "h2.test".into()));
    assert!(response.received("scheme").is_empty(), "Varnish's own header stays inside");
    assert_eq!(h2c(gateway.address(80), "h2.test", "/other").1.status, 404);
}
