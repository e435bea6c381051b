//! Backends that varnishd reaches through the relay, with the reloader around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use copal::bundle::relay::{
    Certificate, Certificates, Relay, Upstream, UpstreamTls, certificate_id, upstream_socket,
};
use copal::bundle::{Bundle, ListenSocket, VclFile};
use rustix::process::Signal;

use crate::client::get;
use crate::harness::Place;
use crate::tls::Authority;
use crate::upstream_server::{Http, Server};

fn root(socket: &std::path::Path) -> VclFile {
    let socket = socket.display();
    let text = format!(
        r#"vcl 4.1;

backend web {{ .path = "{socket}"; }}

sub vcl_recv {{ return (pass); }}

sub vcl_deliver {{
    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = "close"; }}
}}
"#
    );
    VclFile::new("root", text)
}

fn bundle(place: &Place, upstream: &Upstream, authority: &Arc<Certificate>) -> Bundle {
    let listen = vec![ListenSocket { name: "http".into(), port: place.port }];
    let socket = place.state_folder().join("relay").join(upstream_socket(&upstream.id()));
    let relay = Relay { upstreams: [(upstream.id(), upstream.clone())].into(), ..Relay::default() };
    let certificates: Certificates = [(certificate_id(authority), Arc::clone(authority))].into();
    Bundle::new(listen, root(&socket), [].into()).with_relay(Some(relay), certificates)
}

fn over_tls(address: SocketAddr, http2: bool, authority: &Certificate) -> Upstream {
    let tls = UpstreamTls {
        server_name: "a.example".into(),
        names: Vec::new(),
        authorities: Some(vec![certificate_id(authority)]),
    };
    Upstream { address, http2, tls: Some(tls), mirrors: Vec::new() }
}

#[test]
fn backends_by_tls_and_http_2_change_under_load_and_outlive_the_drain() {
    let (place, authority) = (Place::new(), Authority::new());
    // As root, varnishd's worker has another user.
    let passage = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(place.state_folder().parent().unwrap(), passage).unwrap();
    let ours = Arc::new(Certificate { chain: std::fs::read(authority.file()).unwrap(), key: Vec::new() });
    let certificate = authority.issue(&["a.example"]);
    let (one, two) = (Server::tls(Http::One, &certificate, None), Server::tls(Http::Two, &certificate, None));
    let ways = [over_tls(one.address, false, &ours), over_tls(two.address, true, &ours)];
    let mut reloader = place.serve(&bundle(&place, &ways[0], &ours));
    let text = get(place.address(), "a.example", "/x").unwrap().body;
    let is_right = text.starts_with("GET /x HTTP/1.1") && text.contains("host: a.example");
    assert!(is_right, "{text}\n{}", reloader.log());
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let answer = get(place.address(), "a.example", "/").unwrap();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for number in 0..6 {
            let revision = place.write(&bundle(&place, &ways[(number + 1) % 2], &ours));
            reloader.wait_loaded(&revision);
            thread::sleep(Duration::from_millis(100));
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(requests.load(Ordering::SeqCst) > 50 && two.hits() > 0);
    assert_eq!(reloader.metric("copal_relay_upstream_errors_total{reason=\"connect\"}"), Some(0.0));

    let address = place.address();
    let slow = thread::spawn(move || get(address, "a.example", "/slow"));
    reloader.wait_for("the request", || {
        [&one, &two].iter().any(|it| it.heads().iter().any(|head| head.contains("/slow"))).then_some(())
    });
    reloader.signal(Signal::TERM);
    assert_eq!(slow.join().unwrap().unwrap().status, 200);
    assert!(reloader.wait_exit().success(), "{}", reloader.log());
}
