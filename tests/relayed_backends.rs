//! Backends that a real varnishd goes to by unix sockets, with the test in the relay's place: it copies bytes to the
//! endpoint, and closes when that is not to be had.
#![cfg(test)]

mod support;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use copal::bundle::relay::{Upstream, upstream_socket};
use copal::vcl::SocketFolder;
use support::{
    Backend, Request, Varnish, bundle_of, gateway, get, listener, route, service, service_of, services,
};

/// A varnishd, and what stands in for the relay.
struct Relayed {
    varnish: Varnish,
    upstreams: Vec<Upstream>,
    /// Connections that came through it.
    connections: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Relayed {
    fn start(manifests: &[String]) -> Self {
        let folder = tempfile::Builder::new().prefix("copal-").tempdir().unwrap();
        let sockets = SocketFolder::new(folder.path()).unwrap();
        let bundle = bundle_of(&(gateway("gw", &listener("http", 80)) + &manifests.concat()), sockets);
        let relay = bundle.manifest.relay.clone().unwrap_or_default();
        let connections = Arc::new(AtomicUsize::new(0));
        std::fs::create_dir(folder.path().join("up")).unwrap();
        for (id, upstream) in &relay.upstreams {
            serve(&folder.path().join(upstream_socket(id)), upstream.address, &connections);
        }
        let upstreams = relay.upstreams.into_values().collect();
        Self { varnish: Varnish::start(&bundle), upstreams, connections, _folder: folder }
    }

    fn send(&self, request: &Request) -> support::Response {
        self.varnish.http(80, request)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(socket: &Path, endpoint: SocketAddr, connections: &Arc<AtomicUsize>) {
    let (listener, connections) = (UnixListener::bind(socket).unwrap(), Arc::clone(connections));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            connections.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || pass_on(&stream, endpoint));
        }
    });
}

fn pass_on(varnish: &UnixStream, endpoint: SocketAddr) -> io::Result<()> {
    let backend = TcpStream::connect(endpoint)?;
    let (mut from, mut to) = (varnish.try_clone()?, backend.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write)
    });
    io::copy(&mut &backend, &mut &*varnish)?;
    varnish.shutdown(Shutdown::Both)
}

/// A rule for a path whose requests are copied.
fn copied(path: &str, service: &str, more: &str) -> String {
    format!(
        "- matches: [{{path: {{value: {path}}}}}]
  filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: mirror, port: 80}}}}}}]
  backendRefs: [{{name: {service}, port: 80}}]
  {more}
"
    )
}

#[test]
fn copied_requests_all_reach_the_backend_and_others_are_cached() {
    let [one, mirror] = Backend::group(["one", "mirror"]);
    let plain = "- matches: [{path: {value: /plain}}]\n  backendRefs: [{name: one, port: 80}]\n";
    let rules = copied("/copied", "one", "") + plain;
    let relayed = Relayed::start(&[services(&[&one, &mirror]), route("r", &["a.test"], &rules)]);
    let [upstream] = relayed.upstreams.as_slice() else { panic!("{:?}", relayed.upstreams) };
    assert_eq!((upstream.address, upstream.mirrors[0].endpoints[0].address), (one.address, mirror.address));
    for path in ["/plain?cc=max-age=60", "/copied?cc=max-age=60"] {
        for _ in 0..3 {
            assert_eq!(relayed.send(&get("a.test", path)).backend(), "one");
        }
    }
    assert_eq!(one.requests(), 4, "one of the first three, and each of the others");
    assert!(relayed.connections() > 0, "they come through the relay");
    let response = relayed.send(&Request::new("POST", "a.test", "/copied").body(&vec![b'x'; 100_000]));
    assert_eq!((response.status, response.json()["bytes"].as_u64()), (200, Some(100_000)));
    assert_eq!(relayed.send(&Request::new("CONNECT", "a.test", "/copied")).status, 405);
}

#[test]
fn endpoints_behind_the_relay_are_balanced() {
    let [a, b, mirror] = Backend::group(["a", "b", "mirror"]);
    let manifests =
        [service("two", &[&a, &b]), services(&[&mirror]), route("r", &["a.test"], &copied("/", "two", ""))];
    let relayed = Relayed::start(&manifests);
    for _ in 0..10 {
        assert_eq!(relayed.send(&get("a.test", "/")).status, 200);
    }
    assert_eq!((a.requests(), b.requests()), (5, 5));
}

#[test]
fn failures_of_an_endpoint_give_the_statuses_that_they_give_without_relay() {
    let [slow, gone, mirror] = Backend::group(["slow", "gone", "mirror"]);
    let rules = [
        copied("/request", "slow", "timeouts: {request: 300ms}"),
        copied("/backend", "slow", "timeouts: {backendRequest: 300ms}"),
        copied("/retry", "slow", "retry: {attempts: 2, codes: [500]}"),
        copied("/gone", "gone", "timeouts: {request: 5s}"),
        copied("/plain", "slow", ""),
    ];
    let manifests = [services(&[&slow, &gone, &mirror]), route("r", &["a.test"], &rules.concat())];
    gone.stop();
    let relayed = Relayed::start(&manifests);
    let status = |path: &str| relayed.send(&get("a.test", path)).status;
    assert_eq!((status("/request?delay_ms=2000"), status("/backend?delay_ms=2000")), (504, 504));
    assert_eq!(status("/gone"), 503);
    assert_eq!(status("/plain?close"), 503);
    let before = slow.requests();
    assert_eq!(status("/retry?close"), 503);
    assert!(slow.requests() - before >= 3, "{} tries", slow.requests() - before);
    slow.script(&[support::Step::Status(500), support::Step::Close]);
    assert_eq!(status("/retry"), 200);
}

#[test]
fn websocket_goes_through_the_socket() {
    let [one, mirror] = Backend::group(["one", "mirror"]);
    let ws = service_of("ws", "appProtocol: kubernetes.io/ws", &[one.address]);
    let relayed =
        Relayed::start(&[ws, services(&[&mirror]), route("r", &["a.test"], &copied("/", "ws", ""))]);
    let upgrade = get("a.test", "/")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut tunnel = relayed.varnish.connect(80);
    assert_eq!(tunnel.exchange(&upgrade).unwrap().status, 101);
    tunnel.write(b"there and back").unwrap();
    assert_eq!(tunnel.read_exact(14).unwrap(), b"there and back");
    assert_eq!(relayed.connections(), 1);
}
