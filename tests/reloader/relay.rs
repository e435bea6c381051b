//! TLS through the relay and a real varnishd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use copal::bundle::relay::{Certificate, certificate_id};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, HandshakeKind};

use crate::backend::Backend;
use crate::client::get;
use crate::served::{Served, bundle, nowhere};
use crate::tls::{Authority, Names, connect, der, presented, request};

#[test]
fn varnishd_learns_about_the_connection_over_http_1_and_2() {
    let served = Served::new(nowhere(), &["a.example"]);
    for (option, alpn, status) in [("--http1.1", "http/1.1", "HTTP/1.1 200"), ("--http2", "h2", "HTTP/2 200")]
    {
        let answer = served.authority.curl(served.address, "a.example", "/echo", &[option]).unwrap();
        assert!(answer.starts_with(status), "{answer}");
        let answer = answer.to_lowercase();
        for line in [
            "x-socket: relay",
            "x-port: 443",
            "x-client: 127.0.0.1",
            &format!("x-alpn: {alpn}"),
            "x-authority: a.example",
            "x-ssl: true",
            "x-version: tlsv1.3",
            "x-verified: 1",
        ] {
            assert!(answer.lines().any(|found| found == line), "no {line:?} in\n{answer}");
        }
        assert!(answer.contains("x-cipher: tls13_aes_"), "{answer}");
    }
    let older = served.authority.curl(served.address, "a.example", "/echo", &["--tls-max", "1.2"]).unwrap();
    assert!(older.to_lowercase().contains("x-version: tlsv1.2"), "{older}");
    let page = served.reloader.admin_get("/metrics").unwrap().body;
    assert_eq!((page.matches("# EOF").count(), page.ends_with("# EOF\n")), (1, true));
    assert_eq!(served.handshakes("ok"), Some(3.0));
    assert_eq!(served.reloader.metric("copal_relay_certificates"), Some(1.0));
    assert_eq!(served.reloader.metric("copal_relay_up"), Some(1.0));
    assert!(served.reloader.metric("varnish_mgt_child_start_total").is_some());
}

#[test]
fn plain_and_tls_listeners_are_told_apart() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let tls: Names<'_> = &[("", &certificate)];
    let served = Served::serve(authority, &bundle(nowhere(), &[80], &[(443, tls), (444, tls)]));
    let plain = served.at(80);
    assert_eq!(get(plain, "a.example", "/echo").unwrap().header("x-socket"), Some("http-80"));
    for port in [443, 444] {
        let address = served.at(port);
        let answer = served.authority.curl(address, "a.example", "/echo", &["--http1.1"]).unwrap();
        assert!(answer.contains(&format!("X-Port: {port}\r\n")), "{answer}");
    }
    let status = served.reloader.status();
    assert_eq!(status["relay"]["listen"].as_array().unwrap().len(), 2, "{status:#}");
}

#[test]
fn the_certificate_follows_from_the_server_name() {
    let authority = Authority::new();
    let names: Vec<String> = (0..300).map(|number| format!("host{number}.example.com")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), authority.issue(&[name]))).collect();
    let all = ["x.example.com", "x.deep.example.com", "x.y.example.com", "deep.example.com", "example.org"];
    let (wild, deep) = (authority.issue(&all), authority.issue(&all));
    let (default, other_port) = (authority.issue(&all), authority.issue(&all));
    let mut on_443: Vec<_> = many.iter().map(|(name, certificate)| (*name, certificate)).collect();
    on_443.extend([("*.example.com", &wild), ("*.deep.example.com", &deep), ("", &default)]);
    let served = Served::serve(
        authority,
        &bundle(nowhere(), &[], &[(443, &on_443), (444, &[("example.org", &other_port)])]),
    );
    let client = served.authority.client(&[&TLS13, &TLS12]);
    let expect = |address, host: &str, certificate: &Certificate| {
        assert_eq!(presented(&client, address, host).unwrap(), der(certificate), "{host}");
    };
    for (name, certificate) in many.iter().step_by(37) {
        expect(served.address, name, certificate);
    }
    for (host, certificate) in [
        ("x.example.com", &wild),
        ("x.y.example.com", &wild),
        ("deep.example.com", &wild),
        ("x.deep.example.com", &deep),
        ("example.org", &default),
    ] {
        expect(served.address, host, certificate);
    }
    let other = served.at(444);
    expect(other, "example.org", &other_port);
    let error = connect(&client, other, "x.example.com").unwrap_err();
    let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)), "{error}");
    served.wait_handshakes("no_certificate", 1.0);
}

#[test]
fn sessions_are_resumed_across_a_change_of_certificates() {
    let served = Served::new(nowhere(), &["a.example"]);
    for version in [&TLS13, &TLS12] {
        let client = served.authority.client(&[version]);
        let kind = || {
            let mut stream = connect(&client, served.address, "a.example").unwrap();
            // The tickets come after the handshake.
            request(&mut stream, "a.example", "/echo").unwrap();
            stream.conn.handshake_kind().unwrap()
        };
        assert_eq!(kind(), HandshakeKind::Full);
        assert_eq!(kind(), HandshakeKind::Resumed, "{version:?}");
        let renewed = served.authority.issue(&["a.example"]);
        served.change(&bundle(nowhere(), &[], &[(443, &[("a.example", &renewed)])]));
        assert_eq!(kind(), HandshakeKind::Resumed, "{version:?}");
    }
    assert_eq!(served.reloader.metric("copal_relay_resumed_handshakes_total"), Some(4.0));
}

#[test]
fn certificates_change_under_load_without_a_failed_request() {
    let web = Backend::start("web");
    let served = Served::new(web.address, &["a.example"]);
    let client = served.authority.client(&[&TLS13]);
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut open = connect(&client, served.address, "a.example").unwrap();
    let first = open.conn.peer_certificates().unwrap()[0].to_vec();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let mut stream = connect(&client, served.address, "a.example").unwrap();
                    for _ in 0..3 {
                        assert!(request(&mut stream, "a.example", "/").unwrap().0.contains(" 200 ok"));
                        requests.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for _ in 0..20 {
            let renewed = served.authority.issue(&["a.example"]);
            served.change(&bundle(web.address, &[], &[(443, &[("a.example", &renewed)])]));
            // A ticket would spare the certificate.
            let fresh = served.authority.client(&[&TLS13]);
            assert_eq!(presented(&fresh, served.address, "a.example").unwrap(), der(&renewed));
            assert!(request(&mut open, "a.example", "/").unwrap().0.contains(" 200 ok"));
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(open.conn.peer_certificates().unwrap()[0].to_vec(), first);
    assert!(requests.load(Ordering::SeqCst) > 100);
    assert_eq!(served.reloader.metric("copal_relay_restarts_total"), Some(0.0));
}

#[test]
fn a_broken_certificate_costs_its_name_and_is_told_without_its_key() {
    let authority = Authority::new();
    let (good, other) = (authority.issue(&["a.example"]), authority.issue(&["b.example"]));
    let broken = Arc::new(Certificate { chain: other.chain.clone(), key: good.key.clone() });
    let served = Served::serve(
        authority,
        &bundle(nowhere(), &[], &[(443, &[("a.example", &good), ("b.example", &broken)])]),
    );
    let client = served.authority.client(&[&TLS13]);
    assert!(connect(&client, served.address, "a.example").is_ok());
    assert!(connect(&client, served.address, "b.example").is_err());
    let status = served.reloader.status();
    let message = status["last_error"]["message"].as_str().unwrap();
    assert!(message.contains(&certificate_id(&broken)), "{message}");
    assert_eq!(served.reloader.metric("copal_relay_config_reloads_total{result=\"failure\"}"), Some(1.0));
    let log = served.reloader.log();
    let key = String::from_utf8(good.key.clone()).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!log.contains(secret) && !status.to_string().contains(secret) && !log.contains("PRIVATE KEY"));
}
