//! Which rule answers a request: paths, headers, query parameters, methods, and their precedence.
#![cfg(test)]

mod support;

use support::{Backend, Gateway, get, route, services};

#[test]
fn an_exact_path_is_that_path_only() {
    let [one, two] = Backend::group(["one", "two"]);
    let rules = "
        - matches: [{path: {type: Exact, value: /one}}]
          backendRefs: [{name: one, port: 80}]
        - matches: [{path: {type: Exact, value: /two/}}]
          backendRefs: [{name: two, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("exact", &[services(&[&one, &two]), route("r", &["exact.test"], rules)]);
    gateway.check(
        "
        GET exact.test/one          -> 200 one
        GET exact.test/one?x=1      -> 200 one
        GET exact.test/one?         -> 200 one
        GET exact.test/one/         -> 404
        GET exact.test/One          -> 404
        GET exact.test/one/more     -> 404
        GET exact.test/on           -> 404
        GET exact.test/two/         -> 200 two
        GET exact.test/two          -> 404
        GET exact.test/             -> 404
        ",
    );
}

#[test]
fn a_path_prefix_matches_whole_elements() {
    let [root, one, deep] = Backend::group(["root", "one", "deep"]);
    let rules = "
        - matches: [{path: {type: PathPrefix, value: /}}]
          backendRefs: [{name: root, port: 80}]
        - matches: [{path: {type: PathPrefix, value: /one}}]
          backendRefs: [{name: one, port: 80}]
        - matches: [{path: {type: PathPrefix, value: /one/two/}}]
          backendRefs: [{name: deep, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("prefix", &[services(&[&root, &one, &deep]), route("r", &["prefix.test"], rules)]);
    gateway.check(
        "
        GET prefix.test/                    -> 200 root
        GET prefix.test/o                   -> 200 root
        GET prefix.test/one                 -> 200 one
        GET prefix.test/one/                -> 200 one
        GET prefix.test/one?two=/           -> 200 one
        GET prefix.test/one/x               -> 200 one
        GET prefix.test/onex                -> 200 root
        GET prefix.test/one/two             -> 200 deep
        GET prefix.test/one/two?x           -> 200 deep
        GET prefix.test/one/two/            -> 200 deep
        GET prefix.test/one/two/three       -> 200 deep
        GET prefix.test/one/twox            -> 200 one
        ",
    );
}

#[test]
fn a_regular_expression_matches_the_whole_path() {
    let [root, number, longer, prefix, exact] =
        Backend::group(["root", "number", "longer", "prefix", "exact"]);
    let rules = r"
        - backendRefs: [{name: root, port: 80}]
        - matches: [{path: {type: PathPrefix, value: /item/7/very/long/prefix}}]
          backendRefs: [{name: prefix, port: 80}]
        - matches: [{path: {type: RegularExpression, value: '/item/\d+(/.*)?'}}]
          backendRefs: [{name: number, port: 80}]
        - matches: [{path: {type: RegularExpression, value: '/item/\d+/(edit|remove)'}}]
          backendRefs: [{name: longer, port: 80}]
        - matches: [{path: {type: Exact, value: /item/1}}]
          backendRefs: [{name: exact, port: 80}]
    ";
    let gateway = Gateway::shared();
    let backends = services(&[&root, &number, &longer, &prefix, &exact]);
    gateway.scene("regex", &[backends, route("r", &["regex.test"], rules)]);
    gateway.check(
        "
        GET regex.test/item/12                      -> 200 number
        GET regex.test/item/12?a=/item              -> 200 number
        GET regex.test/item/12x                     -> 200 root
        GET regex.test/x/item/12                    -> 200 root
        GET regex.test/item/12/edit                 -> 200 longer
        GET regex.test/item/12/editx                -> 200 number
        GET regex.test/item/1                       -> 200 exact
        GET regex.test/item/7/very/long/prefix      -> 200 number
        ",
    );
}

#[test]
fn header_matches_are_anded_and_more_of_them_win() {
    let [none, a, ab, pattern] = Backend::group(["none", "a", "ab", "pattern"]);
    let rules = "
        - backendRefs: [{name: none, port: 80}]
        - matches: [{headers: [{name: X-A, value: '1'}]}]
          backendRefs: [{name: a, port: 80}]
        - matches: [{headers: [{name: x-a, value: '1'}, {name: x-b, value: two words}]}]
          backendRefs: [{name: ab, port: 80}]
        - matches: [{headers: [{type: RegularExpression, name: x-c, value: '^v[0-9]+$'}]}]
          backendRefs: [{name: pattern, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("headers", &[services(&[&none, &a, &ab, &pattern]), route("r", &["headers.test"], rules)]);
    gateway.check(
        "
        GET headers.test/                                   -> 200 none
        GET headers.test/ | x-a: 1                          -> 200 a
        GET headers.test/ | X-A: 1                          -> 200 a
        GET headers.test/ | x-a: 12                         -> 200 none
        GET headers.test/ | x-a:                            -> 200 none
        GET headers.test/ | x-b: two words                  -> 200 none
        GET headers.test/ | x-b: two words | x-a: 1         -> 200 ab
        GET headers.test/ | x-b: Two words | x-a: 1         -> 200 a
        GET headers.test/ | x-c: v12                        -> 200 pattern
        GET headers.test/ | x-c: v12x                       -> 200 none
        GET headers.test/ | x-c: v1 | x-a: 1                -> 200 a
        ",
    );
}

#[test]
fn several_lines_of_a_header_are_one_value_joined_by_commas() {
    let [joined, single] = Backend::group(["joined", "single"]);
    let rules = "
        - matches: [{headers: [{type: RegularExpression, name: x-a, value: '^1, ?2$'}]}]
          backendRefs: [{name: joined, port: 80}]
        - matches: [{headers: [{name: x-a, value: '1'}]}]
          backendRefs: [{name: single, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("lines", &[services(&[&joined, &single]), route("r", &["lines.test"], rules)]);
    gateway.check(
        "
        GET lines.test/ | x-a: 1                -> 200 single
        GET lines.test/ | x-a: 1 | x-a: 2       -> 200 joined
        GET lines.test/ | x-a: 2 | x-a: 1       -> 404
        GET lines.test/ | x-a: 1 | x-a: 1       -> 404
        ",
    );
}

#[test]
fn query_matches_are_of_the_first_value_of_a_parameter() {
    let [none, a, ab, pattern] = Backend::group(["none", "a", "ab", "pattern"]);
    let rules = "
        - backendRefs: [{name: none, port: 80}]
        - matches: [{queryParams: [{name: a, value: '1'}]}]
          backendRefs: [{name: a, port: 80}]
        - matches: [{queryParams: [{name: a, value: '1'}, {name: b, value: '2'}]}]
          backendRefs: [{name: ab, port: 80}]
        - matches: [{queryParams: [{type: RegularExpression, name: c, value: 'v[0-9]+'}]}]
          backendRefs: [{name: pattern, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("query", &[services(&[&none, &a, &ab, &pattern]), route("r", &["query.test"], rules)]);
    gateway.check(
        "
        GET query.test/                 -> 200 none
        GET query.test/?a=1             -> 200 a
        GET query.test/?x=0&a=1&y       -> 200 a
        GET query.test/?a=12            -> 200 none
        GET query.test/?aa=1            -> 200 none
        GET query.test/?A=1             -> 200 none
        GET query.test/?a=1&a=2         -> 200 a
        GET query.test/?a=2&a=1         -> 200 none
        GET query.test/?b=2&a=1         -> 200 ab
        GET query.test/?a=1&b=2&b=3     -> 200 ab
        GET query.test/?c=v7            -> 200 pattern
        GET query.test/a=1              -> 200 none
        ",
    );
}

#[test]
fn a_method_comes_before_headers_and_query_parameters() {
    let [any, post, post_a, header] = Backend::group(["any", "post", "post-a", "header"]);
    let rules = "
        - backendRefs: [{name: any, port: 80}]
        - matches: [{method: POST}]
          backendRefs: [{name: post, port: 80}]
        - matches: [{headers: [{name: x-a, value: '1'}, {name: x-b, value: '1'}], queryParams: [{name: q, value: '1'}]}]
          backendRefs: [{name: header, port: 80}]
        - matches: [{method: POST, queryParams: [{name: q, value: '1'}]}]
          backendRefs: [{name: post-a, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway
        .scene("method", &[services(&[&any, &post, &post_a, &header]), route("r", &["method.test"], rules)]);
    gateway.check(
        "
        GET method.test/                                    -> 200 any
        POST method.test/                                   -> 200 post
        PUT method.test/                                    -> 200 any
        DELETE method.test/                                 -> 200 any
        OPTIONS method.test/                                -> 200 any
        PATCH method.test/                                  -> 200 any
        GET method.test/?q=1 | x-a: 1 | x-b: 1              -> 200 header
        POST method.test/?q=1 | x-a: 1 | x-b: 1             -> 200 post-a
        POST method.test/ | x-a: 1 | x-b: 1                 -> 200 post
        ",
    );
}

#[test]
fn matches_of_one_rule_are_alternatives() {
    let [one] = Backend::group(["one"]);
    let rules = "
        - matches:
          - path: {type: Exact, value: /a}
          - path: {type: PathPrefix, value: /b}
            headers: [{name: x-a, value: '1'}]
          - queryParams: [{name: q, value: '1'}]
          backendRefs: [{name: one, port: 80}]
    ";
    let gateway = Gateway::shared();
    gateway.scene("alternatives", &[services(&[&one]), route("r", &["alternatives.test"], rules)]);
    gateway.check(
        "
        GET alternatives.test/a                 -> 200 one
        GET alternatives.test/b                 -> 404
        GET alternatives.test/b/c | x-a: 1      -> 200 one
        GET alternatives.test/c?q=1             -> 200 one
        GET alternatives.test/c                 -> 404
        ",
    );
}

#[test]
fn precedence_is_merged_across_the_routes_of_a_host() {
    let [old, new, exact] = Backend::group(["old", "new", "exact"]);
    let stamped = |name: &str, created: &str, rules: &str| {
        let text = route(name, &["across.test"], rules);
        text.replace("metadata:\n", &format!("metadata:\n  creationTimestamp: {created}\n"))
    };
    let older = "
        - matches: [{path: {type: PathPrefix, value: /}}, {path: {type: PathPrefix, value: /tie}}]
          backendRefs: [{name: old, port: 80}]
    ";
    let newer = "
        - matches: [{path: {type: PathPrefix, value: /longer}}, {path: {type: PathPrefix, value: /tie}}]
          backendRefs: [{name: new, port: 80}]
        - matches: [{path: {type: Exact, value: /longer/exact}}]
          backendRefs: [{name: exact, port: 80}]
    ";
    let gateway = Gateway::shared();
    let routes = [
        services(&[&old, &new, &exact]),
        stamped("a-is-newer", "'2024-02-01T00:00:00Z'", newer),
        stamped("b-is-older", "'2024-01-01T00:00:00Z'", older),
    ];
    gateway.scene("across", &routes);
    gateway.check(
        "
        GET across.test/                    -> 200 old
        GET across.test/longer/x            -> 200 new
        GET across.test/longer/exact        -> 200 exact
        GET across.test/tie                 -> 200 old
        ",
    );
}

#[test]
fn ties_go_to_the_first_name_and_then_to_the_first_rule() {
    let [first, second, third] = Backend::group(["first", "second", "third"]);
    let rule = |backend: &str| format!("- backendRefs: [{{name: {backend}, port: 80}}]\n");
    let gateway = Gateway::shared();
    let manifests = [
        services(&[&first, &second, &third]),
        route("b", &["ties.test"], &rule("third")),
        route("a", &["ties.test"], &(rule("first") + &rule("second"))),
    ];
    gateway.scene("ties", &manifests);
    gateway.check("GET ties.test/ -> 200 first");
}

#[test]
fn a_less_specific_host_is_asked_when_no_rule_of_the_more_specific_one_matches() {
    let [exact, wild, any] = Backend::group(["exact", "wild", "any"]);
    let rule = |path: &str, backend: &str| {
        format!("- matches: [{{path: {{value: {path}}}}}]\n  backendRefs: [{{name: {backend}, port: 80}}]\n")
    };
    let gateway = Gateway::shared();
    let manifests = [
        services(&[&exact, &wild, &any]),
        route("exact", &["a.hosts.test"], &rule("/a", "exact")),
        route("wild", &["*.hosts.test"], &(rule("/a/b", "wild") + &rule("/w", "wild"))),
    ];
    gateway.scene("hosts", &manifests);
    gateway.check(
        "
        GET a.hosts.test/a              -> 200 exact
        GET a.hosts.test/a/b            -> 200 exact
        GET a.hosts.test/w              -> 200 wild
        GET a.hosts.test/none           -> 404
        GET b.hosts.test/a/b            -> 200 wild
        GET c.b.hosts.test/w            -> 200 wild
        GET hosts.test/w                -> 404
        GET A.Hosts.Test/a              -> 200 exact
        GET a.hosts.test:8080/a         -> 200 exact
        GET a.hosts.test./a             -> 200 exact
        ",
    );
    drop(any);
}

#[test]
fn hundreds_of_routes_on_one_host() {
    let [one] = Backend::group(["one"]);
    let name = |number: usize| format!("/service/{}/item{number}", number % 17);
    let mut manifests = services(&[&one]);
    for number in 0..400 {
        let kind = if number % 3 == 0 { "Exact" } else { "PathPrefix" };
        let rules = format!(
            "
            - matches: [{{path: {{type: {kind}, value: {}}}}}]
              filters:
              - type: RequestHeaderModifier
                requestHeaderModifier: {{set: [{{name: x-rule, value: '{number}'}}]}}
              backendRefs: [{{name: one, port: 80}}]
            ",
            name(number)
        );
        manifests += &route(&format!("r{number}"), &["many.test"], &rules);
    }
    let gateway = Gateway::shared();
    gateway.scene("many", &[manifests]);
    for number in (0..400).step_by(7) {
        let response = gateway.send(&get("many.test", &name(number)));
        assert_eq!(response.received("x-rule"), [number.to_string()], "{}", name(number));
        let below = gateway.send(&get("many.test", &(name(number) + "/x")));
        assert_eq!(below.status, if number % 3 == 0 { 404 } else { 200 }, "{}/x", name(number));
    }
}

#[test]
fn an_unknown_host_is_not_found() {
    let gateway = Gateway::shared();
    gateway.check(
        "
        GET unknown.test/               -> 404
        GET no.unknown.test/x           -> 404
        POST unknown.test/x             -> 404
        ",
    );
    let mut connection = gateway.connect(80).unwrap();
    connection.write(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(connection.read_response(false).unwrap().status, 404, "without any Host");
}
