//! SIGTERM: nothing that is in flight is cut off.

use std::time::Duration;

use rustix::process::Signal;

use crate::backend::Backend;
use crate::bundles::{bundle, shard};
use crate::client::{Connection, get};
use crate::harness::{Place, Reloader};

fn in_flight() -> (Place, Backend, Reloader, Connection) {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = place.serve(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    let mut connection = Connection::open(place.address()).unwrap();
    connection.send("a", "/held").unwrap();
    reloader.wait_for("the request at the backend", || (backend.waiting() == 1).then_some(()));
    (place, backend, reloader, connection)
}

fn begin(reloader: &Reloader, signal: Signal) {
    reloader.signal(signal);
    reloader.wait_for("readiness to fail", || {
        reloader.admin_get("/readyz").filter(|answer| answer.status == 503)
    });
}

#[test]
fn a_request_in_flight_finishes_and_idle_connections_close() {
    let (place, backend, mut reloader, mut busy) = in_flight();
    let mut idle = Connection::open(place.address()).unwrap();
    assert_eq!(idle.get("a", "/").unwrap().status, 200);

    begin(&reloader, Signal::TERM);
    assert_eq!(reloader.status()["state"], "draining");
    assert_eq!(reloader.admin_get("/healthz").unwrap().status, 200);
    assert_eq!(reloader.metric("copal_draining"), Some(1.0));
    assert!(idle.is_closed_by_peer(Duration::from_secs(20)), "{}", reloader.log());
    let late = get(place.address(), "a", "/").unwrap();
    assert_eq!((late.status, late.header("connection")), (200, Some("close")));

    // A second SIGTERM shortens nothing.
    reloader.signal(Signal::TERM);
    reloader.wait_for("the second signal in the log", || {
        reloader.log().contains("already draining").then_some(())
    });
    assert_eq!(backend.waiting(), 1);

    backend.release();
    let answer = busy.receive().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(reloader.wait_exit().code(), Some(0), "{}", reloader.log());
    let log = reloader.log();
    assert!(log.contains("Starting connection draining, health check now failing"), "{log}");
    assert!(log.contains("Drain complete, stopping varnishd"), "{log}");
}

#[test]
fn bundles_that_come_while_draining_are_left_alone() {
    let (place, backend, mut reloader, mut busy) = in_flight();
    begin(&reloader, Signal::TERM);
    place.write(&bundle(&[place.port], &[("a", &shard(backend.address, "2"))]));
    reloader.wait_for("the new bundle in the log", || {
        reloader.log().contains("found a new bundle").then_some(())
    });
    assert_eq!(get(place.address(), "a", "/other").unwrap().header("x-version"), Some("1"));
    backend.release();
    assert_eq!(busy.receive().unwrap().status, 200);
    assert!(reloader.wait_exit().success());
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let (_place, _backend, mut reloader, mut busy) = in_flight();
    begin(&reloader, Signal::INT);
    reloader.signal(Signal::INT);
    assert_eq!(reloader.wait_exit().code(), Some(1));
    assert!(busy.receive().is_err());
}

#[test]
fn connections_are_accepted_for_the_drain_delay() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    place.write(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    let mut reloader = place.start_with(&["--drain-delay", "3"]);
    reloader.wait_for("serving", || (reloader.status()["state"] == "serving").then_some(()));
    let start = std::time::Instant::now();
    begin(&reloader, Signal::TERM);
    assert_eq!(get(place.address(), "a", "/").unwrap().status, 200);
    assert!(reloader.wait_exit().success(), "{}", reloader.log());
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[test]
fn without_a_bundle_there_is_nothing_to_wait_for() {
    let place = Place::new();
    let mut reloader = place.start();
    reloader.wait_for("waiting", || (reloader.status()["state"] == "waiting").then_some(()));
    reloader.signal(Signal::TERM);
    assert!(reloader.wait_exit().success(), "{}", reloader.log());
}
