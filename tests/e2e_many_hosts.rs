//! So many hosts that they are spread over several shards.
#![cfg(test)]

mod support;

use support::{Backend, Gateway, gateway, listener, route, route_on, services};

/// More hosts than one VCL holds.
const MANY: usize = 150;

fn four_rules(backend: &str) -> String {
    let rule = |n| {
        format!("- matches: [{{path: {{value: /{n}}}}}]\n  backendRefs: [{{name: {backend}, port: 80}}]\n")
    };
    (0..4).map(rule).collect()
}

/// Routes for n0.many.test, n1.many.test and so on, to `even` and `odd` in turns.
fn many_routes() -> String {
    let number = |n: usize| {
        route(&format!("n{n}"), &[&format!("n{n}.many.test")], &four_rules(["even", "odd"][n % 2]))
    };
    (0..MANY).map(number).collect()
}

fn has_many_shards(gateway: &Gateway) -> bool {
    gateway.status()["vcls"].as_array().is_some_and(|vcls| vcls.len() > 4)
}

#[test]
fn many_hosts_are_found_by_their_place_in_the_order_of_names() {
    let [even, odd, wild] = Backend::group(["even", "odd", "wild"]);
    let rules = four_rules;
    let manifests = [
        services(&[&even, &odd, &wild]),
        many_routes(),
        route("wild", &["*.wild.test"], &rules("wild")),
        route("below", &["n7.wild.test"], &rules("odd")),
    ];
    let gateway = Gateway::start(
        &[80],
        &[("gw.yaml", gateway("gw", &listener("http", 80))), ("r.yaml", manifests.concat())],
    );
    assert!(has_many_shards(&gateway), "{}", gateway.status());
    let each = |n: usize| format!("GET n{n}.many.test/{} -> 200 {}\n", n % 4, ["even", "odd"][n % 2]);
    gateway.check(&(0..MANY).map(each).collect::<String>());
    gateway.check(
        "
        GET N77.Many.Test/1           -> 200 odd
        GET n77.many.test:8080/1      -> 200 odd
        GET n77.many.test:/1          -> 200 odd
        GET n77.many.test./1?x        -> 200 odd
        GET n77.many.test/5           -> 404
        GET n777.many.test/1          -> 404
        GET many.test/1               -> 404
        GET zzz.test/1                -> 404
        GET a/1                       -> 404
        GET x.wild.test/2             -> 200 wild
        GET X.Y.wild.test:80/2        -> 200 wild
        GET n7.wild.test/2            -> 200 odd
        GET n7.wild.test/5            -> 404
        ",
    );
}

/// A listener without routes keeps its hosts from those of wider listeners.
#[test]
fn among_many_hosts_a_listener_without_routes_answers_for_its_own() {
    let [even, odd, any] = Backend::group(["even", "odd", "any"]);
    let manifests = [
        services(&[&even, &odd, &any]),
        many_routes(),
        route_on(
            "\n- {name: gw, sectionName: wide}\n",
            "any",
            &["*.test"],
            "- backendRefs: [{name: any, port: 80}]\n",
        ),
    ];
    let closed = "\
- name: wide
  port: 80
  protocol: HTTP
  hostname: '*.test'
- name: many
  port: 80
  protocol: HTTP
  hostname: '*.many.test'
- name: closed
  port: 80
  protocol: HTTP
  hostname: '*.closed.test'
- name: rest
  port: 80
  protocol: HTTP
";
    let gateway =
        Gateway::start(&[80], &[("gw.yaml", gateway("gw", closed)), ("r.yaml", manifests.concat())]);
    assert!(has_many_shards(&gateway), "{}", gateway.status());
    gateway.check(
        "
        GET n7.many.test/3            -> 200 odd
        GET n8.many.test:80/3         -> 200 even
        GET n7.many.test/4            -> 404
        GET x.many.test/3             -> 404
        GET x.closed.test/            -> 404
        GET n7.closed.test/3          -> 404
        GET x.test/                   -> 200 any
        GET n7.other.test/            -> 200 any
        GET n7.many/3                 -> 404
        GET other/                    -> 404
        ",
    );
}
