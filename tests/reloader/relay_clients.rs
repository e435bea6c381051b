//! Clients' certificates through the relay and a real varnishd.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use copal::bundle::Bundle;
use copal::bundle::relay::{Certificate, ClientValidation, certificate_id};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};

use crate::served::{Served, nowhere, root};
use crate::tls::{Authority, Names, connect, relay, request};

/// Seconds after 1970, in the distant future and past.
const FOREVER: u64 = 30_000_000_000;
const LONG_AGO: u64 = 1_000_000_000;

/// What a port asks for: nothing, a certificate, or one that nobody has to have.
#[derive(Clone, Copy)]
enum Asks<'a> {
    Nothing,
    Valid(&'a Authority),
    Any(&'a Authority),
}

/// The bundle of some ports; each presents the same certificate.
fn bundle(own: &Arc<Certificate>, ports: &[(u16, Asks<'_>)]) -> Bundle {
    let names: Names<'_> = &[("a.example", own)];
    let by_port: Vec<_> = ports.iter().map(|(port, _)| (*port, names)).collect();
    let (relay, mut certificates) = relay(&by_port);
    let mut relay = relay.unwrap();
    for (port, asks) in ports {
        let (authority, insecure_fallback) = match asks {
            Asks::Nothing => continue,
            Asks::Valid(authority) => (authority.itself(), false),
            Asks::Any(authority) => (authority.itself(), true),
        };
        let id = certificate_id(&authority);
        certificates.insert(id.clone(), authority);
        relay.listen.get_mut(port).unwrap().clients =
            Some(ClientValidation { authorities: vec![id], insecure_fallback });
    }
    Bundle::new(Vec::new(), root(nowhere()), BTreeMap::new()).with_relay(Some(relay), certificates)
}

/// The answer to a client's request on a connection of its own; none if the client is not let in.
fn ask(client: &Arc<ClientConfig>, address: SocketAddr) -> Option<(HandshakeKind, String)> {
    let mut stream = connect(client, address, "a.example").ok()?;
    let (head, _) = request(&mut stream, "a.example", "/echo").ok()?;
    Some((stream.conn.handshake_kind().unwrap(), head))
}

/// What VCL knows of a client: whether it showed a certificate, on this connection or an earlier one, and whether that
/// was verified.
fn known(answer: Option<(HandshakeKind, String)>) -> Option<[String; 3]> {
    let (_, head) = answer?;
    let header = |name: &str| {
        let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        found.unwrap_or_else(|| panic!("no {name} in\n{head}")).to_owned()
    };
    Some([header("x-shown"), header("x-shown-before"), header("x-verified")])
}

#[test]
fn only_clients_with_a_valid_certificate_are_let_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue(&["a.example"]);
    let ports = [(443, Asks::Valid(&authority)), (444, Asks::Valid(&other)), (445, Asks::Nothing)];
    let (valid, expired) = (authority.issue_client(FOREVER), authority.issue_client(LONG_AGO));
    let stranger = other.issue_client(FOREVER);
    let bundle = bundle(&own, &ports);
    let served = Served::serve(authority, &bundle);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], served.offset + port));
    let mut refused = 0.0;
    for version in [&TLS13, &TLS12] {
        // In this order: what comes of a ticket of one port must not open another.
        for (shown, ports) in [
            (Some(&valid), [true, false, true]),
            (Some(&stranger), [false, true, true]),
            (Some(&expired), [false, false, true]),
            (None, [false, false, true]),
        ] {
            let client = served.authority.client_with(&[version], shown.map(AsRef::as_ref));
            for (port, is_let_in) in [443, 444, 445].into_iter().zip(ports) {
                let answer = ask(&client, address(port));
                assert_eq!(answer.is_some(), is_let_in, "{version:?} {port}");
                refused += if is_let_in { 0.0 } else { 1.0 };
                let expected = if port == 445 { ["false", "false", "1"] } else { ["true", "true", "0"] };
                assert_eq!(
                    known(answer),
                    is_let_in.then(|| expected.map(str::to_owned)),
                    "{version:?} {port}"
                );
            }
        }
    }
    served.wait_handshakes("client_certificate", refused);
    assert_eq!(served.handshakes("tls_error"), Some(0.0));
    assert_eq!(served.reloader.metric("copal_relay_certificates"), Some(1.0));
}

#[test]
fn with_insecure_fallback_all_are_let_in_and_vcl_knows_whom_to_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue(&["a.example"]);
    let bundle = bundle(&own, &[(443, Asks::Any(&authority))]);
    let (valid, expired) = (authority.issue_client(FOREVER), authority.issue_client(LONG_AGO));
    let served = Served::serve(authority, &bundle);
    for version in [&TLS13, &TLS12] {
        for (shown, expected) in [
            (Some(&valid), ["true", "true", "0"]),
            (Some(&expired), ["true", "true", "1"]),
            (Some(&other.issue_client(FOREVER)), ["true", "true", "1"]),
            (None, ["false", "false", "1"]),
        ] {
            let client = served.authority.client_with(&[version], shown.map(AsRef::as_ref));
            let first = known(ask(&client, served.address)).unwrap();
            assert_eq!(first, expected, "{version:?}");
            let (kind, head) = ask(&client, served.address).unwrap();
            assert_eq!(kind, HandshakeKind::Resumed);
            let again = known(Some((kind, head))).unwrap();
            assert_eq!(again, ["false", expected[1], expected[2]], "{version:?} resumed");
        }
    }
    assert_eq!(served.handshakes("client_certificate"), Some(0.0));
}

#[test]
fn sessions_do_not_outlive_a_change_of_what_clients_have_to_show() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue(&["a.example"]);
    let client = |served: &Served| {
        served.authority.client_with(&[&TLS13], Some(&served.authority.issue_client(FOREVER)))
    };
    let first = bundle(&own, &[(443, Asks::Nothing)]);
    let served = Served::serve(authority, &first);
    let one = client(&served);
    let kind = |client| ask(client, served.address).map(|(kind, _)| kind);
    assert_eq!(kind(&one), Some(HandshakeKind::Full));
    assert_eq!(kind(&one), Some(HandshakeKind::Resumed));
    served.change(&bundle(&own, &[(443, Asks::Valid(&served.authority))]));
    assert_eq!(kind(&one), Some(HandshakeKind::Full), "it has shown nothing so far");
    assert_eq!(kind(&one), Some(HandshakeKind::Resumed));
    served.change(&bundle(&own, &[(443, Asks::Valid(&served.authority)), (444, Asks::Nothing)]));
    assert_eq!(kind(&one), Some(HandshakeKind::Resumed), "the same is asked for");
    served.change(&bundle(&own, &[(443, Asks::Valid(&other))]));
    assert_eq!(kind(&one), None);
    served.change(&bundle(&own, &[(443, Asks::Any(&other))]));
    assert_eq!(kind(&one), Some(HandshakeKind::Full));
    served.change(&bundle(&own, &[(443, Asks::Valid(&other))]));
    assert_eq!(kind(&one), None, "a session of the time of the fallback opens nothing");
    assert_eq!(served.reloader.metric("copal_relay_restarts_total"), Some(0.0));
}

#[test]
fn a_session_ends_with_its_clients_certificate() {
    let authority = Authority::new();
    let own = authority.issue(&["a.example"]);
    let bundle = bundle(&own, &[(443, Asks::Valid(&authority))]);
    let served = Served::serve(authority, &bundle);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let shown = served.authority.issue_client(now + 4);
    let client = served.authority.client_with(&[&TLS13], Some(&shown));
    let kinds = [(); 2].map(|()| ask(&client, served.address).map(|(kind, _)| kind));
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    sleep(Duration::from_secs(6));
    assert!(ask(&client, served.address).is_none());
    served.wait_handshakes("client_certificate", 1.0);
}

#[test]
fn curl_shows_a_certificate_over_http_1_and_2() {
    let authority = Authority::new();
    let own = authority.issue(&["a.example"]);
    let bundle = bundle(&own, &[(443, Asks::Valid(&authority))]);
    let served = Served::serve(authority, &bundle);
    let shown = served.authority.issue_client(FOREVER);
    let file = served.authority.file().with_file_name("client.pem");
    std::fs::write(&file, [shown.chain.as_slice(), &shown.key].concat()).unwrap();
    let file = file.to_string_lossy().into_owned();
    for version in ["--http1.1", "--http2"] {
        let curl = |more: &[&str]| {
            let arguments = [&[version], more].concat();
            served.authority.curl(served.address, "a.example", "/echo", &arguments)
        };
        let answer = curl(&["--cert", &file]).unwrap().to_lowercase();
        assert!(answer.contains("x-shown: true\r\n") && answer.contains("x-verified: 0\r\n"), "{answer}");
        assert!(curl(&[]).is_err(), "{version}");
    }
}

#[test]
fn a_port_whose_authorities_are_damaged_is_not_served() {
    let authority = Authority::new();
    let own = authority.issue(&["a.example"]);
    let mut bundle = bundle(&own, &[(443, Asks::Valid(&authority)), (444, Asks::Nothing)]);
    let broken = Arc::new(Certificate { chain: b"not PEM".to_vec(), key: Vec::new() });
    let mut relay = bundle.manifest.relay.take().unwrap();
    let clients = relay.listen.get_mut(&443).unwrap().clients.as_mut().unwrap();
    clients.authorities = vec![certificate_id(&broken)];
    bundle.certificates.insert(certificate_id(&broken), Arc::clone(&broken));
    let certificates = bundle.certificates.clone();
    let served = Served::serve(authority, &bundle.with_relay(Some(relay), certificates));
    let client = served.authority.client(&[&TLS13]);
    assert!(ask(&client, SocketAddr::from(([127, 0, 0, 1], served.offset + 444))).is_some());
    assert!(ask(&client, served.address).is_none());
    let message = served.reloader.status()["last_error"]["message"].to_string();
    assert!(message.contains("443") || message.contains(&certificate_id(&broken)), "{message}");
}
