//! VCL of HTTP and HTTPS ports in a real varnishd, with the test in the relay's place: it says by the PROXY protocol
//! which port a connection is for.
#![cfg(test)]

mod support;

use copal::vcl::SocketFolder;
use support::{Backend, Request, Response, Varnish, bundle_of, get, route, route_on, services};

fn start(manifests: &[String]) -> Varnish {
    Varnish::start(&bundle_of(&manifests.concat(), SocketFolder::default()))
}

fn gateway(listeners: &[(&str, u16, &str)]) -> String {
    let tls = |protocol: &str| match protocol {
        "HTTPS" => ", tls: {certificateRefs: [{name: one}]}",
        _ => "",
    };
    let listener = |(name, port, protocol): &(&str, u16, &str)| {
        format!("- {{name: {name}, port: {port}, protocol: {protocol}{}}}\n", tls(protocol))
    };
    support::gateway("gw", &listeners.iter().map(listener).collect::<String>())
}

fn rules(backend: &str) -> String {
    format!("- backendRefs: [{{name: {backend}, port: 80}}]")
}

#[test]
fn ports_are_told_apart_and_backends_learn_the_scheme() {
    let [one, two, three] = Backend::group(["one", "two", "three"]);
    let varnish = start(&[
        gateway(&[("http", 80, "HTTP"), ("https", 443, "HTTPS"), ("high", 8443, "HTTPS")]),
        services(&[&one, &two, &three]),
        route_on("- {name: gw, sectionName: http}", "http", &["a.test", "*.w.test"], &rules("one")),
        route_on("- {name: gw, sectionName: https}", "https", &["a.test", "*.w.test"], &rules("two")),
        route_on("- {name: gw, sectionName: high}", "high", &["a.test"], &rules("three")),
    ]);
    for (host, name) in [("a.test", "a.test"), ("A.test:443", "a.test:443"), ("x.w.test", "x.w.test")] {
        let request =
            get(host, "/x?cc=max-age=60").header("X-Forwarded-Proto", "ftp").header("Scheme", "ftp");
        for answer in 0..2 {
            let (http, https) = (varnish.http(80, &request), varnish.https(443, &request));
            assert_eq!((http.backend(), https.backend()), ("one", "two"), "{host} {answer}");
            assert_eq!(http.received("x-forwarded-proto"), ["http"]);
            assert_eq!(https.received("x-forwarded-proto"), ["https"]);
            assert_eq!((http.received("scheme").len(), https.received("scheme").len()), (0, 0));
            assert_eq!(https.told("host"), name);
        }
    }
    assert_eq!((one.requests(), two.requests()), (3, 3), "the second answers come from the cache");
    assert_eq!(varnish.https(8443, &get("a.test", "/")).backend(), "three");
    assert_eq!(varnish.https(8443, &get("x.w.test", "/")).status, 404);
    let relayed = varnish.relayed(80, &get("a.test", "/relayed"));
    assert_eq!(
        (relayed.backend(), relayed.received("x-forwarded-proto").concat()),
        ("one", "http".to_owned())
    );
    assert_eq!(varnish.relayed(81, &get("a.test", "/")).status, 404, "no port");
    assert_eq!(varnish.http(80, &get("b.test", "/")).status, 404);
    let passed = varnish.https(443, &Request::new("POST", "a.test", "/").body(b"x"));
    assert_eq!(passed.received("x-forwarded-proto"), ["https"]);
}

#[test]
fn https_ports_alone_are_told_apart() {
    let [one, two] = Backend::group(["one", "two"]);
    let varnish = start(&[
        gateway(&[("https", 443, "HTTPS"), ("high", 8443, "HTTPS")]),
        services(&[&one, &two]),
        route_on("- {name: gw, sectionName: https}", "https", &["a.test", "*.w.test"], &rules("one")),
        route_on("- {name: gw, sectionName: high}", "high", &["a.test", "*.w.test"], &rules("two")),
    ]);
    for host in ["a.test", "A.test:443", "x.w.test"] {
        let answers = [443, 8443].map(|port| varnish.https(port, &get(host, "/")));
        assert_eq!(answers.each_ref().map(Response::backend), ["one", "two"], "{host}");
        assert!(answers.iter().all(|it| it.received("x-forwarded-proto") == ["https"]), "{host}");
    }
}

#[test]
fn http_ports_are_told_apart_however_requests_come_in() {
    let [one, two] = Backend::group(["one", "two"]);
    let varnish = start(&[
        gateway(&[("low", 80, "HTTP"), ("high", 8080, "HTTP")]),
        services(&[&one, &two]),
        route_on("- {name: gw, sectionName: low}", "low", &["a.test", "*.w.test"], &rules("one")),
        route_on("- {name: gw, sectionName: high}", "high", &["a.test", "*.w.test"], &rules("two")),
    ]);
    for host in ["a.test", "A.test:80", "x.w.test"] {
        for (port, backend) in [(80, "one"), (8080, "two")] {
            for answer in [varnish.http(port, &get(host, "/")), varnish.relayed(port, &get(host, "/"))] {
                assert_eq!(answer.backend(), backend, "{host} {port}");
                assert_eq!(answer.received("x-forwarded-proto"), ["http"]);
            }
        }
        assert_eq!(varnish.relayed(81, &get(host, "/")).status, 404);
    }
}

#[test]
fn a_redirect_keeps_the_scheme_and_the_port() {
    let varnish = start(&[
        gateway(&[("http", 80, "HTTP"), ("https", 443, "HTTPS"), ("high", 8443, "HTTPS")]),
        route("r", &["a.test"], "- filters: [{type: RequestRedirect, requestRedirect: {hostname: to.test}}]"),
    ]);
    let request = get("a.test", "/x");
    let location = |it: Response| it.header("location").map(str::to_owned).unwrap();
    assert_eq!(location(varnish.http(80, &request)), "http://to.test/x");
    assert_eq!(location(varnish.relayed(80, &request)), "http://to.test/x");
    assert_eq!(location(varnish.https(443, &request)), "https://to.test/x");
    assert_eq!(location(varnish.https(8443, &request)), "https://to.test:8443/x");
}

#[test]
fn a_filter_may_say_another_scheme() {
    let [one] = Backend::group(["one"]);
    let set = "- filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Forwarded-Proto, value: https}]}}]
  matches: [{path: {value: /set}}]
  backendRefs: [{name: one, port: 80}]
";
    let varnish = start(&[
        gateway(&[("http", 80, "HTTP"), ("https", 443, "HTTPS")]),
        services(&[&one]),
        route("r", &["a.test"], &format!("{set}{}", rules("one"))),
    ]);
    let told = |it: Response| it.received("x-forwarded-proto").join(" ");
    let request = |path: &str| get("a.test", path).header("X-Forwarded-Proto", "ftp");
    assert_eq!(told(varnish.http(80, &request("/set"))), "https");
    assert_eq!(told(varnish.http(80, &request("/"))), "http");
    assert_eq!(told(varnish.https(443, &request("/"))), "https");
}

#[test]
fn responses_that_vary_by_scheme_are_cached() {
    let [one] = Backend::group(["one"]);
    let varnish = start(&[
        gateway(&[("http", 80, "HTTP"), ("https", 443, "HTTPS")]),
        services(&[&one]),
        route("r", &["a.test"], &rules("one")),
    ]);
    for (number, (vary, left)) in [
        ("X-Forwarded-Proto", None),
        ("x-forwarded-proto, Accept-Language", Some("Accept-Language")),
        ("Accept-Language, X-Forwarded-Proto", Some("Accept-Language")),
        ("Accept-Language,X-Forwarded-Proto , X-A", Some("Accept-Language, X-A")),
        ("X-X-Forwarded-Proto", Some("X-X-Forwarded-Proto")),
    ]
    .into_iter()
    .enumerate()
    {
        one.respond_with(&[("Vary", vary)]);
        let before = one.requests();
        let answers = [(); 2].map(|()| {
            let request = get("a.test", &format!("/{number}?cc=max-age=60"));
            [varnish.http(80, &request), varnish.https(443, &request)]
        });
        assert_eq!(one.requests() - before, 2, "{vary}: one for each scheme");
        for answer in answers.iter().flatten() {
            assert_eq!(answer.header("vary"), left, "{vary}");
        }
    }
}
