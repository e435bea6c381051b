//! The access log, with what `copal render` makes of manifests.

use std::thread;
use std::time::Duration;

use copal::bundle::logging::{Field, Format, Logging, Verbosity};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::{Connection, get};
use crate::harness::{Place, kill};
use crate::logged::{
    ask, json_of, line, line_of, lines, manifests, render, rendered, served, wait_for_reader,
};

#[test]
fn every_answer_of_a_rule_has_a_line_that_names_it() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = served(&place, &rendered(&place, &backend).with_logging(Some(Logging::default())));
    for path in [
        "/plain/stored",
        "/plain/stored?again",
        "/plain/stored",
        "/named/x",
        "/redirect",
        "/empty",
        "/broken",
    ] {
        get(place.address(), "a", path).unwrap();
    }
    ask(&place, b"POST /plain/post HTTP/1.1\r\nHost: A\r\nContent-Length: 3\r\nUser-Agent: t\r\n\r\nabc");
    ask(&place, b"OPTIONS /cors HTTP/1.1\r\nHost: a\r\nOrigin: http://x\r\nAccess-Control-Request-Method: GET\r\nConnection: close\r\n\r\n");
    ask(&place, b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");

    let endpoint = backend.address.to_string();
    let miss = line_of(&reloader, "/plain/stored");
    assert_eq!(miss["cache"], "miss", "{miss:#}");
    assert_eq!(miss["endpoint"], endpoint);
    assert_eq!((&miss["route"], &miss["rule"]), (&json!("default/shop"), &json!("0")));
    assert_eq!((&miss["backend"], &miss["log"]), (&json!("default/web:80"), &json!("access")));
    assert_eq!((&miss["status"], &miss["bytesSent"]), (&json!(200), &json!("web 1".len())));
    assert_eq!((&miss["host"], &miss["protocol"]), (&json!("a"), &json!("HTTP/1.1")));
    assert_eq!((&miss["method"], &miss["clientAddress"]), (&json!("GET"), &json!("127.0.0.1")));
    assert_eq!(miss["userAgent"], Value::Null);
    assert!(miss["duration"].as_f64().unwrap() > 0.0 && miss["timeToFirstByte"].as_f64().unwrap() > 0.0);
    let time: jiff::Timestamp = miss["time"].as_str().unwrap().parse().unwrap();
    assert!(time.as_second() > 1_700_000_000 && miss["vxid"].is_u64());

    let hit = line(&reloader, "a hit", |line| line["cache"] == "hit");
    assert_eq!((&hit["url"], &hit["endpoint"]), (&json!("/plain/stored"), &Value::Null));
    assert_eq!((&hit["route"], &hit["backend"]), (&json!("default/shop"), &json!("default/web:80")));
    assert_eq!(line_of(&reloader, "/named/x")["rule"], "second");
    let post = line_of(&reloader, "/plain/post");
    assert_eq!((&post["cache"], &post["bytesReceived"]), (&json!("pass"), &json!(3)));
    assert_eq!(
        (&post["endpoint"], &post["host"], &post["userAgent"]),
        (&json!(endpoint), &json!("A"), &json!("t"))
    );
    for (url, status, backend) in [
        ("/redirect", 302, Value::Null),
        ("/empty", 503, json!("default/empty:80")),
        ("/broken", 500, Value::Null),
        ("/cors", 204, Value::Null),
    ] {
        let line = line_of(&reloader, url);
        assert_eq!((&line["status"], &line["cache"]), (&json!(status), &json!("synth")), "{line:#}");
        assert_eq!((&line["route"], &line["backend"]), (&json!("default/shop"), &backend), "{line:#}");
        assert_eq!(line["endpoint"], Value::Null);
    }
    let pipe = line_of(&reloader, "/ws");
    assert_eq!((&pipe["cache"], &pipe["endpoint"]), (&json!("pipe"), &json!(endpoint)), "{pipe:#}");
    assert_eq!((&pipe["backend"], &pipe["status"]), (&json!("default/ws:80"), &Value::Null));
    get(place.address(), "a", "/nowhere").unwrap();
    let lost = line_of(&reloader, "/nowhere");
    assert_eq!((&lost["status"], &lost["route"], &lost["rule"]), (&json!(404), &Value::Null, &Value::Null));
    let is_counted = || reloader.metric("copal_access_log_lines_total").filter(|lines| *lines >= 11.0);
    reloader.wait_for("a count of lines", is_counted);
    assert_eq!(reloader.metric("copal_access_log_overruns_total"), Some(0.0));
    assert_eq!(reloader.metric("copal_access_log_dropped_total"), Some(0.0));
    assert_eq!(reloader.metric("copal_access_log_restarts_total"), Some(0.0));
}

#[test]
fn hostile_bytes_give_json_all_the_same() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let logging = json_of(&[Field::Url, Field::UserAgent, Field::RequestHeader("X-Evil".into())]);
    let reloader = served(&place, &rendered(&place, &backend).with_logging(Some(logging)));
    let request = b"GET /plain/\xc3\xa4\xff\"'\\x41{}%s HTTP/1.1\r\nHost: a\r\nUser-Agent: \",\"log\":\"agent\r\nX-Evil: a\t\xfe\\\"\r\n\r\n";
    ask(&place, request);
    let line = line(&reloader, "the line", |line| line["url"].as_str().unwrap().starts_with("/plain/"));
    assert_eq!(line["url"], "/plain/ä\\xff\"'\\x41{}%s");
    assert_eq!((&line["userAgent"], &line["log"]), (&json!("\",\"log\":\"agent"), &json!("access")));
    assert_eq!(line["requestHeaders"]["x-evil"], "a\t\\xfe\\\"");

    let long = format!("/plain/{}", "x".repeat(3000));
    get(place.address(), "a", &long).unwrap();
    line_of(&reloader, &long);
}

#[test]
fn what_is_redacted_is_nowhere() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let base = rendered(&place, &backend);
    let fields =
        [Field::Url, Field::RequestHeader("Authorization".into()), Field::RequestHeader("X-Open".into())];
    let redact: std::collections::BTreeSet<String> = ["authorization".to_owned()].into();
    let json = Logging { redact: redact.clone(), ..json_of(&fields) };
    let reloader = served(&place, &base.clone().with_logging(Some(json)));
    let request = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic czNjcjN0OnMzY3IzdA==\r\nX-Open: o\r\n\r\n"
        )
    };
    ask(&place, request("/plain/json").as_bytes());
    let found = line_of(&reloader, "/plain/json");
    assert_eq!(found["requestHeaders"], json!({"authorization": "redacted", "x-open": "o"}));

    let format = Format::Ncsa("%U %u %{Authorization}i %{VSL:ReqHeader}x %{X-Open}i".into());
    let ncsa = Logging { format, redact, ..Logging::default() };
    reloader.wait_loaded(&place.write(&base.with_logging(Some(ncsa))));
    wait_for_reader(&place, &reloader);
    ask(&place, request("/plain/ncsa").as_bytes());
    let is_it = |line: &Value| line["message"].as_str().is_some_and(|it| it.starts_with("/plain/ncsa"));
    let found = line(&reloader, "the line", is_it);
    assert_eq!(found["message"], "/plain/ncsa redacted redacted redacted o");
    assert!(!reloader.output().contains("czNj") && !reloader.output().contains("s3cr3t"));
}

#[test]
fn a_change_of_the_log_loses_no_cache_and_masks_what_nobody_reads() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let (silent, base) = (render(&manifests(place.port, &backend)), rendered(&place, &backend));
    assert_ne!(
        silent.manifest.labels, base.manifest.labels,
        "rules have names only where somebody reads them"
    );
    let reloader = place.serve(&silent);
    let mask = || reloader.varnishadm(&["param.show", "vsl_mask"]);
    let is_masked = |tag: &str| {
        let mask = mask();
        let value = mask.lines().find(|line| line.contains("Value is")).unwrap().to_owned();
        value.split([',', ' ']).any(|entry| entry == format!("-{tag}"))
    };
    assert!(is_masked("ReqURL") && is_masked("VCL_Log") && is_masked("Timestamp"), "{}", mask());
    assert_eq!(reloader.log_reader(), None);
    get(place.address(), "a", "/plain/stored").unwrap();

    reloader
        .wait_loaded(&place.write(&base.clone().with_logging(Some(json_of(&[Field::Url, Field::Cache])))));
    assert!(!is_masked("ReqURL") && !is_masked("VCL_call") && is_masked("VCL_Log"), "{}", mask());
    wait_for_reader(&place, &reloader);
    get(place.address(), "a", "/plain/stored").unwrap();
    assert_eq!(line_of(&reloader, "/plain/stored")["cache"], "hit");

    let all = Logging { verbosity: Verbosity::All, ..json_of(&[Field::Url, Field::Status, Field::Route]) };
    reloader.wait_loaded(&place.write(&base.clone().with_logging(Some(all))));
    wait_for_reader(&place, &reloader);
    get(place.address(), "a", "/plain/fetched").unwrap();
    let fetch = line(&reloader, "a fetch", |line| line["side"] == "backend");
    assert_eq!((&fetch["url"], &fetch["status"]), (&json!("/plain/fetched"), &json!(200)), "{fetch:#}");
    assert_eq!(fetch["route"], "default/shop");

    let query = Logging {
        query: Some("RespStatus >= 500".into()),
        ..json_of(&[Field::Url, Field::RequestHeader("x-a".into())])
    };
    reloader.wait_loaded(&place.write(&base.clone().with_logging(Some(query))));
    reloader.wait_for("a line for an error", || {
        get(place.address(), "a", "/plain/fine-now").unwrap();
        get(place.address(), "a", "/broken?queried").unwrap();
        lines(&reloader).iter().any(|line| line["url"] == "/broken?queried").then_some(())
    });
    assert!(!reloader.output().contains("fine-now"));

    reloader.wait_loaded(&place.write(&silent));
    assert!(is_masked("ReqURL") && is_masked("VCL_Log"), "{}", mask());
    reloader.wait_for("the reader's end", || reloader.log_reader().is_none().then_some(()));
    assert_eq!(get(place.address(), "a", "/plain/stored").unwrap().body, "web 1");
    assert_eq!(reloader.status()["child_starts"], 1);
}

#[test]
fn a_reader_that_dies_is_started_again_and_counted() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = served(&place, &rendered(&place, &backend).with_logging(Some(json_of(&[Field::Url]))));
    let first = reloader.log_reader().unwrap();
    kill(first, Signal::KILL);
    reloader.wait_for("another reader", || reloader.log_reader().filter(|reader| *reader != first));
    wait_for_reader(&place, &reloader);
    get(place.address(), "a", "/plain/after").unwrap();
    line_of(&reloader, "/plain/after");
    assert_eq!(reloader.metric("copal_access_log_restarts_total"), Some(1.0));
}

#[test]
fn the_last_request_before_the_end_is_logged() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let mut reloader = served(&place, &rendered(&place, &backend).with_logging(Some(json_of(&[Field::Url]))));
    get(place.address(), "a", "/plain/last").unwrap();
    reloader.signal(Signal::TERM);
    assert!(reloader.wait_exit().success());
    line_of(&reloader, "/plain/last");
}

#[test]
fn the_reader_follows_varnishds_next_child() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let reloader = served(&place, &rendered(&place, &backend).with_logging(Some(json_of(&[Field::Url]))));
    let reader = reloader.log_reader();
    kill(reloader.child(), Signal::KILL);
    reloader.wait_for("a new child", || (reloader.status()["child_starts"] == 2).then_some(()));
    reloader.wait_for("an answer", || get(place.address(), "a", "/plain/x").ok());
    wait_for_reader(&place, &reloader);
    assert_eq!(reloader.log_reader(), reader);
    assert_eq!(reloader.metric("copal_access_log_restarts_total"), Some(0.0));
}

#[test]
fn what_varnishncsa_refuses_is_reported_and_not_tried_again() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let base = rendered(&place, &backend);
    let ncsa = |format: &str| Logging { format: Format::Ncsa(format.into()), ..Logging::default() };
    for (logging, problem) in [
        (Logging { query: Some("ReqURL ~ \"x".into()), ..Logging::default() }, "Unterminated"),
        (Logging { query: Some("a\0b".into()), ..Logging::default() }, "nul byte"),
        (ncsa("%{VSL:Nothing}x"), "Unknown log tag"),
        (ncsa("%Z"), "%Z is not a directive"),
    ] {
        let bad = base.clone().with_logging(Some(logging));
        let reloader = place.serve(&bad);
        let error = reloader.wait_for("an error", || {
            let error = reloader.status()["last_error"].clone();
            error.is_object().then_some(error)
        });
        assert!(error["message"].as_str().unwrap().contains(problem), "{error:#}");
        assert_eq!(get(place.address(), "a", "/plain").unwrap().status, 200);
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(reloader.log_reader(), None);
        assert_eq!(reloader.metric("copal_access_log_restarts_total"), Some(0.0));
        reloader.wait_loaded(&place.write(&base.clone().with_logging(Some(json_of(&[Field::Url])))));
        wait_for_reader(&place, &reloader);
    }
}

#[test]
fn slow_standard_output_drops_lines_and_holds_up_nothing() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let with = |fields: &[Field]| rendered(&place, &backend).with_logging(Some(json_of(fields)));
    let reloader = served(&place, &with(&[Field::Url]));
    let held = reloader.hold_output();
    let mut connection = Connection::open(place.address()).unwrap();
    let request = format!("GET /redirect/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(3000));
    for number in 0..2500 {
        if number % 50 == 0 {
            // varnishd's log has 8 MB, and its reader a busy machine.
            thread::sleep(Duration::from_millis(40));
        }
        connection.send_raw(request.as_bytes()).unwrap();
        connection.receive().unwrap();
    }
    reloader.wait_for("dropped lines", || {
        reloader.metric("copal_access_log_dropped_total").filter(|dropped| *dropped > 0.0)
    });
    reloader.wait_loaded(&place.write(&with(&[Field::Url, Field::Status])));
    drop(held);
    wait_for_reader(&place, &reloader);
    assert!(lines(&reloader).len() > 500);
}

#[test]
fn the_agents_lines_say_that_they_are_its_own() {
    let (place, backend) = (Place::new(), Backend::start("web"));
    let revision = place.write(&rendered(&place, &backend).with_logging(Some(Logging::default())));
    let reloader = place.start_with(&["--log-format", "json"]);
    reloader.wait_loaded(&revision);
    for line in reloader.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!((&line["log"], line["level"].is_string()), (&json!("agent"), true));
    }
}
