//! The CORS filter, as the Gateway API and the fetch standard have it.
#![cfg(test)]

mod support;

use support::{Backend, Gateway, Request, Response, get, route, services};

const ORIGIN: &str = "access-control-allow-origin";
const METHODS: &str = "access-control-allow-methods";
const HEADERS: &str = "access-control-allow-headers";
const EXPOSE: &str = "access-control-expose-headers";
const CREDENTIALS: &str = "access-control-allow-credentials";
const MAX_AGE: &str = "access-control-max-age";

/// A route for HOST with one rule that has this filter, and the backend `one`.
fn cors_route(name: &str, host: &str, filter: &str) -> String {
    let rules =
        format!("- filters: [{{type: CORS, cors: {filter}}}]\n  backendRefs: [{{name: {name}, port: 80}}]\n");
    route(name, &[host], &rules)
}

fn preflight(host: &str, origin: &str, method: &str, headers: &str) -> Response {
    let request = Request::new("OPTIONS", host, "/x").header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", method);
    let request =
        if headers.is_empty() { request } else { request.header("Access-Control-Request-Headers", headers) };
    Gateway::shared().send(&request)
}

fn is_denied(response: &Response) -> bool {
    [200, 204, 403].contains(&response.status) && response.header(ORIGIN).is_none()
}

#[test]
fn a_preflight_of_an_allowed_origin_is_answered_by_the_gateway() {
    let [full] = Backend::group(["full"]);
    let filter = "{allowOrigins: ['https://www.foo.com', 'https://*.bar.com', 'http://port.test:8080'],
        allowMethods: [GET, OPTIONS], allowHeaders: [x-header-1, x-header-2],
        exposeHeaders: [x-header-3, x-header-4], allowCredentials: true, maxAge: 3600}";
    let gateway = Gateway::shared();
    gateway.scene(
        "full",
        &[services(&[&full]), cors_route("full", "full.cors.test", &filter.replace('\n', " "))],
    );
    let origins =
        ["https://www.foo.com", "https://www.bar.com", "https://a.www.bar.com", "http://port.test:8080"];
    for origin in origins {
        let response = preflight("full.cors.test", origin, "GET", "x-header-1, x-header-2");
        assert!([200, 204].contains(&response.status), "{origin}: {response:?}");
        assert_eq!(response.all(ORIGIN), [origin]);
        assert_eq!(response.list(METHODS), ["GET", "OPTIONS"]);
        assert_eq!(response.list(HEADERS), ["x-header-1", "x-header-2"]);
        assert_eq!(response.list(EXPOSE), ["x-header-3", "x-header-4"]);
        assert_eq!((response.all(CREDENTIALS), response.all(MAX_AGE)), (vec!["true"], vec!["3600"]));
        assert!(response.body.is_empty(), "{response:?}");
    }
    let others = [
        "https://foobar.com",
        "http://www.foo.com",
        "https://www.foo.com.evil.com",
        "https://bar.com",
        "https://www.foo.com:8443",
        "https://wwwxfoo.com",
        "https://evilbar.com",
        "http://port.test",
        "null",
    ];
    for origin in others {
        let response = preflight("full.cors.test", origin, "GET", "");
        assert!(is_denied(&response), "{origin}: {response:?}");
    }
    assert_eq!(full.requests(), 0, "no preflight reached the backend");
}

#[test]
fn an_actual_request_gets_the_headers_of_its_origin() {
    let [actual] = Backend::group(["actual"]);
    let filter = "{allowOrigins: ['https://www.foo.com'], allowMethods: [PUT], exposeHeaders: [x-e], allowCredentials: true}";
    let gateway = Gateway::shared();
    gateway.scene("actual", &[services(&[&actual]), cors_route("actual", "actual.cors.test", filter)]);
    let send = |origin: &str| gateway.send(&get("actual.cors.test", "/x").header("Origin", origin));
    let allowed = send("https://www.foo.com");
    assert_eq!((allowed.status, allowed.backend()), (200, "actual"));
    assert_eq!((allowed.all(ORIGIN), allowed.all(CREDENTIALS)), (vec!["https://www.foo.com"], vec!["true"]));
    assert_eq!(allowed.list(EXPOSE), ["x-e"]);
    let denied = send("https://foobar.com");
    assert_eq!((denied.status, denied.header(ORIGIN), denied.header(CREDENTIALS)), (200, None, None));
    let plain = gateway.send(&get("actual.cors.test", "/x"));
    assert_eq!((plain.status, plain.header(ORIGIN)), (200, None));
    let options = gateway.send(&Request::new("OPTIONS", "actual.cors.test", "/x"));
    assert_eq!((options.status, options.backend()), (200, "actual"), "without an Origin it is no preflight");
}

#[test]
fn wildcards_stand_for_what_was_asked_for() {
    let [open, closed] = Backend::group(["open", "closed"]);
    let filter =
        "{allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], allowCredentials: CREDENTIALS}";
    let gateway = Gateway::shared();
    let manifests = [
        services(&[&open, &closed]),
        cors_route("open", "open.cors.test", &filter.replace("CREDENTIALS", "false")),
        cors_route("closed", "closed.cors.test", &filter.replace("CREDENTIALS", "true")),
    ];
    gateway.scene("wildcards", &manifests);
    let origin = "https://any.test:12345";
    let with = preflight("closed.cors.test", origin, "PUT", "x-1, x-2");
    assert_eq!((with.all(ORIGIN), with.all(CREDENTIALS)), (vec![origin], vec!["true"]));
    assert_eq!(
        (with.list(METHODS), with.list(HEADERS)),
        (vec!["PUT".into()], vec!["x-1".into(), "x-2".into()])
    );
    let bare = preflight("closed.cors.test", origin, "PUT", "");
    assert!(bare.header(HEADERS).is_none(), "no headers were asked for: {bare:?}");

    let without = preflight("open.cors.test", origin, "PUT", "x-1, x-2");
    assert!(["*", origin].contains(&without.header(ORIGIN).unwrap_or_default()), "{without:?}");
    assert!(["*", "PUT"].contains(&without.header(METHODS).unwrap_or_default()), "{without:?}");
    let headers = without.list(HEADERS);
    assert!(headers == ["*"] || headers == ["x-1", "x-2"], "{without:?}");
    assert!(without.header(CREDENTIALS).is_none());
    let actual = gateway.send(&Request::new("PUT", "open.cors.test", "/").header("Origin", origin));
    assert!(["*", origin].contains(&actual.header(ORIGIN).unwrap_or_default()), "{actual:?}");
}

#[test]
fn defaults_are_five_seconds_and_no_credentials() {
    let [defaults] = Backend::group(["defaults"]);
    let filter = "{allowOrigins: ['https://www.foo.com'], allowMethods: ['*']}";
    let gateway = Gateway::shared();
    gateway
        .scene("defaults", &[services(&[&defaults]), cors_route("defaults", "defaults.cors.test", filter)]);
    let response = preflight("defaults.cors.test", "https://www.foo.com", "POST", "");
    assert_eq!((response.all(MAX_AGE), response.header(CREDENTIALS)), (vec!["5"], None));
    assert!(["*", "POST"].contains(&response.header(METHODS).unwrap_or_default()), "{response:?}");
}

#[test]
fn what_the_backend_says_of_cors_is_replaced() {
    let [chatty] = Backend::group(["chatty"]);
    chatty.respond_with(&[
        (ORIGIN, "https://wrong.test"),
        (CREDENTIALS, "true"),
        (EXPOSE, "x-wrong"),
        ("x-own", "1"),
    ]);
    let filter = "{allowOrigins: ['https://www.foo.com']}";
    let gateway = Gateway::shared();
    gateway.scene("chatty", &[services(&[&chatty]), cors_route("chatty", "chatty.cors.test", filter)]);
    let allowed = gateway.send(&get("chatty.cors.test", "/").header("Origin", "https://www.foo.com"));
    assert_eq!((allowed.all(ORIGIN), allowed.header(CREDENTIALS)), (vec!["https://www.foo.com"], None));
    assert_eq!((allowed.header(EXPOSE), allowed.header("x-own")), (None, Some("1")));
    let denied = gateway.send(&get("chatty.cors.test", "/").header("Origin", "https://wrong.test"));
    assert_eq!((denied.header(ORIGIN), denied.header(CREDENTIALS)), (None, None));
}

#[test]
fn a_cached_answer_has_the_headers_of_each_origin_that_asks() {
    let [cached] = Backend::group(["cached"]);
    let filter = "{allowOrigins: ['https://a.test', 'https://b.test']}";
    let gateway = Gateway::shared();
    gateway.scene("cached", &[services(&[&cached]), cors_route("cached", "cached.cors.test", filter)]);
    for origin in ["https://a.test", "https://b.test", "https://a.test"] {
        let response = gateway.send(&get("cached.cors.test", "/?cc=max-age=60").header("Origin", origin));
        assert_eq!(response.all(ORIGIN), [origin]);
        assert!(response.list("vary").iter().any(|name| name.eq_ignore_ascii_case("origin")), "{response:?}");
    }
    let other = gateway.send(&get("cached.cors.test", "/?cc=max-age=60").header("Origin", "https://c.test"));
    assert_eq!((other.status, other.header(ORIGIN)), (200, None));
}
