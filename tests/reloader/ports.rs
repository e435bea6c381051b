//! HTTP ports that come and go: through the real reloader, relay and varnishd, with the VCL that Copal generates.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use copal::bundle::Bundle;
use rustls::version::TLS13;

use crate::backend::Backend;
use crate::client::{Answer, Connection, get};
use crate::manifests;
use crate::served::Served;
use crate::tls::{Authority, connect, request};

/// A Gateway with HTTP on some ports and HTTPS on others. All is for the host `a`; `/port` is redirected.
fn bundle(authority: &Authority, backend: SocketAddr, http: &[u16], https: &[u16]) -> Bundle {
    let plain = http.iter().map(|port| format!("  - {{name: l{port}, port: {port}, protocol: HTTP}}\n"));
    let tls = https.iter().map(|port| {
        format!("  - {{name: l{port}, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: tls}}]}}}}\n")
    });
    let route = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: default}
spec:
  parentRefs: [{name: gw}]
  hostnames: [a, '*.w']
  rules:
  - matches: [{path: {value: /port}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: to}}]
  - backendRefs: [{name: web, port: 80}]
";
    let listeners: String = plain.chain(tls).collect();
    manifests::bundle(&authority.issue(&["a"]), backend, &listeners, route)
}

struct Ports {
    web: Backend,
    served: Served,
    child: i32,
}

impl Ports {
    fn start(http: &[u16], https: &[u16]) -> Self {
        let (web, authority) = (Backend::start("web"), Authority::new());
        let bundle = bundle(&authority, web.address, http, https);
        let served = Served::serve(authority, &bundle);
        let child = served.reloader.child();
        Self { web, served, child }
    }

    fn change(&self, http: &[u16], https: &[u16]) {
        self.served.change(&bundle(&self.served.authority, self.web.address, http, https));
    }

    fn get(&self, port: u16, path: &str) -> Answer {
        get(self.served.at(port), "a", path).unwrap()
    }

    fn location(&self, port: u16) -> String {
        self.get(port, "/port").header("location").unwrap().to_owned()
    }

    fn https(&self, port: u16, path: &str) -> String {
        let client = self.served.authority.client(&[&TLS13]);
        let mut stream = connect(&client, self.served.at(port), "a").unwrap();
        request(&mut stream, "a", path).unwrap().0
    }

    /// Waits until nobody listens on the port.
    fn wait_closed(&self, port: u16) {
        self.served.reloader.wait_for("the port to close", || TcpStream::connect(self.served.at(port)).err());
    }

    fn is_undisturbed(&self) -> bool {
        self.served.reloader.child() == self.child && self.served.reloader.status()["child_starts"] == 1
    }
}

#[test]
fn a_port_that_is_added_under_load_leaves_the_cache_and_fails_no_request() {
    let ports = Ports::start(&[80], &[]);
    assert_eq!(ports.get(80, "/stored").body, "web 1");
    let done = Arc::new(AtomicBool::new(false));
    let (until, address) = (Arc::clone(&done), ports.served.at(80));
    let load = thread::spawn(move || {
        let mut connection = Connection::open(address).unwrap();
        while !until.load(Ordering::SeqCst) {
            assert_eq!(connection.get("a", "/x").unwrap().status, 200);
            assert_eq!(get(address, "a", "/x").unwrap().status, 200);
        }
    });
    ports.change(&[80, 81], &[]);
    assert_eq!(ports.get(81, "/y").status, 200, "a revision that is loaded has all its ports");
    assert_eq!(
        (ports.location(80), ports.location(81)),
        ("http://to/port".into(), "http://to:81/port".into())
    );
    let mut open = Connection::open(ports.served.at(81)).unwrap();
    assert_eq!(open.get("a", "/y").unwrap().status, 200);
    let active = || ports.served.reloader.metric("copal_relay_active_connections");
    ports.served.reloader.wait_for("one connection", || (active() == Some(1.0)).then_some(()));
    ports.change(&[80], &[]);
    ports.wait_closed(81);
    assert_eq!(open.get("a", "/y").unwrap().status, 404, "and is not taken for the port that is left");
    done.store(true, Ordering::SeqCst);
    load.join().unwrap();
    assert_eq!(ports.get(80, "/stored").body, "web 1");
    assert!(ports.is_undisturbed(), "{}", ports.served.reloader.log());
    assert_eq!(ports.get(80, "/z").status, 200);
    let head = ports.web.last_head();
    assert!(
        head.contains("x-forwarded-proto: http\r") && head.contains("x-forwarded-for: 127.0.0.1\r"),
        "{head}"
    );
}

#[test]
fn plain_and_tls_ports_of_the_relay_are_told_apart() {
    let ports = Ports::start(&[], &[443]);
    ports.change(&[80, 81], &[443]);
    for port in [80, 81] {
        assert_eq!(ports.get(port, "/y").status, 200);
        let head = ports.web.last_head();
        assert!(
            head.contains("x-forwarded-proto: http\r") && head.contains("x-forwarded-for: 127.0.0.1\r"),
            "{head}"
        );
    }
    assert_eq!(
        (ports.location(80), ports.location(81)),
        ("http://to/port".into(), "http://to:81/port".into())
    );
    assert!(ports.https(443, "/y").contains(" 200 "));
    assert!(ports.web.last_head().contains("x-forwarded-proto: https\r"));
    assert!(ports.https(443, "/port").contains("location: https://to/port"));
    // A relay that dies gets its ports back.
    crate::harness::kill(ports.served.reloader.relay(), rustix::process::Signal::KILL);
    ports.served.reloader.wait_for("the ports", || get(ports.served.at(81), "a", "/y").ok());
    // Ports change their protocol.
    ports.change(&[443, 81], &[80]);
    assert_eq!(ports.get(443, "/y").status, 200);
    ports.served.reloader.wait_for("TLS", || {
        connect(&ports.served.authority.client(&[&TLS13]), ports.served.at(80), "a").ok()
    });
    assert!(ports.is_undisturbed(), "{}", ports.served.reloader.log());
}

#[test]
fn a_socket_of_varnishds_own_is_closed_by_its_vcl_and_comes_back() {
    let ports = Ports::start(&[80, 81], &[]);
    ports.change(&[80], &[]);
    assert_eq!((ports.get(80, "/y").status, ports.get(81, "/y").status), (200, 404));
    ports.change(&[80, 81], &[]);
    assert_eq!((ports.get(80, "/y").status, ports.get(81, "/y").status), (200, 200));
    ports.change(&[], &[443]);
    assert_eq!((ports.get(80, "/y").status, ports.get(81, "/y").status), (404, 404), "in the clear");
    assert!(ports.https(443, "/y").contains(" 200 "));
    assert!(ports.is_undisturbed(), "{}", ports.served.reloader.log());
}

#[test]
fn varnishd_is_restarted_for_a_port_of_its_own_that_gets_tls() {
    let ports = Ports::start(&[80], &[]);
    ports.change(&[80, 82], &[]);
    ports.change(&[82], &[80]);
    ports.served.reloader.wait_for("TLS", || {
        connect(&ports.served.authority.client(&[&TLS13]), ports.served.at(80), "a").ok()
    });
    assert_eq!(ports.get(82, "/y").status, 200);
    assert_ne!(ports.served.reloader.child(), ports.child);
    assert!(ports.served.reloader.log().contains("restarting varnishd, which empties its cache"));
    let own = ports.served.at(82).to_string();
    assert_eq!(
        ports.served.reloader.status()["listen"],
        serde_json::json!([own]),
        "it is varnishd's own now"
    );
}
