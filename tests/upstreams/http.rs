//! Requests that go on by HTTP/2, or by HTTP/1.1 where there are mirrors.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use copal::bundle::relay::Upstream;

use crate::authority::Authority;
use crate::client::{Connection, get};
use crate::process::{Relay, h2c, mirrored, over_tls, plain};
use crate::server::{Http, Server};

/// By HTTP/2 and by mirrored HTTP/1.1.
fn each(check: impl Fn(&Relay, &std::path::Path, Http)) {
    for http in [Http::One, Http::Two] {
        let server = Server::plain(http);
        let upstream = match http {
            Http::One => mirrored(plain(server.address), &[(plain(server.address), 0)]),
            Http::Two => h2c(server.address),
        };
        let (relay, socket) = Relay::serving(&upstream, &[]);
        check(&relay, &socket, http);
    }
}

#[test]
fn heads_are_passed_on_without_what_is_about_the_connection() {
    each(|_, socket, http| {
        let mut connection = Connection::open(socket);
        connection
            .send(
                "GET /a?b=c HTTP/1.1\r\nHost: a.example:81\r\nX-One: 1\r\nConnection: X-Gone\r\nX-Gone: 1\r\n\
                 Keep-Alive: 5\r\nTE: trailers, gzip\r\nX-One: 2\r\n\r\n",
            )
            .unwrap();
        let answer = connection.receive(true).unwrap();
        let mut lines: Vec<_> = answer.text().lines().map(str::to_owned).collect();
        lines[1..].sort_unstable();
        let expected = match http {
            Http::One => "GET /a?b=c HTTP/1.1,body: 0,host: a.example:81,te: trailers,x-one: 1,x-one: 2",
            Http::Two => "GET http://a.example:81/a?b=c HTTP/2.0,body: 0,te: trailers,x-one: 1,x-one: 2",
        };
        assert_eq!(lines.join(","), expected);
        assert_eq!(answer.header("date"), None);
        assert_eq!(answer.header("server"), None);
    });
}

#[test]
fn answers_without_body_are_framed_right() {
    each(|_, socket, _| {
        let mut connection = Connection::open(socket);
        for path in ["/204", "/304"] {
            connection.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            let answer = connection.receive(false).unwrap();
            assert_eq!(answer.status.to_string(), path[1..]);
            assert_eq!(answer.header("transfer-encoding"), None, "{answer:?}");
        }
        connection.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let answer = connection.receive(false).unwrap();
        assert_eq!(answer.header("content-length"), Some("12345"), "{answer:?}");
        assert_eq!(connection.get("/").unwrap().status, 200);
    });
}

#[test]
fn bodies_of_all_kinds_arrive() {
    each(|_, socket, _| {
        let mut connection = Connection::open(socket);
        connection
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            .unwrap();
        let text = connection.receive(true).unwrap().text();
        assert!(text.ends_with("body: 5\n"), "{text}");
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        let text = connection.receive(true).unwrap().text();
        assert!(text.contains("content-length: 5") && text.ends_with("body: 5\n"), "{text}");
        connection
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .unwrap();
        assert_eq!(connection.head().unwrap().0, 100);
        connection.send("hello").unwrap();
        let text = connection.receive(true).unwrap().text();
        assert!(!text.contains("expect") && text.ends_with("body: 5\n"), "{text}");
    });
}

#[test]
fn a_length_that_is_contradicted_is_not_passed_on() {
    each(|_, socket, _| {
        let mut connection = Connection::open(socket);
        connection
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
            .unwrap();
        assert_eq!(connection.receive(false).unwrap().status, 400);
        let mut connection = Connection::open(socket);
        connection
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            .unwrap();
        let text = connection.receive(true).unwrap().text();
        assert!(!text.contains("content-length") && text.ends_with("body: 5\n"), "{text}");
    });
}

#[test]
fn long_heads_and_many_headers_pass() {
    each(|_, socket, _| {
        let long = format!("X-Long: {}\r\n", "x".repeat(30 << 10));
        let many: String = (0..128).map(|number| format!("X-{number}: 1\r\n")).collect();
        for headers in [long, many] {
            let mut connection = Connection::open(socket);
            connection.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).unwrap();
            let answer = connection.receive(true).unwrap();
            assert!(answer.status == 200 && answer.body.len() > 1000, "{}", answer.head);
        }
    });
}

#[test]
fn one_connection_is_shared_and_made_anew() {
    let authority = Authority::new();
    let ours = authority.certificate();
    for is_tls in [false, true] {
        let certificate = authority.issue(&["a.example"]);
        let start =
            || if is_tls { Server::tls(Http::Two, &certificate, None) } else { Server::plain(Http::Two) };
        let server = start();
        let upstream = if is_tls {
            Upstream { http2: true, ..over_tls(server.address, "a.example", &ours) }
        } else {
            h2c(server.address)
        };
        let (relay, socket) = Relay::serving(&upstream, &[&ours]);
        let mut open: Vec<_> = (0..10).map(|_| Connection::open(&socket)).collect();
        for connection in &mut open {
            connection.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        }
        for connection in &mut open {
            assert_eq!(connection.receive(true).unwrap().status, 200);
        }
        assert_eq!((server.connections(), server.hits()), (1, 10));
        drop(server);
        assert!(open[0].get("/").is_err(), "nobody listens");
        assert_eq!(relay.errors("connect") + relay.errors("broken"), 1.0);
    }
}

#[test]
fn more_requests_than_streams_are_allowed_are_served_at_once() {
    let server = Server::plain(Http::Two);
    let (_relay, socket) = Relay::serving(&h2c(server.address), &[]);
    get(&socket, "/").unwrap();
    let start = std::time::Instant::now();
    thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| assert_eq!(get(&socket, "/slow").unwrap().status, 200));
        }
    });
    assert!(start.elapsed().as_secs() < 6, "{:?}", start.elapsed());
    assert!((3..=8).contains(&server.connections()), "{}", server.connections());
}

#[test]
fn connections_that_say_goodbye_fail_no_request() {
    let server = Server::plain(Http::Two);
    let (relay, socket) = Relay::serving(&h2c(server.address), &[]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(&socket);
                for number in 0..200 {
                    let path = if number % 10 == 0 { "/goaway" } else { "/" };
                    assert_eq!(connection.get(path).unwrap().status, 200);
                }
            });
        }
    });
    assert!(server.connections() > 10, "{}", server.connections());
    assert_eq!(relay.errors("broken") + relay.errors("connect"), 0.0);
}

#[test]
fn an_upgrade_passes_where_there_are_mirrors() {
    let (server, mirror) = (Server::plain(Http::One), Server::plain(Http::One));
    let upstream = mirrored(plain(server.address), &[(plain(mirror.address), 100)]);
    let (_relay, socket) = Relay::serving(&upstream, &[]);
    let mut connection = Connection::open(&socket);
    connection
        .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .unwrap();
    let (status, head) = connection.head().unwrap();
    assert!(status == 101 && head.to_lowercase().contains("upgrade: echo"), "{head}");
    connection.0.get_mut().write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    connection.0.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    connection.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(connection.is_closed());
    assert_eq!(mirror.connections(), 0);
}

#[test]
fn who_does_not_answer_leaves_nothing_said() {
    for http2 in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closes = thread::spawn(move || {
            for stream in listener.incoming().take(1).flatten() {
                drop((&stream).read(&mut [0; 100]));
            }
        });
        let upstream = Upstream { http2, ..mirrored(plain(address), &[(plain(address), 0)]) };
        let (relay, socket) = Relay::serving(&upstream, &[]);
        let mut connection = Connection::open(&socket);
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(connection.head().is_err());
        // By HTTP/2, what was certainly not looked at is sent again, to nobody here.
        assert_eq!(relay.errors("broken") + relay.errors("connect"), 1.0);
        closes.join().unwrap();
    }
}
