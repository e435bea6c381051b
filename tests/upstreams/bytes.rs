//! HTTP/1.1 over TLS: bytes are copied.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use copal::bundle::relay::Upstream;

use crate::authority::Authority;
use crate::client::{Connection, get};
use crate::process::{Relay, h2c, mirrored, over_tls, plain, wait_for};
use crate::server::{Http, Server};

const MEBIBYTES: usize = 256;

/// By TLS, HTTP/2 and mirrored HTTP/1.1.
fn each(check: impl Fn(&Relay, &std::path::Path)) {
    let authority = Authority::new();
    let ours = authority.certificate();
    let (tls, two, one) = (
        Server::tls(Http::One, &authority.issue(&["a.example"]), None),
        Server::plain(Http::Two),
        Server::plain(Http::One),
    );
    let ways: [Upstream; 3] = [
        over_tls(tls.address, "a.example", &ours),
        h2c(two.address),
        mirrored(plain(one.address), &[(plain(tls.address), 0)]),
    ];
    for upstream in &ways {
        let (relay, socket) = Relay::serving(upstream, &[&ours]);
        check(&relay, &socket);
    }
}

#[test]
fn long_bodies_take_no_memory() {
    each(|relay, socket| {
        get(socket, "/").unwrap();
        let before = relay.resident();
        let down = get(socket, &format!("/MIB/{MEBIBYTES}")).unwrap();
        assert!(down.body.len() == MEBIBYTES << 20 && down.body.iter().all(|byte| *byte == b'x'));
        let mut up = Connection::open(socket);
        let length = MEBIBYTES << 20;
        up.send(&format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n")).unwrap();
        let block = vec![b'y'; 1 << 20];
        for _ in 0..MEBIBYTES {
            up.0.get_mut().write_all(&block).unwrap();
        }
        assert!(up.receive(true).unwrap().text().ends_with(&format!("body: {length}\n")));
        let grown = relay.resident() - before;
        assert!(grown < 24 << 20, "{grown} bytes more");
    });
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    each(|relay, socket| {
        let mut slow = Connection::open(socket);
        slow.send("GET /MIB/100 HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        thread::sleep(Duration::from_secs(1));
        assert!(relay.resident() < 64 << 20);
        assert_eq!(slow.receive(true).unwrap().body.len(), 100 << 20);
    });
}

#[test]
fn an_endpoint_that_dies_in_mid_body_is_no_clean_end() {
    each(|_, socket| {
        let mut connection = Connection::open(socket);
        connection.send("GET /die HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        assert!(connection.receive(true).is_err());
        assert_eq!(get(socket, "/").unwrap().status, 200);
    });
}

#[test]
fn a_connection_is_kept_alive_and_ends_with_its_endpoint() {
    let authority = Authority::new();
    let ours = authority.certificate();
    for is_mirrored in [false, true] {
        let server = Server::tls(Http::One, &authority.issue(&["a.example"]), None);
        let mut upstream = over_tls(server.address, "a.example", &ours);
        if is_mirrored {
            upstream = mirrored(upstream, &[(plain(server.address), 0)]);
        }
        let (relay, socket) = Relay::serving(&upstream, &[&ours]);
        let mut connection = Connection::open(&socket);
        for _ in 0..3 {
            assert_eq!(connection.get("/").unwrap().status, 200);
        }
        assert_eq!(server.connections(), 1);
        assert_eq!(relay.metric("copal_relay_upstream_connections_active"), 1.0);
        let start = Instant::now();
        drop(server);
        assert!(connection.is_closed() && start.elapsed() < Duration::from_secs(1), "{is_mirrored}");
        drop(connection);
        wait_for("the end", || {
            (relay.metric("copal_relay_upstream_connections_active") == 0.0).then_some(())
        });
        assert_eq!(relay.metric("copal_relay_upstream_connections_total"), 1.0);
    }
}

#[test]
fn each_half_ends_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_relay, socket) = Relay::serving(&plain(listener.local_addr().unwrap()), &[]);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        write!(stream, "{} bytes, then the end", all.len()).unwrap();
    });
    let mut connection = Connection::open(&socket);
    connection.0.get_mut().write_all(&vec![b'x'; 100_000]).unwrap();
    connection.0.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    connection.0.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000 bytes, then the end");
    server.join().unwrap();
}
