//! Bytes through the relay: how they end, and how many are in memory.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::TLS13;

use crate::backend::Backend;
use crate::bulk;
use crate::served::{Served, nowhere};
use crate::tls::{answer, connect, send};

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
        send(&mut stream, "a.example", "/held").unwrap();
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
    send(&mut stream, "a.example", "/pipe").unwrap();
    // What comes with the request may be lost to varnishd's pipe; what comes after it is not.
    thread::sleep(Duration::from_millis(300));
    stream.write_all(&vec![b'x'; 100_000]).unwrap();
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

/// 256 MiB each way, or as many as the environment says: a gibibyte takes long without optimisation.
#[test]
fn long_bodies_take_no_memory() {
    let mebibytes: u64 = std::env::var("COPAL_BODY_MIB").map_or(256, |it| it.parse().unwrap());
    let served = Served::new(bulk::start(), &["a.example"]);
    let pid = served.reloader.relay();
    let curl = |path: &str, arguments: &[&str]| {
        let fixed = ["--http1.1", "--no-include", "--header", "Expect:"];
        served.authority.curl(served.address, "a.example", path, &[&fixed, arguments].concat()).unwrap()
    };
    curl("/0", &[]);
    let before = resident(pid);
    // It has no blocks on the disk.
    let sparse = tempfile::NamedTempFile::new().unwrap();
    sparse.as_file().set_len(mebibytes << 20).unwrap();
    let expected = (mebibytes << 20).to_string();
    thread::scope(|scope| {
        scope.spawn(|| {
            let size = ["--output", "/dev/null", "--write-out", "%{size_download}"];
            assert_eq!(curl(&format!("/{mebibytes}"), &size), expected);
        });
        assert_eq!(curl("/", &["--upload-file", sparse.path().to_str().unwrap()]), expected);
    });
    let grown = resident(pid) - before;
    assert!(grown < 8 << 20, "{grown} bytes more");
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    let served = Served::new(bulk::start(), &["a.example"]);
    let pid = served.reloader.relay();
    let client = served.authority.client(&[&TLS13]);
    let mut slow = connect(&client, served.address, "a.example").unwrap();
    send(&mut slow, "a.example", "/100").unwrap();
    thread::sleep(Duration::from_secs(2));
    assert!(resident(pid) < 64 << 20);
    assert_eq!(answer(&mut slow).unwrap().1.len(), 100 << 20);
}
