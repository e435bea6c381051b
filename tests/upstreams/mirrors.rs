//! Copies of requests.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use copal::bundle::relay::Upstream;

use crate::authority::Authority;
use crate::client::{Connection, get};
use crate::process::{Relay, h2c, mirrored, over_tls, plain, wait_for};
use crate::server::{Http, Server};

#[test]
fn each_mirror_gets_the_request_as_the_backend_does() {
    let authority = Authority::new();
    let ours = authority.certificate();
    let certificate = authority.issue(&["a.example"]);
    let mirrors = [
        Server::plain(Http::One),
        Server::plain(Http::Two),
        Server::tls(Http::One, &certificate, None),
        Server::tls(Http::Two, &certificate, None),
    ];
    let tls = |server: &Server| over_tls(server.address, "a.example", &ours);
    let to = [
        (plain(mirrors[0].address), 100),
        (h2c(mirrors[1].address), 100),
        (tls(&mirrors[2]), 100),
        (Upstream { http2: true, ..tls(&mirrors[3]) }, 100),
    ];
    let backends = [Server::plain(Http::One), Server::plain(Http::Two)];
    for (number, upstream) in [plain(backends[0].address), h2c(backends[1].address)].into_iter().enumerate() {
        let (relay, socket) = Relay::serving(&mirrored(upstream, &to), &[&ours]);
        let mut connection = Connection::open(&socket);
        for body in [
            "Content-Length: 5\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "\r\n",
        ] {
            let method = if body == "\r\n" { "GET" } else { "POST" };
            connection
                .send(&format!("{method} /x HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\n{body}"))
                .unwrap();
            assert_eq!(connection.receive(true).unwrap().status, 200);
            // One after the other, so that the copies come in this order too.
            let so_far = mirrors[0].hits();
            wait_for("the copies", || {
                mirrors.iter().all(|it| it.hits() > 0 && it.hits() >= so_far).then_some(())
            });
        }
        wait_for("the copies", || (relay.mirrored("ok") == 12.0).then_some(()));
        for mirror in &mirrors {
            let heads = mirror.heads().split_off(3 * number);
            assert_eq!(heads.len(), 3);
            for head in &heads {
                let body = if head.starts_with("GET") { "body: 0\n" } else { "body: 5\n" };
                assert!(
                    head.contains("a.example") && head.contains("x-one: 1") && head.ends_with(body),
                    "{head}"
                );
            }
            let get = heads.iter().find(|head| head.starts_with("GET")).unwrap();
            assert!(!get.contains("transfer-encoding"), "{get}");
        }
        assert!(mirrors[0].connections() <= 6);
    }
}

#[test]
fn the_share_is_as_asked() {
    let (server, mirror) = (Server::plain(Http::One), Server::plain(Http::One));
    let (relay, socket) =
        Relay::serving(&mirrored(plain(server.address), &[(plain(mirror.address), 25)]), &[]);
    let mut connection = Connection::open(&socket);
    let requests = 2000.0_f64;
    for _ in 0..2000 {
        connection.get("/").unwrap();
    }
    // Three standard deviations of a binomial distribution, and one more: a test is run often.
    let deviation = 4.0 * (requests * 0.25 * 0.75).sqrt();
    let done = || relay.mirrored("ok");
    wait_for("the copies", || (done() >= requests * 0.25 - deviation).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert!((done() - requests * 0.25).abs() < deviation, "{}", done());
    assert_eq!((relay.mirrored("error"), relay.mirrored("dropped")), (0.0, 0.0));
}

#[test]
fn mirrors_that_are_slow_dead_or_failing_do_not_delay() {
    let server = Server::plain(Http::Two);
    let failing = Server::plain(Http::One);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Accepts, and never reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = [(plain(dead), 100), (plain(silent.local_addr().unwrap()), 100), (h2c(failing.address), 100)];
    let (relay, socket) = Relay::serving(&mirrored(h2c(server.address), &to), &[]);
    let start = Instant::now();
    let mut connection = Connection::open(&socket);
    for _ in 0..20 {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let before = relay.resident();
    let length = 64 << 20;
    connection.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).unwrap();
    connection.0.get_mut().write_all(&vec![b'x'; length]).unwrap();
    assert!(connection.receive(true).unwrap().text().ends_with(&format!("body: {length}\n")));
    assert!(relay.resident() - before < 24 << 20);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    wait_for("the failures", || (relay.mirrored("error") >= 40.0).then_some(()));
    wait_for("the cut", || (relay.mirrored("dropped") >= 1.0).then_some(()));
    wait_for("the time limit", || (relay.mirrored("timeout") >= 20.0).then_some(()));
    assert_eq!(get(&socket, "/").unwrap().status, 200);
}
