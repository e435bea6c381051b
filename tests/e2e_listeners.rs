//! Which listener a request belongs to, and which routes are attached to it.
#![cfg(test)]

mod support;

use support::{
    Backend, Gateway, Shared, gateway, get, in_namespace, listener, namespace, route, route_on, service,
    services,
};

/// One instance for all tests here. Port 80: a Gateway for each test that needs no port of its own; ports
/// 81 to 85: what is said in the test.
fn shared() -> &'static Gateway {
    static SHARED: Shared<Gateway> = Shared::new();
    SHARED.get(|| {
        let isolation = "
            - {name: any, port: 81, protocol: HTTP}
            - {name: wild, port: 81, protocol: HTTP, hostname: '*.example.test'}
            - {name: wilder, port: 81, protocol: HTTP, hostname: '*.foo.example.test'}
            - {name: exact, port: 81, protocol: HTTP, hostname: abc.foo.example.test}
        ";
        let ports = "
            - {name: first, port: 82, protocol: HTTP}
            - {name: second, port: 83, protocol: HTTP}
        ";
        let namespaces = "
            - {name: same, port: 84, protocol: HTTP, hostname: same.test}
            - {name: all, port: 84, protocol: HTTP, hostname: all.test, allowedRoutes: {namespaces: {from: All}}}
            - name: some
              port: 84
              protocol: HTTP
              hostname: some.test
              allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: web}}}}
        ";
        let open = gateway("open", "- {name: own, port: 85, protocol: HTTP, hostname: own.test}")
            .replace("spec:\n", "spec:\n  allowedListeners: {namespaces: {from: All}}\n");
        let files = [
            ("gw.yaml", gateway("gw", &listener("http", 80))),
            ("isolation.yaml", gateway("isolation", isolation)),
            ("ports.yaml", gateway("ports", ports)),
            ("namespaces.yaml", gateway("namespaces", namespaces)),
            ("open.yaml", open),
        ];
        Gateway::start(&[80, 81, 82, 83, 84, 85], &files)
    })
}

fn to(backend: &str) -> String {
    format!("- backendRefs: [{{name: {backend}, port: 80}}]\n")
}

#[test]
fn a_request_belongs_to_the_most_specific_listener_alone() {
    let [any, wild, wilder, exact] = Backend::group(["any", "wild", "wilder", "exact"]);
    let at = |section: &str| {
        let rules = format!(
            "- matches: [{{path: {{value: /{section}}}}}]\n  backendRefs: [{{name: {section}, port: 80}}]\n"
        );
        route_on(&format!("- {{name: isolation, sectionName: {section}}}"), section, &[], &rules)
    };
    let manifests =
        [services(&[&any, &wild, &wilder, &exact]), at("any"), at("wild"), at("wilder"), at("exact")]
            .concat();
    shared().apply("isolation-routes.yaml", &manifests);
    shared().check(
        "
        GET :81 bar.test/any                        -> 200 any
        GET :81 bar.test/wild                       -> 404
        GET :81 bar.test/exact                      -> 404
        GET :81 bar.example.test/wild               -> 200 wild
        GET :81 bar.example.test/any                -> 404
        GET :81 a.bar.example.test/wild             -> 200 wild
        GET :81 example.test/any                    -> 200 any
        GET :81 example.test/wild                   -> 404
        GET :81 bar.foo.example.test/wilder         -> 200 wilder
        GET :81 bar.foo.example.test/wild           -> 404
        GET :81 bar.foo.example.test/any            -> 404
        GET :81 abc.foo.example.test/exact          -> 200 exact
        GET :81 abc.foo.example.test/wilder         -> 404
        GET :81 abc.foo.example.test/wild           -> 404
        GET :81 abc.foo.example.test/any            -> 404
        GET :80 bar.test/any                        -> 404
        ",
    );
}

#[test]
fn only_hostnames_that_a_listener_has_too_are_attached() {
    let [both] = Backend::group(["both"]);
    let hosts = ["in.example.test", "*.deep.example.test", "out.other.test", "example.test"];
    let parent = "- {name: isolation, sectionName: wild}";
    let manifests = [service("both", &[&both]), route_on(parent, "intersection", &hosts, &to("both"))];
    shared().apply("intersection.yaml", &manifests.concat());
    shared().check(
        "
        GET :81 in.example.test/x                   -> 200 both
        GET :81 a.deep.example.test/x               -> 200 both
        GET :81 b.a.deep.example.test/x             -> 200 both
        GET :81 deep.example.test/x                 -> 404
        GET :81 out.other.test/x                    -> 404
        GET :81 example.test/x                      -> 404
        ",
    );
}

#[test]
fn parent_refs_choose_listeners_by_name_and_by_port() {
    let [all, named, by_port, neither] = Backend::group(["p-all", "p-named", "p-port", "p-neither"]);
    let manifests = [
        services(&[&all, &named, &by_port, &neither]),
        route_on("- name: ports", "p-all", &["all.ports.test"], &to("p-all")),
        route_on("- {name: ports, sectionName: first}", "p-named", &["named.ports.test"], &to("p-named")),
        route_on("- {name: ports, port: 83}", "p-port", &["port.ports.test"], &to("p-port")),
        route_on(
            "- {name: ports, sectionName: first, port: 83}",
            "p-no",
            &["no.ports.test"],
            &to("p-neither"),
        ),
        route_on("- {name: ports, sectionName: none}", "p-none", &["none.ports.test"], &to("p-neither")),
    ];
    shared().apply("ports-routes.yaml", &manifests.concat());
    shared().check(
        "
        GET :82 all.ports.test/         -> 200 p-all
        GET :83 all.ports.test/         -> 200 p-all
        GET :82 named.ports.test/       -> 200 p-named
        GET :83 named.ports.test/       -> 404
        GET :82 port.ports.test/        -> 404
        GET :83 port.ports.test/        -> 200 p-port
        GET :82 no.ports.test/          -> 404
        GET :83 no.ports.test/          -> 404
        GET :82 none.ports.test/        -> 404
        ",
    );
}

#[test]
fn listeners_choose_namespaces() {
    let [near, far] = Backend::group(["near", "far"]);
    let path = |text: &str| {
        format!("- matches: [{{path: {{value: {text}}}}}]\n  backendRefs: [{{name: far, port: 80}}]\n")
    };
    let parent = "- {name: namespaces, namespace: default}";
    let other = |ns: &str| {
        in_namespace(ns, &(service("far", &[&far]) + &route_on(parent, "r", &[], &path(&format!("/{ns}")))))
    };
    let manifests = [
        service("near", &[&near]),
        route_on(
            parent,
            "n-near",
            &[],
            &to("near").replace("- back", "- matches: [{path: {value: /default}}]\n  back"),
        ),
        namespace("web", "{team: web}"),
        namespace("ops", "{team: ops}"),
        other("web"),
        other("ops"),
    ];
    shared().apply("namespaces-routes.yaml", &manifests.concat());
    let table = "
        GET :84 same.test/default       -> 200 near
        GET :84 same.test/web           -> 404
        GET :84 same.test/ops           -> 404
        GET :84 all.test/default        -> 200 near
        GET :84 all.test/web            -> 200 far
        GET :84 all.test/ops            -> 200 far
        GET :84 some.test/default       -> 404
        GET :84 some.test/web           -> 200 far
        GET :84 some.test/ops           -> 404
    ";
    shared().check(table);
    let relabelled = manifests.concat().replace("{team: ops}", "{team: web}");
    shared().apply("namespaces-routes.yaml", &relabelled);
    shared().check(&table.replace("some.test/ops           -> 404", "some.test/ops           -> 200 far"));
}

#[test]
fn a_reference_to_another_namespace_needs_a_grant_at_every_moment() {
    let [far] = Backend::group(["far"]);
    let rules = "- backendRefs: [{name: far, namespace: granting, port: 80}]";
    let gateway = shared();
    gateway.apply("granting.yaml", &in_namespace("granting", &service("far", &[&far])));
    gateway.apply("granted-route.yaml", &route("granted", &["granted.test"], rules));
    gateway.check("GET granted.test/ -> 500");
    let grant = |from: &str, name: &str| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: grant, namespace: granting}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {from}}}]
  to: [{{group: '', kind: Service{name}}}]
"
        )
    };
    gateway.apply("grant.yaml", &grant("elsewhere", ""));
    gateway.check("GET granted.test/ -> 500");
    gateway.apply("grant.yaml", &grant("default", ", name: another"));
    gateway.check("GET granted.test/ -> 500");
    gateway.apply("grant.yaml", &grant("default", ", name: far"));
    gateway.check("GET granted.test/ -> 200 far");
    gateway.apply("grant.yaml", &grant("default", ""));
    gateway.check("GET granted.test/ -> 200 far");
    gateway.remove("grant.yaml");
    gateway.check("GET granted.test/ -> 500");
}

#[test]
fn a_listener_set_adds_listeners_and_loses_conflicts() {
    let [own, added, usurped] = Backend::group(["own", "added", "usurped"]);
    let set = |name: &str, host: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: {name}, namespace: sets}}
spec:
  parentRef: {{name: open, namespace: default}}
  listeners:
  - {{name: l, port: 85, protocol: HTTP, hostname: {host}}}
"
        )
    };
    let on_set = |name: &str, backend: &str| {
        let parent = format!("- {{name: {name}, kind: ListenerSet, group: gateway.networking.k8s.io}}");
        in_namespace("sets", &route_on(&parent, name, &[], &to(backend)))
    };
    let manifests = [
        namespace("sets", "{}"),
        service("own", &[&own]),
        route_on("- {name: open}", "on-open", &[], &to("own")),
        in_namespace("sets", &services(&[&added, &usurped])),
        set("adding", "added.test"),
        set("conflicting", "own.test"),
        on_set("adding", "added"),
        on_set("conflicting", "usurped"),
    ];
    shared().apply("sets.yaml", &manifests.concat());
    shared().check(
        "
        GET :85 own.test/               -> 200 own
        GET :85 added.test/             -> 200 added
        GET :85 other.test/             -> 404
        ",
    );
    shared().remove("sets.yaml");
    shared().check("GET :85 added.test/ -> 404");
}

#[test]
fn a_listener_set_needs_the_leave_of_the_gateway() {
    let [one] = Backend::group(["one"]);
    let set = "---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: uninvited, namespace: uninvited}
spec:
  parentRef: {name: gw, namespace: default}
  listeners:
  - {name: l, port: 80, protocol: HTTP, hostname: uninvited.test}
";
    let parent = "- {name: uninvited, kind: ListenerSet, group: gateway.networking.k8s.io}";
    let manifests = service("one", &[&one]) + &route_on(parent, "uninvited", &[], &to("one"));
    shared().apply("uninvited.yaml", &(set.to_owned() + &in_namespace("uninvited", &manifests)));
    shared().check("GET uninvited.test/ -> 404");
}

#[test]
fn listeners_in_conflict_are_out_and_the_others_serve() {
    let [one] = Backend::group(["one"]);
    // Port 80 with no hostname is taken by Gateway `gw` in a merged set of sockets only if the two are one
    // Gateway's; within one Gateway, equal port and hostname is a conflict.
    let listeners = "
        - {name: a, port: 83, protocol: HTTP, hostname: twice.test}
        - {name: b, port: 83, protocol: HTTP, hostname: twice.test}
        - {name: c, port: 83, protocol: HTTP, hostname: once.test}
    ";
    let manifests = [
        gateway("conflict", listeners),
        service("c-one", &[&one]),
        route_on("- name: conflict", "conflict", &[], &to("c-one")),
    ];
    shared().apply("conflict.yaml", &manifests.concat());
    shared().check(
        "
        GET :83 once.test/              -> 200 one
        GET :83 twice.test/             -> 404
        ",
    );
}

#[test]
fn a_gateway_of_another_class_is_none_of_ours() {
    let [one] = Backend::group(["one"]);
    let foreign = gateway(
        "foreign",
        &listener("http", 80).replace("name: http", "name: http\n  hostname: foreign.test"),
    )
    .replace("gatewayClassName: copal", "gatewayClassName: other");
    let manifests = [
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: other}\n".to_owned()
            + "spec: {controllerName: example.net/other}\n",
        foreign,
        service("f-one", &[&one]),
        route_on("- name: foreign", "foreign", &["foreign.test"], &to("f-one")),
    ];
    shared().apply("foreign.yaml", &manifests.concat());
    shared().check("GET foreign.test/ -> 404");
}

#[test]
fn one_route_on_two_gateways_answers_on_both() {
    let [one] = Backend::group(["one"]);
    let parents = "
        - {name: gw}
        - {name: ports, sectionName: second}
    ";
    let manifests =
        [service("t-one", &[&one]), route_on(parents, "two-parents", &["two.test"], &to("t-one"))];
    shared().apply("two.yaml", &manifests.concat());
    shared().check(
        "
        GET :80 two.test/               -> 200 one
        GET :83 two.test/               -> 200 one
        GET :82 two.test/               -> 404
        ",
    );
    assert_eq!(shared().send(&get("two.test", "/").port(82)).status, 404);
}

/// Otherwise a part of the path could be sent as part of the host, to reach what the route does not offer.
#[test]
fn a_host_with_anything_but_a_name_in_it_is_a_bad_request() {
    let [one] = Backend::group(["one"]);
    let gateway = Gateway::shared();
    let rules = "- matches: [{path: {value: /open}}]\n  backendRefs: [{name: one, port: 80}]\n";
    gateway.scene("bad-hosts", &[services(&[&one]), route("r", &["bad-hosts.test"], rules)]);
    let status = |host: &str| gateway.send(&get(host, "/secret")).status;
    for host in [
        "bad-hosts.test/open",
        "bad-hosts.test/open/",
        "bad-hosts.test?",
        "a b",
        "a@b",
        "[x",
        "a:b:1",
        "a:x",
        "\u{e9}.test",
    ] {
        assert_eq!(status(host), 400, "{host}");
    }
    for host in ["bad-hosts.test", "other_host", "[::1]:80", "192.0.2.1:80"] {
        assert_eq!(status(host), 404, "{host}");
    }
    // Nor part of the host as part of the path.
    assert_eq!(gateway.send(&get("bad-hosts", ".test/open")).status, 404);
    assert_eq!(one.requests(), 0);
}
