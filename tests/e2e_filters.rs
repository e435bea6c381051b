//! What filters change: headers both ways, redirects, rewrites; and what becomes of filters nobody knows.
#![cfg(test)]

mod support;

use support::{Backend, Gateway, Request, Response, get, route, services};

/// A rule for a prefix, with filters in flow style, and the backend `one`.
fn rule(path: &str, filters: &str) -> String {
    format!(
        "- matches: [{{path: {{value: {path}}}}}]\n  filters: [{filters}]\n  backendRefs: [{{name: one, port: 80}}]\n"
    )
}

fn request_headers(change: &str) -> String {
    format!("{{type: RequestHeaderModifier, requestHeaderModifier: {change}}}")
}

fn response_headers(change: &str) -> String {
    format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {change}}}")
}

#[test]
fn request_headers_are_set_added_and_removed() {
    let [one] = Backend::group(["one"]);
    let rules = [
        rule(
            "/set",
            &request_headers("{set: [{name: X-Set, value: 'new value'}, {name: X-Other, value: '2'}]}"),
        ),
        rule("/add", &request_headers("{add: [{name: X-Add, value: added}]}")),
        rule("/remove", &request_headers("{remove: [X-Gone, x-absent]}")),
    ];
    let gateway = Gateway::shared();
    gateway.scene("request-headers", &[services(&[&one]), route("r", &["rh.test"], &rules.concat())]);
    let send = |path: &str, name: &str, value: &str| gateway.send(&get("rh.test", path).header(name, value));

    let set = send("/set", "x-set", "old");
    assert_eq!(
        (set.received("x-set"), set.received("x-other")),
        (vec!["new value".into()], vec!["2".into()])
    );
    assert_eq!(send("/add", "x-add", "mine").received("x-add").join(",").replace(", ", ","), "mine,added");
    assert_eq!(send("/add", "x-unrelated", "1").received("x-add"), ["added"]);
    assert!(send("/remove", "X-GONE", "1").received("x-gone").is_empty());
    assert_eq!(send("/remove", "x-stays", "1").received("x-stays"), ["1"]);
    assert_eq!(gateway.send(&get("rh.test", "/set")).received("x-add"), Vec::<String>::new());
}

#[test]
fn response_headers_are_set_added_and_removed_on_fetched_and_cached_answers() {
    let [one] = Backend::group(["one"]);
    one.respond_with(&[("x-set", "old"), ("x-add", "own"), ("x-gone", "1"), ("x-gone", "2")]);
    let change = "{set: [{name: X-Set, value: new}], add: [{name: X-Add, value: more}], remove: [x-gone]}";
    let gateway = Gateway::shared();
    let manifests = [services(&[&one]), route("r", &["resp.test"], &rule("/", &response_headers(change)))];
    gateway.scene("response-headers", &manifests);
    for target in ["/", "/?cc=max-age=60", "/?cc=max-age=60"] {
        let response = gateway.send(&get("resp.test", target));
        assert_eq!(response.all("x-set"), ["new"], "{target}");
        assert_eq!(response.list("x-add"), ["more", "own"], "{target}");
        assert!(response.header("x-gone").is_none(), "{target}");
    }
    assert_eq!(one.requests(), 2, "the third answer came from the cache");
}

#[test]
fn filters_of_a_backend_ref_are_those_of_the_chosen_one() {
    let [left, right] = Backend::group(["left", "right"]);
    let rules = "
        - filters:
          - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: both}]}}
          backendRefs:
          - name: left
            port: 80
            filters:
            - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-side, value: left}]}}
            - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-answer, value: left}]}}
          - name: right
            port: 80
            filters:
            - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-side, value: right}], remove: [x-a]}}
            - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-answer, value: right}]}}
    ";
    let gateway = Gateway::shared();
    gateway.scene("per-backend", &[services(&[&left, &right]), route("r", &["per.test"], rules)]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let response = gateway.send(&get("per.test", "/").header("x-a", "1"));
        let side = response.backend().to_owned();
        assert_eq!(response.received("x-side").concat(), side);
        assert_eq!(response.received("x-rule"), ["both"]);
        assert_eq!(response.all("x-answer"), [side.as_str()]);
        assert_eq!(response.received("x-a").is_empty(), side == "right");
        seen.insert(side);
    }
    assert_eq!(seen.len(), 2, "both backends were chosen");
}

#[test]
fn redirects_have_every_status_and_every_part_of_a_location() {
    let gateway = Gateway::shared();
    let here = gateway.address(80).port();
    let port = "{port: 8443}";
    let path = |kind: &str, value: &str| format!("{{path: {{type: Replace{kind}, replace{kind}: {value}}}}}");
    let cases: Vec<(&str, String, u16, String)> = vec![
        (
            "/default",
            "{hostname: example.org}".into(),
            302,
            format!("http://example.org:{here}/default/x?q=1"),
        ),
        ("/s301", "{statusCode: 301}".into(), 301, format!("http://redirect.test:{here}/s301/x?q=1")),
        ("/s302", "{statusCode: 302}".into(), 302, format!("http://redirect.test:{here}/s302/x?q=1")),
        ("/s303", "{statusCode: 303}".into(), 303, format!("http://redirect.test:{here}/s303/x?q=1")),
        ("/s307", "{statusCode: 307}".into(), 307, format!("http://redirect.test:{here}/s307/x?q=1")),
        ("/s308", "{statusCode: 308}".into(), 308, format!("http://redirect.test:{here}/s308/x?q=1")),
        ("/https", "{scheme: https}".into(), 302, "https://redirect.test/https/x?q=1".into()),
        ("/http", "{scheme: http}".into(), 302, "http://redirect.test/http/x?q=1".into()),
        ("/port", port.into(), 302, "http://redirect.test:8443/port/x?q=1".into()),
        ("/p80", "{port: 80}".into(), 302, "http://redirect.test/p80/x?q=1".into()),
        ("/p443", "{scheme: https, port: 443}".into(), 302, "https://redirect.test/p443/x?q=1".into()),
        ("/both", "{scheme: https, port: 8443}".into(), 302, "https://redirect.test:8443/both/x?q=1".into()),
        ("/full", path("FullPath", "/new/path"), 302, format!("http://redirect.test:{here}/new/path?q=1")),
        ("/prefix", path("PrefixMatch", "/new"), 302, format!("http://redirect.test:{here}/new/x?q=1")),
        ("/empty", path("PrefixMatch", "/"), 302, format!("http://redirect.test:{here}/x?q=1")),
    ];
    let redirect = |(path, filter, ..): &(&str, String, u16, String)| {
        let filter = format!("{{type: RequestRedirect, requestRedirect: {filter}}}");
        format!("- matches: [{{path: {{value: {path}}}}}]\n  filters: [{filter}]\n")
    };
    let rules: String = cases.iter().map(redirect).collect();
    gateway.scene("redirects", &[route("r", &["redirect.test"], &rules)]);
    for (path, _, status, location) in &cases {
        let response = gateway.send(&get("redirect.test", &format!("{path}/x?q=1")));
        assert_eq!(
            (response.status, response.header("location")),
            (*status, Some(location.as_str())),
            "{path}"
        );
    }
}

#[test]
fn a_redirect_keeps_no_port_or_case_of_the_hosts_own() {
    let gateway = Gateway::shared();
    let rules = "- filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]";
    gateway.scene("redirect-host", &[route("r", &["host.redirect.test"], rules)]);
    for host in ["host.redirect.test", "host.redirect.test:8080", "Host.Redirect.Test"] {
        let location = gateway.send(&get(host, "/a%20b")).header("location").map(str::to_owned);
        assert_eq!(location.as_deref(), Some("https://host.redirect.test/a%20b"), "{host}");
    }
}

fn rewrite(change: &str) -> String {
    format!("{{type: URLRewrite, urlRewrite: {change}}}")
}

#[test]
fn a_rewrite_replaces_host_and_full_path_and_keeps_the_query() {
    let [one] = Backend::group(["one"]);
    let full = "{path: {type: ReplaceFullPath, replaceFullPath: /whole}}";
    let rules = [
        rule("/host", &rewrite("{hostname: inside.example.org}")),
        rule("/full", &rewrite(full)),
        rule("/both", &rewrite(&full.replace("{path", "{hostname: inside.example.org, path"))),
    ];
    let gateway = Gateway::shared();
    gateway.scene("rewrite", &[services(&[&one]), route("r", &["rewrite.test"], &rules.concat())]);
    let told = |response: &Response| (response.told("host"), response.told("path"));
    let send = |target: &str| told(&gateway.send(&get("rewrite.test", target)));
    assert_eq!(send("/host/x?q=1"), ("inside.example.org".into(), "/host/x?q=1".into()));
    assert_eq!(send("/full/x?q=1&r"), ("rewrite.test".into(), "/whole?q=1&r".into()));
    assert_eq!(send("/full"), ("rewrite.test".into(), "/whole".into()));
    assert_eq!(send("/both/x?q"), ("inside.example.org".into(), "/whole?q".into()));
}

/// The table in the specification of `HTTPPathModifier.replacePrefixMatch`.
const PREFIX_TABLE: &[(&str, &str, &str, &str)] = &[
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
];

#[test]
fn a_prefix_is_replaced_as_the_specifications_table_says() {
    let [one] = Backend::group(["one"]);
    let case = |number: usize, prefix: &str, to: &str| {
        let filter = rewrite(&format!("{{path: {{type: ReplacePrefixMatch, replacePrefixMatch: '{to}'}}}}"));
        route(&format!("r{number}"), &[&format!("t{number}.table.test")], &rule(prefix, &filter))
    };
    let routes = PREFIX_TABLE.iter().enumerate().map(|(number, (_, prefix, to, _))| case(number, prefix, to));
    let gateway = Gateway::shared();
    gateway.scene("prefix-table", &[services(&[&one]), routes.collect()]);
    for (number, (path, prefix, to, expected)) in PREFIX_TABLE.iter().enumerate() {
        for query in ["", "?q=/foo"] {
            let response = gateway.send(&get(&format!("t{number}.table.test"), &format!("{path}{query}")));
            let got = response.told("path");
            assert_eq!(got, format!("{expected}{query}"), "{path} with {prefix} replaced by {to:?}");
        }
    }
}

#[test]
fn the_route_is_chosen_before_a_rewrite_and_headers_change_with_it() {
    let [one] = Backend::group(["one"]);
    let filters = [
        rewrite("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /other}}"),
        request_headers("{set: [{name: x-a, value: '1'}]}"),
        response_headers("{set: [{name: x-b, value: '2'}]}"),
    ];
    let rules = [
        rule("/first", &filters.join(", ")),
        rule("/other", &request_headers("{set: [{name: x-a, value: other}]}")),
    ];
    let gateway = Gateway::shared();
    gateway.scene("combined", &[services(&[&one]), route("r", &["combined.test"], &rules.concat())]);
    let response = gateway.send(&Request::new("POST", "combined.test", "/first/x").body(b"hello"));
    assert_eq!((response.told("path"), response.told("method")), ("/other/x".into(), "POST".into()));
    assert_eq!((response.received("x-a"), response.header("x-b")), (vec!["1".into()], Some("2")));
}

#[test]
fn an_unknown_filter_costs_its_rule_and_no_other() {
    let [one] = Backend::group(["one"]);
    let rules = [
        rule("/good", &request_headers("{set: [{name: x-a, value: '1'}]}")),
        rule("/unknown", "{type: TimeTravel, timeTravel: {years: 3}}"),
        rule(
            "/extension",
            "{type: ExtensionRef, extensionRef: {group: example.net, kind: Thing, name: thing}}",
        ),
    ];
    let gateway = Gateway::shared();
    gateway.scene("unknown-filter", &[services(&[&one]), route("r", &["filters.test"], &rules.concat())]);
    gateway.check(
        "
        GET filters.test/good           -> 200 one
        GET filters.test/unknown        -> 500
        GET filters.test/extension      -> 500
        GET filters.test/none           -> 404
        ",
    );
}

#[test]
fn text_in_filters_arrives_byte_for_byte() {
    let [one] = Backend::group(["one"]);
    let values = [
        "plain",
        "with \"quotes\"",
        "a \\\"} b",
        "\"\"\" C{ int x; }C",
        "${req.url} %00 ~ é ü",
        "' + \" + '",
    ];
    let rules: String = (0..values.len())
        .map(|number| {
            let value = serde_json::json!(values[number]);
            rule(
                &format!("/v{number}"),
                &request_headers(&format!("{{set: [{{name: x-value, value: {value}}}]}}")),
            )
        })
        .collect();
    let gateway = Gateway::shared();
    gateway.scene("quoting", &[services(&[&one]), route("r", &["quoting.test"], &rules)]);
    for (number, value) in values.iter().enumerate() {
        let response = gateway.send(&get("quoting.test", &format!("/v{number}")));
        let arrived = response.received("x-value") == [(*value).to_owned()];
        assert!(arrived || response.status == 500, "{value:?}: {} {}", response.status, response.text());
    }
}
