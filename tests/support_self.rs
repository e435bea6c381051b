//! The tests' own tools, tested without Copal: what they measure with must be right.
#![cfg(test)]

mod support;

use std::time::Duration;

use support::{Backend, Connection, Request, Step, dedent, get, indent, route, service};

#[test]
fn a_backend_tells_what_it_received() {
    let backend = Backend::start("one");
    let mut connection = Connection::open(backend.address).unwrap();
    let request = get("a.test", "/x?y=1").header("X-A", "1").header("x-a", "2");
    let response = connection.exchange(&request).unwrap();
    assert_eq!((response.status, response.backend()), (200, "one"));
    assert_eq!((response.told("path"), response.told("host")), ("/x?y=1".into(), "a.test".into()));
    assert_eq!(response.received("x-a"), ["1", "2"]);
    let again = connection.exchange(&Request::new("POST", "b.test", "/").body(b"hello")).unwrap();
    assert_eq!((again.told("method"), again.told("serial")), ("POST".into(), "2".into()));
    assert_eq!((backend.requests(), backend.connections()), (2, 1));
}

#[test]
fn a_backend_does_what_the_request_asks_for() {
    let backend = Backend::start("one");
    let send = |target: &str| Connection::open(backend.address).unwrap().exchange(&get("a.test", target));
    assert_eq!(send("/status/503").unwrap().status, 503);
    assert_eq!(send("/?size=2000&cc=max-age=60").unwrap().body.len(), 2000);
    assert_eq!(send("/?cc=max-age=60").unwrap().header("cache-control"), Some("max-age=60"));
    assert!(send("/?close").is_err());
    backend.script(&[Step::Status(500), Step::Close, Step::Delay(Duration::from_millis(1))]);
    assert_eq!(send("/").unwrap().status, 500);
    assert!(send("/").is_err());
    assert_eq!(send("/").unwrap().status, 200);
    backend.respond_with(&[("access-control-allow-origin", "*")]);
    assert_eq!(send("/").unwrap().header("access-control-allow-origin"), Some("*"));
}

#[test]
fn a_backend_echoes_after_an_upgrade_and_stops() {
    let backend = Backend::start("one");
    let mut connection = Connection::open(backend.address).unwrap();
    let upgrade = get("a.test", "/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    assert_eq!(connection.exchange(&upgrade).unwrap().status, 101);
    connection.write(b"ping").unwrap();
    assert_eq!(connection.read_exact(4).unwrap(), b"ping");
    let mut idle = Connection::open(backend.address).unwrap();
    idle.exchange(&get("a.test", "/")).unwrap();
    backend.stop();
    assert!(idle.closes_within(Duration::from_secs(5)));
    assert!(Connection::open(backend.address).is_err());
}

#[test]
fn manifests_keep_their_form() {
    assert_eq!(dedent("\n    a:\n      b\n"), "a:\n  b\n");
    assert_eq!(indent("  a:\n    b\n", 1), " a:\n   b\n");
    let text = route("r", &["a.test"], "- backendRefs: [{name: s, port: 80}]");
    assert!(
        text.ends_with("  hostnames: [\"a.test\"]\n  rules:\n  - backendRefs: [{name: s, port: 80}]\n"),
        "{text}"
    );
    let backend = Backend::start("one");
    assert!(service("s", &[&backend]).contains(&format!("  port: {}\n", backend.address.port())));
}
