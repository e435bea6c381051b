//! Bundles come into force, whole or in the parts that can be loaded.

use std::fs;

use crate::backend::Backend;
use crate::bundles::{BROKEN, NOT_INITIALIZING, bundle, bundle_with_root, shard};
use crate::client::{Connection, get};
use crate::harness::Place;

#[test]
fn a_bundle_is_loaded_and_served() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = place.serve(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    let answer = get(place.address(), "a", "/").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "web 1"));
    assert_eq!(get(place.address(), "elsewhere", "/").unwrap().status, 404);
    assert_eq!(reloader.admin_get("/readyz").unwrap().status, 200);
    assert_eq!(reloader.admin_get("/healthz").unwrap().status, 200);
    let status = reloader.status();
    assert_eq!(status["state"], "serving");
    assert_eq!(status["listen"][0], place.address().to_string());
    assert_eq!(status["child_starts"], 1);
    let vcls = status["vcls"].as_array().unwrap();
    let found: Vec<&str> = vcls.iter().filter_map(|vcl| vcl["state"].as_str()).collect();
    assert_eq!(found, ["labelled", "active"], "{status:#}");
}

#[test]
fn a_changed_shard_is_relabelled_and_the_cache_stays() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let with = |version| {
        bundle(&[place.port], &[("a", &shard(backend.address, version)), ("b", &shard(backend.address, "b"))])
    };
    let reloader = place.serve(&with("1"));
    let mut connection = Connection::open(place.address()).unwrap();
    let first = connection.get("a", "/cached").unwrap();
    assert_eq!((first.header("x-version"), first.header("x-hits")), (Some("1"), Some("0")));

    reloader.wait_loaded(&place.write(&with("2")));
    let second = connection.get("a", "/cached").unwrap();
    assert_eq!((second.header("x-version"), second.header("x-hits")), (Some("2"), Some("1")));
    assert_eq!((second.body.as_str(), backend.hits()), ("web 1", 1));
    reloader.wait_for("the old shard's end", || {
        let status = reloader.status();
        status["vcls"].as_array().unwrap().iter().all(|vcl| vcl["state"] != "old").then_some(())
    });
}

#[test]
fn a_broken_shard_keeps_its_old_one_while_others_change() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let version = |version| shard(backend.address, version);
    let reloader = place.serve(&bundle(&[place.port], &[("a", &version("a1")), ("b", &version("b1"))]));

    let half = bundle(&[place.port], &[("a", BROKEN), ("b", &version("b2"))]);
    let status = reloader.settled(&place.write(&half));
    assert!(status["loaded"].is_null(), "{status:#}");
    assert_eq!(status["wanted"], half.manifest.revision);
    let failed = status["vcls"].as_array().unwrap().iter().find(|vcl| vcl["state"] == "failed").unwrap();
    let file = format!("{}.vcl", half.manifest.labels["copal_a"]);
    assert_eq!((&failed["label"], &failed["error"]["line"]), (&"copal_a".into(), &5.into()));
    assert_eq!(failed["error"]["file"], file);
    assert_eq!(status["last_error"]["file"], file);
    assert_eq!(get(place.address(), "a", "/").unwrap().header("x-version"), Some("a1"));
    assert_eq!(get(place.address(), "b", "/").unwrap().header("x-version"), Some("b2"));
    assert_eq!(reloader.admin_get("/readyz").unwrap().status, 200);
    assert!(reloader.metric("copal_reloads_total{result=\"failure\"}").unwrap() >= 1.0);

    reloader
        .wait_loaded(&place.write(&bundle(&[place.port], &[("a", &version("a2")), ("b", &version("b2"))])));
    assert_eq!(get(place.address(), "a", "/").unwrap().header("x-version"), Some("a2"));
}

#[test]
fn a_new_shard_that_is_broken_costs_only_its_own_hosts() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    for broken in [BROKEN, NOT_INITIALIZING] {
        let half = bundle(&[place.port], &[("a", broken), ("b", &shard(backend.address, "b1"))]);
        let revision = place.write(&half);
        let reloader = place.start();
        let status = reloader.settled(&revision);
        assert_eq!(status["state"], "serving", "{status:#}\n{}", reloader.log());
        assert_eq!(get(place.address(), "a", "/").unwrap().status, 503);
        assert_eq!(get(place.address(), "b", "/").unwrap().status, 200);
        let failed = status["vcls"].as_array().unwrap().iter().find(|vcl| vcl["state"] == "failed").unwrap();
        assert!(failed["error"]["message"].is_string(), "{status:#}");

        let healed = bundle(
            &[place.port],
            &[("a", &shard(backend.address, "a2")), ("b", &shard(backend.address, "b1"))],
        );
        reloader.wait_loaded(&place.write(&healed));
        assert_eq!(get(place.address(), "a", "/").unwrap().header("x-version"), Some("a2"));
    }
}

#[test]
fn hosts_come_and_go_while_requests_on_the_old_root_are_in_flight() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let text = shard(backend.address, "1");
    let reloader = place.serve(&bundle(&[place.port], &[("a", &text), ("b", &text)]));
    let mut in_flight = Connection::open(place.address()).unwrap();
    in_flight.send("b", "/pass/held").unwrap();
    reloader.wait_for("the request at the backend", || (backend.waiting() == 1).then_some(()));

    reloader.wait_loaded(&place.write(&bundle(&[place.port], &[("a", &text), ("c", &text)])));
    assert_eq!(get(place.address(), "b", "/").unwrap().status, 404);
    assert_eq!(get(place.address(), "c", "/").unwrap().status, 200);
    backend.release();
    assert_eq!(in_flight.receive().unwrap().status, 200);
    reloader.wait_for("the old label's end", || {
        let vcls = reloader.status()["vcls"].clone();
        vcls.as_array()
            .unwrap()
            .iter()
            .all(|vcl| vcl["state"] != "old" && vcl["label"] != "copal_b")
            .then_some(())
    });
    assert_eq!(reloader.status()["child_starts"], 1, "{}", reloader.log());
}

/// Varnish 7.1 frees a label at once when it is discarded, also while a request is still in the discarded
/// root's `vcl_recv` and about to enter it: the child panics in `VPI_vcl_select`.
#[test]
fn a_label_outlives_the_requests_that_are_about_to_enter_it() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let text = shard(backend.address, "1");
    let slow = r#"if (req.url ~ "linger") { vtc.sleep(3s); }"#;
    let reloader = place.serve(&bundle_with_root(slow, &[place.port], &[("a", &text), ("b", &text)]));
    let mut lingering = Connection::open(place.address()).unwrap();
    lingering.send("b", "/linger").unwrap();
    reloader.wait_for("the request in the root", || reloader.busy().then_some(()));

    reloader.wait_loaded(&place.write(&bundle(&[place.port], &[("a", &text)])));
    assert_eq!(lingering.receive().unwrap().status, 200, "{}", reloader.log());
    reloader.wait_for("the old label's end", || (!reloader.list().contains("copal_b")).then_some(()));
    assert_eq!(reloader.status()["child_starts"], 1, "{}", reloader.log());
}

#[test]
fn an_unusable_folder_leaves_the_bundle_before_in_force() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let first = bundle(&[place.port], &[("a", &shard(backend.address, "1"))]);
    let reloader = place.serve(&first);
    let second = bundle(&[place.port], &[("a", &shard(backend.address, "2"))]);
    let file = format!("{}.vcl", second.manifest.labels["copal_a"]);
    place.write(&second);
    let missing = bundle(&[place.port], &[("a", &shard(backend.address, "3"))]);
    let missing_file = format!("{}.vcl", missing.manifest.labels["copal_a"]);
    reloader.wait_loaded(&second.manifest.revision);

    let manifest = serde_json::to_vec(&missing.manifest).unwrap();
    fs::write(place.bundle_folder().join("manifest.new"), manifest).unwrap();
    fs::rename(place.bundle_folder().join("manifest.new"), place.bundle_folder().join("manifest.json"))
        .unwrap();
    reloader.wait_for("the report of a missing file", || {
        (reloader.status()["last_error"]["file"] == missing_file).then_some(())
    });
    assert_eq!(get(place.address(), "a", "/").unwrap().header("x-version"), Some("2"), "{file}");
    assert_eq!(reloader.status()["loaded"], second.manifest.revision);

    reloader.wait_loaded(&place.write(&missing));
    assert_eq!(get(place.address(), "a", "/").unwrap().header("x-version"), Some("3"));
}

#[test]
fn another_http_port_is_the_relays_and_varnishd_goes_on() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let text = shard(backend.address, "1");
    let reloader = place.serve(&bundle(&[place.port], &[("a", &text)]));
    let before = reloader.manager();
    let other = crate::harness::free_port();
    reloader.wait_loaded(&place.write(&bundle(&[place.port, other], &[("a", &text)])));
    assert_eq!(reloader.manager(), before);
    for port in [place.port, other] {
        assert_eq!(get(([127, 0, 0, 1], port).into(), "a", "/").unwrap().status, 200);
    }
    let status = reloader.status();
    assert_eq!(status["listen"], serde_json::json!([place.address().to_string()]));
    assert_eq!((&status["child_starts"], &status["relay"]["http"]), (&1.into(), &serde_json::json!([other])));
}

#[test]
fn sockets_that_cannot_be_had_change_nothing() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let text = shard(backend.address, "1");
    let reloader = place.serve(&bundle(&[place.port], &[("a", &text)]));
    let loaded = reloader.status()["loaded"].clone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let wanted = place.write(&bundle(&[place.port, address.port()], &[("a", &text)]));
    let status = reloader.settled(&wanted);
    assert!(status["last_error"]["message"].as_str().unwrap().contains(&address.to_string()), "{status:#}");
    assert_eq!(status["loaded"], loaded);
    assert_eq!(get(place.address(), "a", "/").unwrap().status, 200);
    drop(taken);
    reloader.wait_for("another attempt", || (reloader.status()["loaded"] == wanted).then_some(()));
}

#[test]
fn a_bundle_without_sockets_is_waited_upon() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = place.start();
    let ready = reloader.wait_for("an answer of /readyz", || reloader.admin_get("/readyz"));
    assert_eq!(ready.status, 503);
    reloader.wait_for("the reason", || {
        reloader.admin_get("/readyz").filter(|answer| answer.body.contains("no usable bundle"))
    });
    assert_eq!(reloader.status()["state"], "waiting");
    reloader.wait_loaded(&place.write(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))])));
    assert_eq!(get(place.address(), "a", "/").unwrap().status, 200);
}
