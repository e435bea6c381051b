//! Processes die.

use rustix::process::Signal;

use crate::backend::Backend;
use crate::bundles::{bundle, shard};
use crate::client::get;
use crate::harness::{Place, kill, varnishds, wait_for};

fn served() -> (Place, Backend, crate::harness::Reloader) {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = place.serve(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    (place, backend, reloader)
}

#[test]
fn a_crash_of_the_child_is_survived_and_counted() {
    let (place, _backend, reloader) = served();
    reloader.wait_for("the count of starts", || (reloader.status()["child_starts"] == 1).then_some(()));
    assert_eq!(reloader.metric("copal_varnish_child_restarts_total"), Some(0.0));
    let child = reloader.child();
    kill(child, Signal::SEGV);
    reloader.wait_for("another child", || (reloader.status()["child_starts"] == 2).then_some(()));
    reloader.wait_for("serving again", || {
        get(place.address(), "a", "/").ok().filter(|answer| answer.status == 200)
    });
    reloader.wait_for("readiness", || reloader.admin_get("/readyz").filter(|answer| answer.status == 200));
    assert_ne!(reloader.child(), child);
    assert_eq!(reloader.metric("copal_varnish_child_restarts_total"), Some(1.0));
    reloader.wait_for("the panic in the log", || {
        reloader.log().contains("varnishd's child panicked").then_some(())
    });
}

#[test]
fn the_end_of_varnishd_is_the_end_of_the_reloader() {
    let (_place, _backend, mut reloader) = served();
    kill(reloader.manager(), Signal::KILL);
    let status = reloader.wait_exit();
    assert_eq!(status.code(), Some(1), "{}", reloader.log());
    assert!(reloader.log().contains("varnishd ended"), "{}", reloader.log());
}

#[test]
fn a_varnishd_that_was_left_behind_is_taken_over() {
    let (place, _backend, mut first) = served();
    let left = [first.manager(), first.child()];
    kill(first.pid(), Signal::KILL);
    first.wait_exit();
    let workdir = place.state_folder().join("varnish");
    assert!(left.iter().all(|pid| varnishds(&workdir).contains(pid)), "both were left behind");

    let second = place.start();
    second.wait_for("serving", || (second.status()["state"] == "serving").then_some(()));
    assert_eq!(get(place.address(), "a", "/").unwrap().status, 200);
    assert!(left.iter().all(|pid| !varnishds(&workdir).contains(pid)));
    assert!(second.log().contains("a varnishd of an earlier run is still there"));
}

#[test]
fn the_last_good_bundle_serves_without_the_folder() {
    let (place, _backend, mut first) = served();
    let revision = first.status()["loaded"].clone();
    first.signal(Signal::TERM);
    assert!(first.wait_exit().success(), "{}", first.log());
    std::fs::remove_dir_all(place.bundle_folder()).unwrap();

    let second = place.start();
    second.wait_loaded(revision.as_str().unwrap());
    assert_eq!(get(place.address(), "a", "/").unwrap().status, 200);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let taken = std::net::TcpListener::bind(place.address()).unwrap();
    place.write(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    let mut reloader = place.start();
    assert_eq!(reloader.wait_exit().code(), Some(1));
    let named =
        wait_for(|| reloader.log().contains(&format!("cannot listen on {}", place.address())).then_some(()));
    assert!(named.is_some(), "{}", reloader.log());
    drop(taken);
}

#[test]
fn a_reloader_whose_starter_is_gone_ends() {
    let (_place, _backend, mut reloader) = served();
    reloader.close_stdin();
    assert!(reloader.wait_exit().success(), "{}", reloader.log());
}
