//! TLS that the relay passes on, with real servers and clients on both sides.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use copal::bundle::Bundle;
use copal::bundle::relay::{ClientValidation, Share, certificate_id};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConnection};

use crate::harness::free_port;
use crate::served::{Served, bundle, nowhere};
use crate::tls::{Authority, Names, Stream, connect};
use crate::tls_server::{TlsServer, plain_server};

/// The names of port 443, and the weights and endpoints that each has.
type Passed<'a> = &'a [(&'a str, &'a [(u32, &'a [SocketAddr])])];

/// A bundle that passes on, and terminates, on port 443.
fn passing(passed: Passed<'_>, terminated: Names<'_>) -> Bundle {
    let ports: &[(u16, Names<'_>)] = &[(443, terminated)];
    let bundle = bundle(nowhere(), &[], if terminated.is_empty() { &[] } else { ports });
    let share = |(weight, endpoints): &(u32, &[SocketAddr])| Share {
        weight: *weight,
        endpoints: endpoints.iter().copied().collect(),
    };
    let names = passed.iter().map(|(name, shares)| ((*name).to_owned(), shares.iter().map(share).collect()));
    let mut relay = bundle.manifest.relay.clone().unwrap_or_default();
    relay.passthrough.insert(443, names.collect());
    let certificates = bundle.certificates.clone();
    bundle.with_relay(Some(relay), certificates)
}

/// The same, where what is in TLS is passed on for some names.
fn with_plain(bundle: Bundle, plain: Passed<'_>) -> Bundle {
    let mut relay = bundle.manifest.relay.clone().unwrap();
    let streams = passing(plain, &[]).manifest.relay.unwrap().passthrough;
    relay.plain = streams;
    let certificates = bundle.certificates.clone();
    bundle.with_relay(Some(relay), certificates)
}

/// The name of the server that a client gets to.
fn server_of(stream: &mut impl Read) -> String {
    let mut name = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        name.push(byte[0]);
    }
    String::from_utf8(name).unwrap()
}

/// Ends the client's half; what comes then, to the server's end.
fn rest(stream: &mut Stream) -> String {
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    rest
}

/// All that comes back for some bytes, of a client that ends nothing.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

impl Served {
    fn passed(&self, result: &str) -> usize {
        let name = format!("copal_relay_passthrough_connections_total{{result=\"{result}\"}}");
        self.reloader.metric(&name).unwrap().to_string().parse().unwrap()
    }
}

#[test]
fn the_server_follows_from_the_server_name() {
    let authority = Authority::new();
    let all = ["a.example", "b.example", "x.b.example", "x.y.example", "c.y.example", "x.c.y.example"];
    let [exact, wild, deep, any] =
        ["exact", "wild", "deep", "any"].map(|name| TlsServer::start(name, &authority.issue(&all)));
    let names: Passed<'_> = &[
        ("a.example", &[(1, &[exact.address])]),
        ("*.example", &[(1, &[wild.address])]),
        ("*.y.example", &[(1, &[deep.address])]),
        ("refused.example", &[]),
        ("", &[(1, &[any.address])]),
    ];
    let served = Served::serve(authority, &passing(names, &[]));
    for version in [&TLS13, &TLS12] {
        let client = served.authority.client(&[version]);
        for (name, expected) in [
            ("a.example", "exact"),
            ("b.example", "wild"),
            ("x.b.example", "wild"),
            ("c.y.example", "deep"),
            ("x.c.y.example", "deep"),
        ] {
            let mut stream = connect(&client, served.address, name).unwrap();
            assert_eq!(server_of(&mut stream), expected, "{name}");
            assert_eq!(rest(&mut stream), "0 bytes");
        }
    }
    let curl = served.authority.curl(served.address, "a.example", "/", &["--http0.9"]).unwrap();
    assert!(curl.starts_with("exact\n"), "{curl}");
    for (arguments, expected) in [
        (&["-servername", "A.Example."][..], "exact"),
        (&["-servername", "b.example"], "wild"),
        (&["-noservername"], "any"),
        (&["-servername", "example"], "any"),
    ] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &served.address.to_string()]).args(arguments);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(server_of(process.stdout.as_mut().unwrap()), expected, "{arguments:?}");
        drop(process.stdin.take());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let client = served.authority.client(&[&TLS13]);
    assert!(connect(&client, served.address, "refused.example").is_err());
    assert_eq!((served.passed("ok"), served.passed("no_route")), (15, 1));
    assert_eq!(served.handshakes("ok"), Some(0.0), "nobody ends TLS here");
}

#[test]
fn a_port_may_pass_on_some_names_and_terminate_others() {
    let authority = Authority::new();
    let web = authority.issue(&["web.example", "in.pass.example"]);
    let backend = TlsServer::start("server", &authority.issue(&["a.pass.example"]));
    let names: Passed<'_> = &[("*.pass.example", &[(1, &[backend.address])])];
    let bundle = passing(names, &[("web.example", &web), ("in.pass.example", &web)]);
    let served = Served::serve(authority, &bundle);
    let client = served.authority.client(&[&TLS13]);
    for name in ["web.example", "in.pass.example"] {
        for option in ["--http1.1", "--http2"] {
            let answer = served.authority.curl(served.address, name, "/echo", &[option]).unwrap();
            assert!(answer.to_lowercase().contains(&format!("x-authority: {name}")), "{answer}");
        }
    }
    let mut stream = connect(&client, served.address, "a.pass.example").unwrap();
    assert_eq!(server_of(&mut stream), "server");
    let error = connect(&client, served.address, "pass.example").unwrap_err();
    let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)), "{error}");
    assert_eq!((served.passed("ok"), served.handshakes("ok")), (1, Some(4.0)));
    served.wait_handshakes("no_certificate", 1.0);
}

#[test]
fn what_is_in_tls_may_be_passed_on_alone() {
    let authority = Authority::new();
    let certificate = authority.issue(&["t.example", "x.t.example", "dead.t.example", "web.example"]);
    let backend = TlsServer::start("tls", &authority.issue(&["a.example"]));
    let plain = plain_server("plain");
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let terminated: Vec<_> =
        ["t.example", "*.t.example", "web.example"].into_iter().map(|name| (name, &certificate)).collect();
    let bundle = passing(&[("a.example", &[(1, &[backend.address])])], &terminated);
    let names: Passed<'_> =
        &[("t.example", &[(1, &[dead, plain])]), ("*.t.example", &[]), ("dead.t.example", &[(1, &[dead])])];
    let served = Served::serve(authority, &with_plain(bundle, names));
    for version in [&TLS13, &TLS12] {
        let mut client = (*served.authority.client(&[version])).clone();
        // Varnish does not speak it, and has no say here.
        client.alpn_protocols = vec![b"postgresql".to_vec()];
        let client = Arc::new(client);
        for _ in 0..4 {
            let mut stream = connect(&client, served.address, "t.example").unwrap();
            stream.write_all(&vec![b'x'; 1 << 20]).unwrap();
            assert_eq!(server_of(&mut stream), "plain");
            assert_eq!(rest(&mut stream), format!("{} bytes", 1 << 20));
        }
        assert!(connect(&client, served.address, "x.t.example").is_err(), "no route");
        assert!(connect(&client, served.address, "web.example").is_err(), "for HTTP only");
    }
    let client = served.authority.client(&[&TLS13]);
    assert_eq!(server_of(&mut connect(&client, served.address, "a.example").unwrap()), "tls");
    let mut nobody = connect(&client, served.address, "dead.t.example").unwrap();
    assert!(nobody.read(&mut [0]).is_err(), "cut off, and no end that a server meant");
    let answer = served.authority.curl(served.address, "web.example", "/echo", &[]).unwrap();
    assert!(answer.to_lowercase().contains("x-authority: web.example"), "{answer}");
    assert_eq!(["ok", "no_route", "unreachable"].map(|it| served.passed(it)), [9, 2, 1]);
}

#[test]
fn clients_show_certificates_where_tls_ends_and_only_there() {
    let authority = Authority::new();
    let certificate = authority.issue(&["t.example"]);
    let backend = TlsServer::start("tls", &authority.issue(&["a.example"]));
    let plain = plain_server("plain");
    let bundle = passing(&[("a.example", &[(1, &[backend.address])])], &[("t.example", &certificate)]);
    let bundle = with_plain(bundle, &[("t.example", &[(1, &[plain])])]);
    let (mut relay, mut certificates) = (bundle.manifest.relay.clone().unwrap(), bundle.certificates.clone());
    let (id, trusted) = (certificate_id(&authority.itself()), authority.itself());
    certificates.insert(id.clone(), trusted);
    relay.listen.get_mut(&443).unwrap().clients =
        Some(ClientValidation { authorities: vec![id], insecure_fallback: false });
    let valid = authority.issue_client(30_000_000_000);
    let served = Served::serve(authority, &bundle.with_relay(Some(relay), certificates));
    for version in [&TLS13, &TLS12] {
        for (shown, is_let_in) in [(Some(valid.as_ref()), true), (None, false)] {
            let client = served.authority.client_with(&[version], shown);
            // Twice: the second time the session is resumed.
            for _ in 0..2 {
                let mut name = [0; 5];
                let stream = connect(&client, served.address, "t.example");
                let read = stream.map_err(|_| ()).and_then(|mut it| it.read_exact(&mut name).map_err(|_| ()));
                assert_eq!(read.is_ok(), is_let_in, "{version:?}");
                assert_eq!(&name == b"plain", is_let_in, "{version:?}");
            }
            assert_eq!(server_of(&mut connect(&client, served.address, "a.example").unwrap()), "tls");
        }
    }
    served.wait_handshakes("client_certificate", 4.0);
}

/// What a client says first.
fn hello(served: &Served, name: &str) -> (ClientConnection, Vec<u8>) {
    let client = served.authority.client(&[&TLS13]);
    let mut tls = ClientConnection::new(client, name.to_owned().try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).unwrap();
    (tls, bytes)
}

/// The same in records of some bytes.
fn in_records(hello: &[u8], length: usize) -> Vec<u8> {
    let record = |it: &[u8]| [&[22, 3, 1, 0, u8::try_from(it.len()).unwrap()][..], it].concat();
    hello[5..].chunks(length).flat_map(record).collect()
}

#[test]
fn a_hello_may_come_in_pieces() {
    let authority = Authority::new();
    let web = authority.issue(&["web.example"]);
    let backend = TlsServer::start("server", &authority.issue(&["a.example"]));
    let bundle = passing(&[("a.example", &[(1, &[backend.address])])], &[("web.example", &web)]);
    let served = Served::serve(authority, &bundle);
    for name in ["a.example", "web.example"] {
        for (record, segment) in [(250, 1), (7, 40), (100, 4096)] {
            let (mut tls, bytes) = hello(&served, name);
            let mut sock = TcpStream::connect(served.address).unwrap();
            sock.set_nodelay(true).unwrap();
            for piece in in_records(&bytes, record).chunks(segment) {
                sock.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(2));
            }
            while tls.is_handshaking() {
                tls.complete_io(&mut sock).unwrap();
            }
            let mut stream = Stream::new(tls, sock);
            if name == "a.example" {
                assert_eq!(server_of(&mut stream), "server");
                assert_eq!(rest(&mut stream), "0 bytes");
            }
        }
    }
}

#[test]
fn what_is_no_hello_is_sent_away() {
    let authority = Authority::new();
    let backend = TlsServer::start("server", &authority.issue(&["a.example"]));
    let served = Served::serve(authority, &passing(&[("", &[(1, &[backend.address])])], &[]));
    let start = Instant::now();
    let mut silent = TcpStream::connect(served.address).unwrap();
    let mut slow = TcpStream::connect(served.address).unwrap();
    slow.write_all(&hello(&served, "a.example").1[..100]).unwrap();
    for nonsense in [
        &b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
        b"\x16\x03\x01\0\x05\x01\0\0\x01\xff",
        b"\x80\x2e\x01",
    ] {
        assert_eq!(answer_to(served.address, nonsense), [21, 3, 3, 0, 2, 2, 50], "{nonsense:?}");
    }
    // As long as it may be, and no end of it: 16 KiB in records of one byte.
    let endless = in_records(&[&[0; 5][..], &[1, 0, 0x3f, 0xff], &[0; 3000]].concat(), 1);
    assert!(answer_to(served.address, &endless).len() <= 7);
    drop(TcpStream::connect(served.address).unwrap());
    served.wait_handshakes("tls_error", 4.0);
    served.wait_handshakes("closed", 1.0);
    assert!(start.elapsed() < Duration::from_secs(9));
    for stream in [&mut silent, &mut slow] {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    assert!((9..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    served.wait_handshakes("timeout", 2.0);
    assert_eq!(backend.connections(), 0);
    assert_eq!(served.reloader.metric("copal_relay_active_connections"), Some(0.0));
}

#[test]
fn weights_are_shares_of_connections_and_what_cannot_be_served_is_refused() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example", "b.example", "dead.example"]);
    let [one, two, three] = ["one", "two", "three"].map(|name| TlsServer::start(name, &certificate));
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let names: Passed<'_> = &[
        ("a.example", &[(4, &[one.address, two.address]), (2, &[three.address]), (2, &[])]),
        ("b.example", &[(1, &[dead, one.address])]),
        ("dead.example", &[(1, &[dead])]),
    ];
    let served = Served::serve(authority, &passing(names, &[]));
    let client = served.authority.client(&[&TLS13]);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..400 {
        let reached = connect(&client, served.address, "a.example");
        let reached = reached.map_or_else(|_| "refused".to_owned(), |mut stream| server_of(&mut stream));
        *counts.entry(reached).or_default() += 1;
    }
    // Each has 100 in the mean; six times the standard deviation is 52.
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!(counts.values().all(|count| (48..=152).contains(count)), "{counts:?}");
    assert_eq!(served.passed("no_endpoint"), counts["refused"]);
    for _ in 0..20 {
        assert_eq!(server_of(&mut connect(&client, served.address, "b.example").unwrap()), "one");
    }
    for name in ["dead.example", "unknown.example"] {
        let answer = answer_to(served.address, &hello(&served, name).1);
        assert!(answer.is_empty(), "{name}: not even an alert: {answer:?}");
    }
    assert_eq!((served.passed("unreachable"), served.passed("no_route")), (1, 1));
}

#[test]
fn bytes_go_both_ways_and_each_half_ends_by_itself() {
    let authority = Authority::new();
    let backend = TlsServer::start("server", &authority.issue(&["a.example"]));
    let served = Served::serve(authority, &passing(&[("a.example", &[(1, &[backend.address])])], &[]));
    let client = served.authority.client(&[&TLS13]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = connect(&client, served.address, "a.example").unwrap();
                stream.write_all(&vec![b'x'; 20 << 20]).unwrap();
                assert_eq!(server_of(&mut stream), "server");
                assert_eq!(rest(&mut stream), format!("{} bytes", 20 << 20));
            });
        }
    });
    // Who goes without a word leaves nothing behind.
    drop(connect(&client, served.address, "a.example").unwrap());
    served.reloader.wait_for("the end of all connections", || {
        (served.reloader.metric("copal_relay_active_connections") == Some(0.0)).then_some(())
    });
}

#[test]
fn connections_outlive_changes_and_are_waited_for() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let [one, two] = ["one", "two"].map(|name| TlsServer::start(name, &certificate));
    let to = |backend: &TlsServer| passing(&[("a.example", &[(1, &[backend.address])])], &[]);
    let mut served = Served::serve(authority, &to(&one));
    let client = served.authority.client(&[&TLS13]);
    let mut open = connect(&client, served.address, "a.example").unwrap();
    served.change(&to(&two));
    assert_eq!(server_of(&mut connect(&client, served.address, "a.example").unwrap()), "two");
    served.change(&passing(&[("other.example", &[(1, &[two.address])])], &[]));
    assert!(connect(&client, served.address, "a.example").is_err());
    served.reloader.signal(Signal::TERM);
    served
        .reloader
        .wait_for("the end of listening", || TcpStream::connect(served.address).is_err().then_some(()));
    open.write_all(b"still here").unwrap();
    assert_eq!(server_of(&mut open), "one");
    assert_eq!(rest(&mut open), "10 bytes");
    assert!(served.reloader.wait_exit().success());
}
