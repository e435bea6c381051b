//! What an operator sees and may set.

use std::process::Command;

use crate::backend::Backend;
use crate::bundles::{bundle, shard};
use crate::client::get;
use crate::harness::Place;

#[test]
fn the_metrics_page_has_what_dashboards_need() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = place.serve(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    for _ in 0..3 {
        get(place.address(), "a", "/").unwrap();
    }
    // The counters may be a second old, and varnishd adds them up after a request's end.
    reloader.wait_for("three requests in the metrics", || {
        reloader.metric("varnish_main_client_req_total").filter(|count| *count >= 3.0)
    });
    for (name, least) in [
        ("varnish_main_sess_conn_total", 3.0),
        ("varnish_main_cache_hit_total", 2.0),
        ("varnish_main_cache_miss_total", 1.0),
        ("varnish_main_backend_conn_total", 1.0),
        ("varnish_main_backend_fail_total", 0.0),
        ("varnish_main_threads", 1.0),
        ("varnish_sma_g_bytes{id=\"s0\"}", 1.0),
        ("varnish_backend_req_total{backend=\"web\"}", 1.0),
        ("varnish_up", 1.0),
        ("copal_ready", 1.0),
        ("copal_draining", 0.0),
        ("copal_reloads_total{result=\"success\"}", 1.0),
        ("copal_reload_duration_seconds_count", 1.0),
        ("copal_last_reload_success_timestamp_seconds", 1.0),
        ("copal_vcls{state=\"labelled\"}", 1.0),
        ("copal_vcls{state=\"failed\"}", 0.0),
    ] {
        let value = reloader.metric(name);
        assert!(value.is_some_and(|value| value >= least), "{name}: {value:?}");
    }
    let page = reloader.admin_get("/metrics").unwrap();
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    well_formed(&page.body);
    let revision = reloader.status()["loaded"].clone();
    let info = format!("copal_revision_info{{role=\"loaded\",revision={revision}}} 1");
    assert!(page.body.contains(&info), "{}", page.body);
}

/// Every sample follows the type of its family, each family comes once, and every value is a number.
fn well_formed(page: &str) {
    let mut families = std::collections::BTreeSet::new();
    let mut family = "";
    assert!(page.ends_with("# EOF\n"));
    for line in page.lines().take_while(|line| *line != "# EOF") {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} comes twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family), "{line} under {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn the_endpoints_only_answer_get() {
    let place = Place::new();
    let reloader = place.start();
    reloader.wait_for("an answer", || reloader.admin_get("/healthz"));
    let post = format!("http://{}/status", reloader.admin);
    let output =
        Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-XPOST", &post]).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "405");
    assert_eq!(reloader.admin_get("/nothing").unwrap().status, 404);
    assert_eq!(reloader.admin_get("/status?wait=x&timeout=0").unwrap().status, 200);
}

#[test]
fn arguments_that_would_break_draining_are_refused() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["--", "-p", "timeout_idle=1"][..], "timeout_idle=1"),
        (&["--", "-n", "/elsewhere"], "option -n is set by copal-reloader"),
    ] {
        let mut reloader = place.start_with(arguments);
        assert_eq!(reloader.wait_exit().code(), Some(1));
        reloader.wait_for("the reason", || reloader.log().contains(expected).then_some(()));
    }
}

#[test]
fn the_users_arguments_win() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let revision = place.write(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    let reloader = place.start_with(&["--", "-p", "http_max_hdr=200", "-s", "malloc,30m"]);
    reloader.wait_loaded(&revision);
    let workdir = place.state_folder().join("varnish");
    let show =
        Command::new("varnishadm").arg("-n").arg(&workdir).args(["param.show", "http_max_hdr"]).output();
    assert!(String::from_utf8(show.unwrap().stdout).unwrap().contains("200"));
    let storages = Command::new("varnishadm").arg("-n").arg(&workdir).arg("storage.list").output().unwrap();
    let storages = String::from_utf8(storages.stdout).unwrap();
    assert!(!storages.contains("s1"), "{storages}");
}

#[test]
fn the_state_folder_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (place, backend) = (Place::new(), Backend::start("web"));
    let _reloader = place.serve(&bundle(&[place.port], &[("a", &shard(backend.address, "1"))]));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    // As root, varnishd has another user, whose group may pass.
    assert_eq!(mode(&place.state_folder()) & !0o010, 0o700);
    assert_eq!(mode(&place.state_folder().join("secret")), 0o600);
}
