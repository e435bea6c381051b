use super::*;
use crate::model::{Model, Outcome, RouteMatch, Transport};
use crate::snapshot::Object;
use crate::translate::{Addressing, Settings, Translation, Translator, translate};
use serde_json::{Value, json};

fn object(api_version: &str, kind: &str, name: &str, rest: &Value) -> Object {
    let mut value =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}});
    for (field, it) in rest.as_object().unwrap() {
        value[field] = it.clone();
    }
    Object::parse(value).unwrap().unwrap()
}

fn gateway_api(kind: &str, name: &str, spec: &Value) -> Object {
    object("gateway.networking.k8s.io/v1", kind, name, &json!({"spec": spec}))
}

/// What the goldens are given: `copal`, `gw`, Services `a`, `b` and `c`, Secrets and a ConfigMap.
fn given() -> Snapshot {
    let given: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../../tests/golden/given.yaml")).unwrap();
    given.into_iter().filter_map(|it| Object::parse(it).unwrap()).collect()
}

fn config_map(name: &str, text: &str) -> Object {
    object("v1", "ConfigMap", name, &json!({"data": {"ca.crt": text}}))
}

fn route(name: &str, service: &str, gateways: &[&str]) -> Object {
    let parents: Vec<_> = gateways.iter().map(|name| json!({"name": name})).collect();
    let rules = json!([{"backendRefs": [{"name": service, "port": 80}]}]);
    gateway_api(
        "HTTPRoute",
        name,
        &json!({"parentRefs": parents, "rules": rules, "hostnames": [format!("{name}.test")]}),
    )
}

/// A policy of a certain age, 0 for the oldest, whose host name is its own name.
fn policy(name: &str, age: u8, target: (&str, &str), config_map: &str) -> Object {
    let (service, port) = target;
    let mut target = json!({"group": "", "kind": "Service", "name": service});
    if !port.is_empty() {
        target["sectionName"] = port.into();
    }
    let references = json!([{"group": "", "kind": "ConfigMap", "name": config_map}]);
    let spec =
        json!({"targetRefs": [target], "validation": {"hostname": name, "caCertificateRefs": references}});
    let mut value =
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "spec": spec});
    value["metadata"] = json!({
        "name": name, "namespace": "default", "creationTimestamp": format!("2024-01-01T00:00:0{age}Z"),
    });
    Object::parse(value).unwrap().unwrap()
}

fn matches(model: &Model) -> BTreeMap<String, Arc<RouteMatch>> {
    let hosts = model.ports.values().flatten();
    let matches = hosts.flat_map(|(host, it)| it.matches.iter().map(|it| (host.to_string(), it.clone())));
    matches.collect()
}

/// How the Service is spoken to that a route with this name goes to, or why it is not.
fn transport(model: &Model, route: &str) -> Result<Transport, String> {
    match &matches(model)[&format!("{route}.test")].rule.branches[0].outcome {
        Outcome::Forward(it) => Ok(it.backend.transport.clone()),
        Outcome::Fail(reason) => Err(reason.clone()),
        Outcome::Redirect(_) => panic!("a redirect"),
    }
}

fn with(objects: impl IntoIterator<Item = Object>) -> Snapshot {
    let mut snapshot = given();
    for it in objects {
        snapshot.insert(it);
    }
    snapshot
}

/// A policy's name, its age, and its target.
type Given = (&'static str, u8, (&'static str, &'static str));

#[test]
fn the_policy_that_holds_is_that_of_the_port_then_the_oldest_then_the_first_by_name() {
    let port = ("a", "http");
    let all = ("a", "");
    let cases: &[(&[Given], Option<&str>, &[&str])] = &[
        (&[], None, &[]),
        (&[("p", 0, all)], Some("p"), &[]),
        (&[("p", 0, ("b", ""))], None, &[]),
        (&[("p", 0, ("a", "other"))], None, &[]),
        (&[("p", 0, all), ("q", 1, port)], Some("q"), &[]),
        (&[("p", 0, ("a", "other")), ("q", 1, all)], Some("q"), &[]),
        (&[("p", 1, all), ("q", 0, all)], Some("q"), &["p"]),
        (&[("p", 1, all), ("q", 1, all)], Some("p"), &["q"]),
        (&[("p", 2, port), ("q", 1, port), ("r", 0, all)], Some("q"), &["p"]),
        (&[("p", 0, port), ("q", 1, port), ("r", 2, port)], Some("p"), &["q", "r"]),
    ];
    for (policies, holds, losers) in cases {
        let policies = policies.iter().map(|(name, age, target)| policy(name, *age, *target, "ca"));
        let snapshot = with(policies.chain([route("r", "a", &["gw"]), route("s", "b", &["gw"])]));
        let translation = translate(&snapshot, &Settings::default());
        let tls = transport(translation.shared_model(), "r").unwrap().tls;
        assert_eq!(tls.as_ref().map(|it| it.hostname.as_str()), *holds);
        let conflicted = |it: &BackendTlsPolicyReport| {
            it.ancestors.iter().any(|(_, it)| matches!(it, PolicyAccepted::Conflicted(_)))
        };
        let reports = translation.report.backend_tls_policies.iter();
        let lost: Vec<_> =
            reports.filter(|(_, it)| conflicted(it)).map(|(key, _)| key.name.as_str()).collect();
        assert_eq!(lost, *losers);
    }
}

#[test]
fn a_policy_becomes_what_is_asked_of_certificates() {
    let names = json!([{"type": "Hostname", "hostname": "b.test"}, {"type": "URI", "uri": "spiffe://x/y"}]);
    let references = json!([{"group": "", "kind": "ConfigMap", "name": "ca"}, {"group": "", "kind": "ConfigMap", "name": "nobody"}]);
    let service = json!([{"group": "", "kind": "Service", "name": "a"}]);
    let read = |validation: Value| {
        let policy =
            gateway_api("BackendTLSPolicy", "p", &json!({"targetRefs": service, "validation": validation}));
        let snapshot = with([policy, route("r", "a", &["gw"])]);
        transport(translate(&snapshot, &Settings::default()).shared_model(), "r").map(|it| it.tls.unwrap())
    };
    let tls = read(json!({"hostname": "a.test", "caCertificateRefs": references, "subjectAltNames": names}))
        .unwrap();
    let expected =
        [SubjectAltName::Dns(Hostname::new("b.test").unwrap()), SubjectAltName::Uri("spiffe://x/y".into())];
    assert_eq!((tls.hostname.as_str(), tls.names.as_slice()), ("a.test", &expected[..]));
    let authorities = tls.authorities.as_ref().unwrap();
    assert!(
        authorities.len() == 1
            && authorities[0].chain.starts_with(b"-----BEGIN")
            && authorities[0].key.is_empty()
    );
    let system = read(json!({"hostname": "a.test", "wellKnownCACertificates": "System"})).unwrap();
    assert_eq!((system.authorities.as_ref(), system.names.len()), (None, 0));
    for (validation, expected) in [
        (json!({"hostname": "A.test", "wellKnownCACertificates": "System"}), "hostname"),
        (json!({"hostname": "*.a.test", "wellKnownCACertificates": "System"}), "hostname"),
        (json!({"wellKnownCACertificates": "System"}), "missing field `hostname`"),
        (json!({"hostname": "a.test"}), "expected caCertificateRefs or wellKnownCACertificates"),
        (json!({"hostname": "a.test", "wellKnownCACertificates": ""}), "expected caCertificateRefs"),
        (json!({"hostname": "a.test", "wellKnownCACertificates": "x.test/y"}), "is not supported"),
        (
            json!({"hostname": "a.test", "wellKnownCACertificates": "System", "caCertificateRefs": references}),
            "exclude each other",
        ),
        (
            json!({"hostname": "a.test", "wellKnownCACertificates": "System", "subjectAltNames": [{"type": "URI"}]}),
            "subjectAltNames[0]: uri is missing",
        ),
        (
            json!({"hostname": "a.test", "wellKnownCACertificates": "System", "subjectAltNames": [{"type": "Hostname", "hostname": "*.test"}]}),
            "subjectAltNames[0]",
        ),
        (
            json!({"hostname": "a.test", "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "ca"}]}),
            "kind Secret",
        ),
    ] {
        let error = read(validation.clone()).unwrap_err();
        assert!(
            error.starts_with("BackendTLSPolicy default/p: ") && error.contains(expected),
            "{error}; {validation}"
        );
    }
}

#[test]
fn only_routes_of_the_services_concerned_are_read_again() {
    let mut snapshot = with([
        route("r", "a", &["gw"]),
        route("s", "b", &["gw"]),
        policy("p", 0, ("a", ""), "mine"),
        policy("q", 0, ("b", ""), "ca"),
    ]);
    let authority =
        snapshot.config_maps[&ObjectKey::new("default", "ca")].data.as_ref().unwrap()["ca.crt"].clone();
    let settings = Settings::default();
    let mut translator = Translator::default();
    let mut before = matches(translator.translate(&snapshot, &settings).shared_model());
    assert!(before["r.test"].rule.branches[0].outcome != before["s.test"].rule.branches[0].outcome);
    for (change, again) in [
        (config_map("nobodys", "x"), &[][..]),
        (config_map("mine", &authority), &["r.test"]),
        (config_map("mine", ""), &["r.test"]),
        (policy("p", 1, ("a", ""), "ca"), &["r.test"]),
        (policy("p", 1, ("b", ""), "ca"), &["r.test", "s.test"]),
        (policy("x", 0, ("c", ""), "ca"), &[]),
        (config_map("ca", ""), &["s.test"]),
        (route("other", "a", &["gw"]), &[]),
    ] {
        let id = change.id();
        snapshot.insert(change);
        let translation = translator.translate(&snapshot, &settings);
        assert_eq!(translation.models, translate(&snapshot, &settings).models);
        let now = matches(translation.shared_model());
        let read: Vec<_> =
            before.iter().filter(|(host, it)| !Arc::ptr_eq(it, &now[*host])).map(|(host, _)| host).collect();
        assert_eq!(read, again, "{id}");
        before = now;
    }
}

fn gateway(name: &str, secret: &str) -> Object {
    let spec = json!({
        "gatewayClassName": "copal", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        "tls": {"backend": {"clientCertificateRef": {"name": secret}}},
    });
    gateway_api("Gateway", name, &spec)
}

#[test]
fn each_gateway_shows_its_own_certificate_and_is_an_ancestor() {
    let snapshot = with([
        gateway("one", "one"),
        gateway("two", "two"),
        route("r", "a", &["gw", "one", "two", "nobody"]),
        route("s", "b", &["one"]),
        policy("p", 0, ("a", ""), "ca"),
        policy("q", 0, ("b", ""), "ca"),
    ]);
    let settings = Settings { addressing: Addressing::PerGateway, ..Settings::default() };
    let translation = translate(&snapshot, &settings);
    let model = |name| &translation.models[&ObjectKey::new("default", name)];
    let certificate = |name| model(name).client_certificate.as_ref();
    assert!(certificate("gw").is_none() && certificate("one").is_some() && certificate("two").is_some());
    assert_ne!(certificate("one"), certificate("two"));
    let tls = ["gw", "one", "two"].map(|name| transport(model(name), "r").unwrap().tls.unwrap());
    assert!(tls.iter().all(|it| Arc::ptr_eq(it, &tls[0])), "a route is read once for all Gateways");
    assert_eq!(ancestors(&translation, "p"), ["gw", "one", "two"]);
    assert_eq!(ancestors(&translation, "q"), ["one"]);
}

fn ancestors<'a>(translation: &'a Translation, policy: &str) -> Vec<&'a str> {
    let report = &translation.report.backend_tls_policies[&ObjectKey::new("default", policy)];
    report.ancestors.iter().map(|(gateway, _)| gateway.name.as_str()).collect()
}
