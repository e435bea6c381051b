//! TLS through the relay and a real varnishd.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use copal::bundle::relay::{Certificate, certificate_id};
use copal::bundle::{Bundle, ListenSocket, VclFile};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, HandshakeKind};

use crate::backend::Backend;
use crate::bulk;
use crate::client::get;
use crate::harness::{Place, Reloader, free_port, kill};
use crate::tls::{Authority, answer, connect, der, presented, relay, request};

/// Says what VCL knows of a connection, for `/echo`; all else goes to the backend.
fn root(backend: SocketAddr) -> VclFile {
    let text = format!(
        r#"vcl 4.1;

import proxy;
import std;

backend web {{ .host = "{}"; .port = "{}"; }}

sub vcl_recv {{
    if (req.url == "/echo") {{ return (synth(200)); }}
    if (req.url == "/pipe") {{ return (pipe); }}
    return (pass);
}}

sub vcl_synth {{
    set resp.http.X-Socket = local.socket;
    set resp.http.X-Port = std.port(server.ip);
    set resp.http.X-Client = client.ip;
    set resp.http.X-Alpn = proxy.alpn();
    set resp.http.X-Authority = proxy.authority();
    set resp.http.X-Ssl = proxy.is_ssl();
    set resp.http.X-Version = proxy.ssl_version();
    set resp.http.X-Cipher = proxy.ssl_cipher();
    set resp.http.X-Verified = proxy.ssl_verify_result();
    set resp.body = "";
    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = "close"; }}
    return (deliver);
}}

sub vcl_deliver {{
    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = "close"; }}
}}
"#,
        backend.ip(),
        backend.port()
    );
    VclFile::new("root", text)
}

type Names<'a> = &'a [(&'a str, &'a Arc<Certificate>)];

fn bundle(backend: SocketAddr, plain: &[u16], ports: &[(u16, Names<'_>)]) -> Bundle {
    let listen =
        plain.iter().map(|port| ListenSocket { name: format!("http-{port}"), port: *port }).collect();
    let (relay, certificates) = relay(ports);
    Bundle::new(listen, root(backend), [].into()).with_relay(relay, certificates)
}

/// A reloader whose port 443 is reached at an address of the test's.
struct Served {
    authority: Authority,
    place: Place,
    reloader: Reloader,
    address: SocketAddr,
    offset: u16,
}

impl Served {
    fn new(backend: SocketAddr, names: &[&str]) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(names);
        let names: Vec<_> = names.iter().map(|name| (*name, &certificate)).collect();
        let bundle = bundle(backend, &[], &[(443, &names)]);
        Self::serve(authority, &bundle)
    }

    fn serve(authority: Authority, bundle: &Bundle) -> Self {
        Self::serve_with(authority, bundle, &[])
    }

    fn serve_with(authority: Authority, bundle: &Bundle, arguments: &[&str]) -> Self {
        let place = Place::new();
        let offset = free_port();
        let revision = place.write(bundle);
        let offset_text = offset.to_string();
        let arguments = [&["--port-offset", offset_text.as_str()], arguments].concat();
        let reloader = place.start_with(&arguments);
        reloader.wait_loaded(&revision);
        let address = SocketAddr::from(([127, 0, 0, 1], offset + 443));
        Self { authority, place, reloader, address, offset }
    }

    fn change(&self, bundle: &Bundle) {
        let revision = self.place.write(bundle);
        self.reloader.wait_loaded(&revision);
    }

    fn handshakes(&self, result: &str) -> Option<f64> {
        self.reloader.metric(&format!("copal_relay_handshakes_total{{result=\"{result}\"}}"))
    }

    fn wait_handshakes(&self, result: &str, count: f64) {
        self.reloader
            .wait_for("a handshake of that kind", || (self.handshakes(result) == Some(count)).then_some(()));
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

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
    let plain = SocketAddr::from(([127, 0, 0, 1], served.offset + 80));
    assert_eq!(get(plain, "a.example", "/echo").unwrap().header("x-socket"), Some("http-80"));
    for port in [443, 444] {
        let address = SocketAddr::from(([127, 0, 0, 1], served.offset + port));
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
    let other = SocketAddr::from(([127, 0, 0, 1], served.offset + 444));
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

#[test]
fn a_port_that_is_taken_is_told_and_had_as_soon_as_it_is_free() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let (place, offset) = (Place::new(), free_port());
    let taken = std::net::TcpListener::bind(("127.0.0.1", offset + 444)).unwrap();
    let tls: Names<'_> = &[("", &certificate)];
    let revision = place.write(&bundle(nowhere(), &[], &[(443, tls), (444, tls)]));
    let reloader = place.start_with(&["--port-offset", &offset.to_string()]);
    reloader.wait_loaded(&revision);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], offset + port));
    let client = authority.client(&[&TLS13]);
    assert!(connect(&client, address(443), "a.example").is_ok());
    let status = reloader.status();
    assert!(status["last_error"]["message"].as_str().unwrap().contains("port 444"), "{status:#}");
    drop(taken);
    reloader.wait_for("the port", || connect(&client, address(444), "a.example").ok());
    reloader.wait_for("the end of the error", || {
        reloader.status()["relay"]["errors"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn listeners_come_and_go_without_touching_connections() {
    let web = Backend::start("web");
    let served = Served::new(web.address, &["a.example"]);
    let client = served.authority.client(&[&TLS13]);
    let mut open = connect(&client, served.address, "a.example").unwrap();
    let certificate = served.authority.issue(&["a.example"]);
    served.change(&bundle(web.address, &[], &[(444, &[("", &certificate)])]));
    let other = SocketAddr::from(([127, 0, 0, 1], served.offset + 444));
    served.reloader.wait_for("the new port", || connect(&client, other, "a.example").ok());
    served.reloader.wait_for("the end of the old port", || TcpStream::connect(served.address).err());
    assert!(request(&mut open, "a.example", "/").unwrap().0.contains(" 200 ok"));
}

#[test]
fn who_says_nothing_is_sent_away_and_nonsense_is_answered_by_an_alert() {
    let served = Served::new(nowhere(), &["a.example"]);
    let start = Instant::now();
    let mut silent = TcpStream::connect(served.address).unwrap();
    for nonsense in [&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], b"\x16\x03\x01\0\x05\x01\0\0\x01\xff"]
    {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.write_all(nonsense).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[..2], [21, 3], "an alert");
    }
    drop(TcpStream::connect(served.address).unwrap());
    served.wait_handshakes("tls_error", 2.0);
    served.wait_handshakes("closed", 1.0);
    assert!(start.elapsed() < Duration::from_secs(9));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert!((9..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    served.wait_handshakes("timeout", 1.0);
    assert_eq!(served.reloader.metric("copal_relay_active_connections"), Some(0.0));
}

#[test]
fn a_client_that_has_ended_its_half_gets_its_answer() {
    let web = Backend::start("web");
    let served = Served::new(web.address, &["a.example"]);
    let client = served.authority.client(&[&TLS13]);
    for with_notice in [true, false] {
        let mut stream = connect(&client, served.address, "a.example").unwrap();
        write!(stream, "GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        if with_notice {
            stream.conn.send_close_notify();
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream.sock.shutdown(Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(300));
        web.release();
        assert!(answer(&mut stream).unwrap().0.contains(" 200 ok"), "{with_notice}");
    }
}

#[test]
fn each_half_of_a_pipe_ends_by_itself() {
    let served = Served::new(bulk::start(), &["a.example"]);
    let mut stream = connect(&served.authority.client(&[&TLS13]), served.address, "a.example").unwrap();
    write!(stream, "GET /pipe HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    stream.flush().unwrap();
    // What comes with the request may be lost to varnishd's pipe; what comes after it is not.
    thread::sleep(Duration::from_millis(300));
    stream.write_all(&[b'x'; 100_000]).unwrap();
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000 bytes, then the end");
}

/// Bytes in memory.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
fn long_bodies_take_no_memory() {
    const MEBIBYTES: usize = 200;
    let served = Served::new(bulk::start(), &["a.example"]);
    let pid = served.reloader.relay();
    let client = served.authority.client(&[&TLS13]);
    request(&mut connect(&client, served.address, "a.example").unwrap(), "a.example", "/0").unwrap();
    let before = resident(pid);

    let mut down = connect(&client, served.address, "a.example").unwrap();
    let (_, body) = request(&mut down, "a.example", &format!("/{MEBIBYTES}")).unwrap();
    assert!(body.len() == MEBIBYTES << 20 && body.iter().all(|byte| *byte == b'x'));

    let mut up = connect(&client, served.address, "a.example").unwrap();
    write!(up, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", MEBIBYTES << 20).unwrap();
    let block = vec![b'y'; 1 << 20];
    for _ in 0..MEBIBYTES {
        up.write_all(&block).unwrap();
    }
    assert_eq!(answer(&mut up).unwrap().1, (MEBIBYTES << 20).to_string().into_bytes());
    let grown = resident(pid) - before;
    assert!(grown < 8 << 20, "{grown} bytes more");
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    let served = Served::new(bulk::start(), &["a.example"]);
    let pid = served.reloader.relay();
    let client = served.authority.client(&[&TLS13]);
    let mut slow = connect(&client, served.address, "a.example").unwrap();
    write!(slow, "GET /100 HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    slow.flush().unwrap();
    thread::sleep(Duration::from_secs(2));
    assert!(resident(pid) < 64 << 20);
    assert_eq!(answer(&mut slow).unwrap().1.len(), 100 << 20);
}

#[test]
fn draining_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (web, authority) = (Backend::start("web"), Authority::new());
    let bundle = bundle(web.address, &[], &[(443, &[("", &authority.issue(&["a.example"]))])]);
    // varnishd closes what has become idle before by the limit of then.
    let mut served = Served::serve_with(authority, &bundle, &["--", "-p", "timeout_idle=5"]);
    let client = served.authority.client(&[&TLS13]);
    let mut idle = connect(&client, served.address, "a.example").unwrap();
    assert!(request(&mut idle, "a.example", "/").unwrap().0.contains(" 200 ok"));
    let mut busy = connect(&client, served.address, "a.example").unwrap();
    write!(busy, "GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    busy.flush().unwrap();
    served.reloader.wait_for("the request at the backend", || (web.waiting() == 1).then_some(()));

    served.reloader.signal(Signal::TERM);
    served.reloader.wait_for("the port to close", || TcpStream::connect(served.address).err());
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "closed, and properly so");
    assert_eq!(web.waiting(), 1);
    web.release();
    let (head, _) = answer(&mut busy).unwrap();
    assert!(head.contains(" 200 ok") && head.contains("connection: close"), "{head}");
    assert_eq!(busy.read(&mut [0]).unwrap(), 0);
    assert!(served.reloader.wait_exit().success(), "{}", served.reloader.log());
    assert!(served.reloader.log().contains("drained"), "{}", served.reloader.log());
}

#[test]
fn the_relay_accepts_for_the_drain_delay() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let (place, offset) = (Place::new(), free_port());
    let revision = place.write(&bundle(nowhere(), &[], &[(443, &[("", &certificate)])]));
    let mut reloader = place.start_with(&["--port-offset", &offset.to_string(), "--drain-delay", "3"]);
    reloader.wait_loaded(&revision);
    let address = SocketAddr::from(([127, 0, 0, 1], offset + 443));
    let client = authority.client(&[&TLS13]);
    reloader.signal(Signal::TERM);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        let mut stream = connect(&client, address, "a.example").unwrap();
        assert!(request(&mut stream, "a.example", "/echo").unwrap().0.contains(" 200 ok"));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(reloader.wait_exit().success(), "{}", reloader.log());
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[test]
fn a_relay_that_dies_is_started_again() {
    let served = Served::new(nowhere(), &["a.example"]);
    let client = served.authority.client(&[&TLS13]);
    let first = served.reloader.relay();
    kill(first, Signal::KILL);
    served.reloader.wait_for("another relay", || {
        let mut stream = connect(&client, served.address, "a.example").ok()?;
        request(&mut stream, "a.example", "/echo").ok()
    });
    assert_ne!(served.reloader.relay(), first);
    assert_eq!(served.reloader.metric("copal_relay_restarts_total"), Some(1.0));
    served
        .reloader
        .wait_for("readiness", || served.reloader.admin_get("/readyz").filter(|answer| answer.status == 200));
    let status = served.reloader.status();
    assert_eq!(status["loaded"], status["relay"]["revision"]);
    assert!(status["last_error"]["message"].as_str().unwrap().contains("copal-relay ended"), "{status:#}");
}

#[test]
fn the_relay_ends_with_a_reloader_that_is_killed() {
    let served = Served::new(nowhere(), &["a.example"]);
    served.reloader.signal(Signal::KILL);
    served.reloader.wait_for("the port to be free", || TcpStream::connect(served.address).err());
    let again = served.place.start_with(&["--port-offset", &served.offset.to_string()]);
    let client = served.authority.client(&[&TLS13]);
    again.wait_for("service", || {
        let mut stream = connect(&client, served.address, "a.example").ok()?;
        request(&mut stream, "a.example", "/echo").ok()
    });
}

#[test]
fn keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::new(nowhere(), &["a.example"]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let state = served.place.state_folder();
    for folder in [served.place.bundle_folder(), state.join("relay"), state.join("last-good")] {
        let certificates = folder.join("certificates");
        served.reloader.wait_for("the certificates", || certificates.is_dir().then_some(()));
        assert_eq!(mode(&certificates), 0o700);
        for file in std::fs::read_dir(&certificates).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
    assert_eq!((mode(&state.join("relay")), mode(&state.join("relay/varnish"))), (0o700, 0o600));
}
