//! What is cached, for whom, and for how long; and what clients cannot reach into.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;

use support::{Backend, Gateway, Request, get, route, services};

/// Sends the request twice; whether the second answer came from the cache.
fn is_cached(gateway: &Gateway, request: &Request) -> bool {
    let first = gateway.send(request);
    assert_eq!(first.status, 200, "{request:?}: {first:?}");
    gateway.send(request).told("serial") == first.told("serial")
}

#[test]
fn only_what_says_so_is_cached() {
    let [one] = Backend::group(["one"]);
    let gateway = Gateway::shared();
    gateway.scene(
        "cache",
        &[services(&[&one]), route("r", &["cache.test"], "- backendRefs: [{name: one, port: 80}]")],
    );
    let cached = |target: &str| is_cached(gateway, &get("cache.test", target));
    assert!(cached("/max-age?cc=max-age=60"));
    assert!(cached("/s-maxage?cc=s-maxage=60"));
    assert!(cached("/public?cc=public,max-age=60"));
    assert!(!cached("/silent"));
    assert!(!cached("/zero?cc=max-age=0"));
    assert!(!cached("/no-store?cc=no-store,max-age=60"));
    assert!(!cached("/private?cc=private,max-age=60"));
    assert!(!cached("/no-cache?cc=no-cache"));
    let with = |name: &str, value: &str, target: &str| {
        is_cached(gateway, &get("cache.test", target).header(name, value))
    };
    assert!(!with("Authorization", "Basic eDp5", "/authorization?cc=max-age=60"));
    assert!(!with("Cookie", "session=1", "/cookie?cc=max-age=60"));
    assert!(with("Cache-Control", "no-cache", "/client?cc=max-age=60"), "a client cannot empty the cache");
    let method =
        |method: &str| is_cached(gateway, &Request::new(method, "cache.test", "/method?cc=max-age=60"));
    assert!(!method("POST"));
    assert!(!method("PUT"));
    assert!(!method("DELETE"));
}

#[test]
fn what_one_client_may_see_another_does_not_get() {
    let [one] = Backend::group(["one"]);
    let gateway = Gateway::shared();
    gateway.scene(
        "leaks",
        &[services(&[&one]), route("r", &["leaks.test"], "- backendRefs: [{name: one, port: 80}]")],
    );
    let target = "/secret?cc=max-age=60";
    let mine = gateway.send(&get("leaks.test", target).header("Authorization", "Basic eDp5"));
    let yours = gateway.send(&get("leaks.test", target));
    assert_ne!(mine.told("serial"), yours.told("serial"));
    assert!(yours.received("authorization").is_empty());
    one.respond_with(&[("set-cookie", "session=1")]);
    assert!(!is_cached(gateway, &get("leaks.test", "/set-cookie?cc=max-age=60")));
    one.respond_with(&[("vary", "Accept-Language")]);
    let language = |code: &str| get("leaks.test", "/vary?cc=max-age=60").header("Accept-Language", code);
    let german = gateway.send(&language("de")).told("serial");
    let french = gateway.send(&language("fr")).told("serial");
    assert_ne!(german, french);
    assert_eq!(gateway.send(&language("de")).told("serial"), german);
}

#[test]
fn a_canary_split_holds_for_cached_answers() {
    let [stable, canary] = Backend::group(["stable", "canary"]);
    let rules = "- backendRefs: [{name: stable, port: 80, weight: 80}, {name: canary, port: 80, weight: 20}]";
    let gateway = Gateway::shared();
    gateway.scene("canary", &[services(&[&stable, &canary]), route("r", &["canary.test"], rules)]);
    let mut connection = gateway.connect(80).unwrap();
    let mut canaries = 0;
    for _ in 0..500 {
        let response = connection.exchange(&get("canary.test", "/?cc=max-age=600")).unwrap();
        canaries += usize::from(response.backend() == "canary");
    }
    // Five standard deviations of a binomial distribution with n = 500, p = 0.2 are 45.
    assert!((55..=145).contains(&canaries), "{canaries} of 500");
    assert_eq!((stable.requests(), canary.requests()), (1, 1), "each answer was fetched once");
}

#[test]
fn two_rules_on_one_url_never_share_an_object() {
    let [plain, beta] = Backend::group(["plain", "beta"]);
    let rules = "
        - matches: [{headers: [{name: x-beta, value: '1'}]}]
          backendRefs: [{name: beta, port: 80}]
        - matches: [{headers: [{name: x-changed, value: '1'}]}]
          filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: changed}]}}]
          backendRefs: [{name: plain, port: 80}]
        - matches: [{headers: [{name: x-rewritten, value: '1'}]}]
          filters: [{type: URLRewrite, urlRewrite: {hostname: other.test}}]
          backendRefs: [{name: plain, port: 80}]
        - backendRefs: [{name: plain, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("shared-url", &[services(&[&plain, &beta]), route("r", &["shared.test"], rules)]);
    let target = "/?cc=max-age=600";
    for _ in 0..3 {
        let send = |header: &str| gateway.send(&get("shared.test", target).header(header, "1"));
        assert_eq!(send("x-none").backend(), "plain");
        assert_eq!(send("x-beta").backend(), "beta");
        assert_eq!(send("x-changed").received("x-a"), ["changed"]);
        assert_eq!(send("x-rewritten").told("host"), "other.test");
        assert!(send("x-none").received("x-a").is_empty());
    }
    assert_eq!((plain.requests(), beta.requests()), (3, 1), "each variant was fetched once");
}

#[test]
fn hosts_and_listeners_never_share_an_object() {
    let [a, b] = Backend::group(["a", "b"]);
    let to = |name: &str| format!("- backendRefs: [{{name: {name}, port: 80}}]");
    let gateway = Gateway::shared();
    gateway.scene(
        "shared-path",
        &[
            services(&[&a, &b]),
            route("a", &["a.shared.test"], &to("a")),
            route("b", &["*.b.shared.test"], &to("b")),
        ],
    );
    let serial = |host: &str| gateway.send(&get(host, "/?cc=max-age=600"));
    assert_eq!(serial("a.shared.test").backend(), "a");
    assert_eq!(serial("x.b.shared.test").told("host"), "x.b.shared.test");
    assert_eq!(serial("y.b.shared.test").told("host"), "y.b.shared.test");
    let first = serial("a.shared.test").told("serial");
    assert_eq!(serial("A.SHARED.TEST").told("serial"), first, "one host, one object");
    // The backend gets the port as it was sent, so an answer that repeats it must not reach other clients.
    assert_ne!(serial("a.shared.test:80").told("serial"), first, "what the backend sees is in the key");
}

#[test]
fn a_reload_keeps_the_cache_and_does_not_mix_rules() {
    let [one] = Backend::group(["one"]);
    let rule = |path: &str, value: &str| {
        format!(
            "- matches: [{{path: {{value: {path}}}}}]\n  filters: [{{type: RequestHeaderModifier, \
             requestHeaderModifier: {{set: [{{name: x-rule, value: '{value}'}}]}}}}]\n  \
             backendRefs: [{{name: one, port: 80}}]\n"
        )
    };
    let gateway = Gateway::shared();
    let load =
        |rules: String| gateway.scene("reload", &[services(&[&one]), route("r", &["reload.test"], &rules)]);
    let fetch = |path: &str| gateway.send(&get("reload.test", &format!("{path}?cc=max-age=600")));
    load(rule("/kept", "kept"));
    let before = fetch("/kept").told("serial");
    load(rule("/inserted", "inserted") + &rule("/kept", "kept"));
    assert_eq!(
        fetch("/kept").told("serial"),
        before,
        "the object is still there behind a rule that was inserted"
    );
    assert_eq!(fetch("/inserted").received("x-rule"), ["inserted"]);
    load(rule("/kept", "changed"));
    assert_eq!(
        fetch("/kept").received("x-rule"),
        ["changed"],
        "an answer to another request header is another object"
    );
}

#[test]
fn internal_headers_are_neither_taken_from_clients_nor_shown_to_anyone() {
    let [one, two] = Backend::group(["one", "two"]);
    let rules = "
        - matches: [{headers: [{name: x-choose, value: two}]}]
          backendRefs: [{name: two, port: 80}]
        - backendRefs: [{name: one, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("internal", &[services(&[&one, &two]), route("r", &["internal.test"], rules)]);
    let names = internal_headers(gateway);
    assert!(
        !names.is_empty(),
        "the generated VCL has internal headers, or this test looks for the wrong thing"
    );
    for target in ["/", "/?cc=max-age=60"] {
        let request = names.iter().fold(get("internal.test", target), |request, name| {
            request.header(name, "two").header(&name.to_lowercase(), "0")
        });
        let response = gateway.send(&request);
        assert_eq!((response.status, response.backend()), (200, "one"));
        let seen = response.text().to_lowercase();
        assert!(!seen.contains("x-copal"), "the backend saw an internal header: {seen}");
        assert!(!response.headers.iter().any(|(name, _)| name.starts_with("x-copal")), "{response:?}");
        let clean = gateway.send(&get("internal.test", target).header("x-choose", "two"));
        assert_eq!(clean.backend(), "two");
        assert!(!clean.text().to_lowercase().contains("x-copal"), "{}", clean.text());
    }
}

/// The names of all internal headers in the VCL that is loaded.
fn internal_headers(gateway: &Gateway) -> BTreeSet<String> {
    let mut folders = vec![gateway.state()];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "vcl") {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let parts = text.split("http.X-Copal-").skip(1);
                let end = |part: &str| {
                    part.find(|it: char| !it.is_alphanumeric() && it != '-').unwrap_or(part.len())
                };
                names.extend(parts.map(|part| format!("X-Copal-{}", &part[..end(part)])));
            }
        }
    }
    names
}

#[test]
fn a_stale_answer_is_refreshed_from_the_rules_own_backend() {
    let [one] = Backend::group(["one"]);
    let gateway = Gateway::shared();
    gateway.scene(
        "stale",
        &[services(&[&one]), route("r", &["stale.test"], "- backendRefs: [{name: one, port: 80}]")],
    );
    let request = get("stale.test", "/x?cc=max-age=1,stale-while-revalidate=60");
    let first = gateway.send(&request).told("serial");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(gateway.send(&request).told("serial"), first, "served while it is refreshed");
    gateway.wait_for("the refreshed answer", std::time::Duration::from_secs(5), || {
        let response = gateway.send(&request);
        assert_eq!(response.status, 200);
        response.told("serial") != first
    });
}
