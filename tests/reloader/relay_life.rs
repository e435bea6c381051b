//! The relay's life: its ports, its drain, its death.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::version::TLS13;

use crate::backend::Backend;
use crate::harness::{Place, free_offset, kill};
use crate::served::{Served, bundle, nowhere};
use crate::tls::{Authority, Names, answer, connect, request, send};

#[test]
fn a_port_that_is_taken_is_told_and_had_as_soon_as_it_is_free() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let (place, offset) = (Place::new(), free_offset());
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
    let other = served.at(444);
    served.reloader.wait_for("the new port", || connect(&client, other, "a.example").ok());
    served.reloader.wait_for("the end of the old port", || TcpStream::connect(served.address).err());
    assert!(request(&mut open, "a.example", "/").unwrap().0.contains(" 200 ok"));
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
    send(&mut busy, "a.example", "/held").unwrap();
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
    let bundle = bundle(nowhere(), &[], &[(443, &[("", &certificate)])]);
    let mut served = Served::serve_with(authority, &bundle, &["--drain-delay", "3"]);
    let client = served.authority.client(&[&TLS13]);
    served.reloader.signal(Signal::TERM);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        let mut stream = connect(&client, served.address, "a.example").unwrap();
        assert!(request(&mut stream, "a.example", "/echo").unwrap().0.contains(" 200 ok"));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(served.reloader.wait_exit().success(), "{}", served.reloader.log());
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
    // As root, varnishd has another user, whose group may pass.
    assert_eq!((mode(&state.join("relay")) & !0o010, mode(&state.join("relay/varnish"))), (0o700, 0o600));
}
