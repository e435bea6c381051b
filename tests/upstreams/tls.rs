//! TLS towards backends: whose certificates are accepted.

use std::sync::Arc;

use copal::bundle::relay::{SubjectAltName, Upstream, certificate_id};

use crate::authority::Authority;
use crate::client::{Connection, get};
use crate::process::{Relay, over_tls};
use crate::server::{Http, Server};

fn named(upstream: Upstream, names: &[SubjectAltName]) -> Upstream {
    let mut upstream = upstream;
    upstream.tls.as_mut().unwrap().names = names.to_vec();
    upstream
}

#[test]
fn certificates_are_accepted_by_authority_and_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let certificate = authority.issue(&["a.example", "*.wild.example", "spiffe://cluster/web"]);
    for http in [Http::One, Http::Two] {
        let server = Server::tls(http, &certificate, None);
        let (ours, theirs) = (authority.certificate(), other.certificate());
        let to = |name: &str, by| Upstream { http2: http == Http::Two, ..over_tls(server.address, name, by) };
        let dns = |name: &str| SubjectAltName::Dns(name.into());
        let uri = |name: &str| SubjectAltName::Uri(name.into());
        let good = [
            to("a.example", &ours),
            to("x.wild.example", &ours),
            named(to("sni.example", &ours), &[uri("spiffe://cluster/web")]),
            named(to("sni.example", &ours), &[dns("no.example"), dns("x.wild.example")]),
        ];
        let bad = [
            to("a.example", &theirs),
            to("b.example", &ours),
            named(to("a.example", &ours), &[uri("spiffe://cluster/web2"), dns("b.example")]),
            named(to("a.example", &theirs), &[dns("a.example")]),
        ];
        let mut relay = Relay::start();
        relay.know(&[&ours, &theirs]);
        relay.serve(&[&good[..], &bad].concat());
        for upstream in &good {
            let answer = get(&relay.socket(upstream), "/").unwrap();
            assert_eq!(answer.status, 200, "{upstream:?}");
        }
        for upstream in &bad {
            let mut connection = Connection::open(&relay.socket(upstream));
            assert!(connection.get("/").is_err(), "{upstream:?}");
        }
        assert_eq!((relay.errors("certificate"), relay.errors("tls")), (4.0, 0.0));
        assert_eq!(server.hits(), 4);
    }
}

#[test]
fn a_client_certificate_is_shown_where_there_is_one() {
    let authority = Authority::new();
    let (server, client) = (authority.issue(&["a.example"]), authority.issue(&["gateway.example"]));
    let server = Server::tls(Http::One, &server, Some(&authority.pem));
    let ours = authority.certificate();
    let upstream = over_tls(server.address, "a.example", &ours);
    let mut relay = Relay::start();
    relay.know(&[&ours, &client]);
    for (shown, accepted) in [(None, false), (Some(certificate_id(&client)), true), (None, false)] {
        relay.serve_with(std::slice::from_ref(&upstream), shown);
        assert_eq!(get(&relay.socket(&upstream), "/").is_ok(), accepted);
    }
}

#[test]
fn what_cannot_be_set_up_or_reached_fails_at_once() {
    let authority = Authority::new();
    let ours = authority.certificate();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let no_tls = Server::plain(Http::One);
    let missing = over_tls(nowhere, "a.example", &Authority::new().certificate());
    let (refused, garbage) =
        (over_tls(nowhere, "a.example", &ours), over_tls(no_tls.address, "a.example", &ours));
    let mut relay = Relay::start();
    relay.know(&[&ours]);
    relay.serve(&[missing.clone(), refused.clone(), garbage.clone()]);
    for upstream in [&missing, &refused, &garbage] {
        assert!(get(&relay.socket(upstream), "/").is_err());
    }
    for reason in ["configuration", "connect", "tls"] {
        assert_eq!(relay.errors(reason), 1.0, "{reason}");
    }
    let problems = relay.status().unwrap()["problems"].to_string();
    assert!(problems.contains("TLS towards a.example cannot be set up: authority"), "{problems}");
}

#[test]
fn sockets_are_for_their_owner_and_stay_for_a_while() {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::new();
    let server = Server::tls(Http::One, &authority.issue(&["a.example"]), None);
    let ours = authority.certificate();
    let upstream = over_tls(server.address, "a.example", &ours);
    let (mut relay, socket) = Relay::serving(&upstream, &[&ours]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let mut open = Connection::open(&socket);
    assert_eq!(open.get("/").unwrap().status, 200);
    relay.serve(&[]);
    assert_eq!(open.get("/").unwrap().status, 200);
    assert_eq!(get(&socket, "/").unwrap().status, 200);
    relay.serve(&[upstream]);
    assert_eq!(get(&socket, "/").unwrap().status, 200);
    assert_eq!(relay.metric("copal_relay_upstream_connections_total"), 3.0);
    drop(Arc::clone(&ours));
}

#[test]
fn thousands_of_upstreams_are_taken_up_quickly() {
    let server = Server::plain(Http::Two);
    let upstreams: Vec<Upstream> = (1..=3000)
        .map(|number| {
            let numerator = number;
            let mirror = copal::bundle::relay::Mirror { endpoints: Vec::new(), numerator, denominator: 3000 };
            Upstream { mirrors: vec![mirror], ..crate::process::h2c(server.address) }
        })
        .collect();
    let mut relay = Relay::start();
    let start = std::time::Instant::now();
    relay.serve(&upstreams);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    for upstream in upstreams.iter().step_by(500) {
        assert_eq!(get(&relay.socket(upstream), "/").unwrap().status, 200);
    }
}
