//! HTTPS through `copal run`, by clients that others have made, and by some that only pretend to speak TLS.
#![cfg(test)]

mod support;

#[path = "reloader/tls.rs"]
#[allow(dead_code, reason = "the reloader's tests use more of it")]
mod tls;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use copal::bundle::relay::Certificate;
use rustls::version::{TLS12, TLS13};
use support::{Backend, Gateway, Shared, gateway, indent, route, service_of};
use tls::{Authority, answer, connect, der, presented, request};

const HOST: &str = "localhost";

struct Site {
    authority: Authority,
    web: Backend,
    gateway: Gateway,
}

impl Site {
    /// One HTTPS listener, whose routes lead to a backend that speaks WebSocket too.
    fn start() -> Self {
        let (authority, web) = (Authority::new(), Backend::start("web"));
        let listener = "- {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: shown}]}}";
        let files = [
            ("gateway.yaml", gateway("gw", listener)),
            ("secret.yaml", secret(&authority.issue(&[HOST]))),
            ("service.yaml", service_of("web", "appProtocol: kubernetes.io/ws", &[web.address])),
            ("route.yaml", route("web", &[HOST], "- backendRefs: [{name: web, port: 80}]")),
        ];
        let gateway = Gateway::start(&[443], &files);
        let site = Self { authority, web, gateway };
        let client = site.authority.client(&[&TLS13]);
        site.gateway
            .wait_for("TLS", Duration::from_mins(1), || connect(&client, site.address(), HOST).is_ok());
        site
    }

    fn shared() -> &'static Self {
        static SHARED: Shared<Site> = Shared::new();
        SHARED.get(Self::start)
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address(443)
    }

    /// What a program says that is given this input; its words of both kinds.
    fn say(program: &str, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let (address, authority) = (self.address().to_string(), self.authority.file());
        let fixed =
            ["s_client", "-connect", &address, "-servername", HOST, "-CAfile", authority.to_str().unwrap()];
        let request = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        // `-ign_eof`: it waits for the answer.
        Self::say("openssl", &[&fixed[..], &["-ign_eof"], arguments].concat(), &request)
    }
}

fn secret(certificate: &Certificate) -> String {
    let text = |bytes: &[u8]| indent(&String::from_utf8_lossy(bytes), 4);
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: shown, namespace: default}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{}  tls.key: |
{}",
        text(&certificate.chain),
        text(&certificate.key)
    )
}

#[test]
fn openssl_is_served_with_every_version_and_cipher_that_there_is() {
    let site = Site::shared();
    for (arguments, version, cipher) in [
        (&["-tls1_3"][..], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        (&["-tls1_3", "-groups", "P-256"], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (&["-tls1_3", "-alpn", "http/1.1"], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            "TLSv1.2",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
    ] {
        let said = site.openssl(arguments);
        let agreed = format!("New, {version}, Cipher is {cipher}");
        for part in [agreed.as_str(), "Verify return code: 0 (ok)", "HTTP/1.1 200", "x-backend: web"] {
            assert!(
                said.to_lowercase().contains(&part.to_lowercase()),
                "{arguments:?}: no {part:?} in\n{said}"
            );
        }
    }
}

#[test]
fn versions_and_ciphers_of_old_are_refused() {
    let site = Site::shared();
    for arguments in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
    ] {
        let said = site.openssl(arguments);
        let is_refused = said.contains("alert protocol version") || said.contains("alert handshake failure");
        assert!(is_refused && !said.contains("HTTP/1.1"), "{arguments:?}: {said}");
    }
}

#[test]
fn nghttp_asks_for_much_at_once_over_one_connection() {
    let site = Site::shared();
    let (port, before) = (site.address().port(), site.web.requests());
    let targets: Vec<String> =
        (0..20).map(|number| format!("https://{HOST}:{port}/nghttp?size=50000&n={number}")).collect();
    let targets = targets.iter().map(String::as_str);
    let said =
        Site::say("nghttp", &["--stat", "--null-out"].into_iter().chain(targets).collect::<Vec<_>>(), "");
    // One line for each request: the path ends it, the status and the size stand before.
    let answered = said.lines().filter(|line| line.contains(" 200 ") && line.contains("/nghttp?")).count();
    assert_eq!(answered, 20, "{said}");
    assert_eq!(site.web.requests() - before, 20, "{said}");
}

#[test]
fn a_web_socket_passes_through_tls() {
    let site = Site::shared();
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(&site.authority.client(&[version]), site.address(), HOST).unwrap();
        let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        write!(stream, "GET /socket HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n").unwrap();
        assert!(answer(&mut stream).unwrap().0.contains(" 101 "));
        for message in [&b"hello"[..], &[0, 255, 10, 13, 10], &vec![b'x'; 40_000]] {
            stream.write_all(message).unwrap();
            let mut echo = vec![0; message.len()];
            stream.read_exact(&mut echo).unwrap();
            assert_eq!(echo, message);
        }
    }
}

#[test]
fn what_is_no_client_hello_is_turned_away_at_once_and_nobody_else_notices() {
    let site = Site::shared();
    let client = site.authority.client(&[&TLS13]);
    let mut open = connect(&client, site.address(), HOST).unwrap();
    let hello = client_hello();
    let with_length = |length: [u8; 2]| [&hello[..3], &length, &hello[5..]].concat();
    let mut of_lies = hello.clone();
    of_lies[6..9].copy_from_slice(&[0xff, 0xff, 0xff]);
    let begin = Instant::now();
    for (kind, bytes) in [
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a hello of SSL 2", [&[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10][..], &[7; 37]].concat()),
        ("zeros", vec![0; 2000]),
        ("an oversize record", with_length([0xff, 0xff])),
        ("an empty record", b"\x16\x03\x01\0\0".to_vec()),
        ("a handshake message of 16 MiB", of_lies),
        ("application data first", b"\x17\x03\x03\0\x05hello".to_vec()),
        ("half of a hello", hello[..hello.len() / 2].to_vec()),
        ("a hello cut off in its names", with_length([0, 40])[..45].to_vec()),
        ("nothing", Vec::new()),
    ] {
        let mut stream = TcpStream::connect(site.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too: bytes of the client's that nobody read.
        let ended = stream.read_to_end(&mut answer);
        let is_end =
            ended.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |_| true);
        let is_alert = answer.is_empty() || answer.starts_with(&[21, 3]);
        assert!(is_end && is_alert, "{kind}: {ended:?} {answer:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(request(&mut open, HOST, "/x").unwrap().0.contains(" 200 "));
    assert_eq!(site.gateway.processes("copal-relay").len(), 1);
}

/// The first record of a client of rustls's.
fn client_hello() -> Vec<u8> {
    let authority = Authority::new();
    let name = rustls::pki_types::ServerName::try_from(HOST).unwrap();
    let mut client = rustls::ClientConnection::new(authority.client(&[&TLS13]), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_renewed_secret_is_shown_under_load_without_a_failed_request() {
    let site = Site::start();
    let client = site.authority.client(&[&TLS13]);
    let (done, fresh, kept) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let ask = |stream: &mut tls::Stream| assert!(request(stream, HOST, "/x").unwrap().0.contains(" 200 "));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = connect(&client, site.address(), HOST).unwrap();
            while !done.load(Ordering::SeqCst) {
                ask(&mut stream);
                kept.fetch_add(1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // Of a client that knows no session.
                let client = site.authority.client(&[&TLS12, &TLS13]);
                ask(&mut connect(&client, site.address(), HOST).unwrap());
                fresh.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..20 {
            let renewed = site.authority.issue(&[HOST]);
            site.gateway.write("secret.yaml", &secret(&renewed));
            let is_shown = || {
                let client = site.authority.client(&[&TLS13]);
                presented(&client, site.address(), HOST).unwrap() == der(&renewed)
            };
            site.gateway.wait_for("the renewed certificate", Duration::from_secs(20), is_shown);
        }
        done.store(true, Ordering::SeqCst);
    });
    let (fresh, kept) = (fresh.into_inner(), kept.into_inner());
    assert!(fresh > 20 && kept > 20, "{fresh} new connections, {kept} requests over one");
}
