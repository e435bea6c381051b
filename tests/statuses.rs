//! What the conditions say while Varnish does not (yet) serve what was translated. What they say of the resources
//! themselves is in the goldens.
#![cfg(test)]

use copal::snapshot::{Object, Snapshot};
use copal::standalone::output;
use copal::status::{self, Context, Programmed};
use copal::translate::{Settings, translate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

const GROUP: &str = "gateway.networking.k8s.io/v1";

fn object(kind: &str, name: &str, spec: &Value) -> Object {
    let metadata = json!({"name": name, "namespace": "default", "generation": 3});
    let value = json!({"apiVersion": GROUP, "kind": kind, "metadata": metadata, "spec": spec});
    Object::parse(value).unwrap().unwrap()
}

/// A Gateway with a valid and an invalid listener, a ListenerSet and a route.
fn snapshot() -> Snapshot {
    let listener =
        |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    let gateway = json!({
        "gatewayClassName": "copal",
        "allowedListeners": {"namespaces": {"from": "Same"}},
        "listeners": [listener("http", 80, "HTTP"), listener("udp", 53, "UDP")],
    });
    let set = json!({"parentRef": {"name": "gw"}, "listeners": [listener("alt", 8080, "HTTP")]});
    let objects = [
        object("GatewayClass", "copal", &json!({"controllerName": copal::translate::CONTROLLER_NAME})),
        object("Gateway", "gw", &gateway),
        object("ListenerSet", "set", &set),
        object("HTTPRoute", "r", &json!({"parentRefs": [{"name": "gw"}]})),
    ];
    objects.into_iter().collect()
}

/// Every `Programmed` condition, as `object listener status reason message`.
fn programmed(programmed: Programmed) -> Vec<String> {
    let settings = Settings::default();
    let report = translate(&snapshot(), &settings).report;
    let now = serde_json::from_value::<Time>("1970-01-01T00:00:00Z".into()).unwrap();
    let context = Context::shared(programmed, vec!["127.0.0.1".into()], now);
    let statuses = output::objects(&status::build(&report, &settings, &context));
    let all = statuses.iter().flat_map(output::conditions);
    let all = all.filter(|it| it.name.ends_with("Programmed"));
    all.map(|it| format!("{} {} {} {} {}", it.object, it.name, it.status, it.reason, it.message)).collect()
}

#[test]
fn nothing_is_programmed_before_varnish_serves_it() {
    let udp = "Gateway default/gw udp: Programmed False Invalid protocol UDP is not supported; expected HTTP, HTTPS or TLS";
    let yes = "True Programmed Varnish serves this configuration";
    for (given, said) in [
        (Programmed::Yes, yes),
        (Programmed::Pending("waiting for Varnish".into()), "False Pending waiting for Varnish"),
        (Programmed::Failed("s.vcl line 3: no".into()), "False Invalid s.vcl line 3: no"),
    ] {
        let expected = [
            format!("Gateway default/gw Programmed {said}"),
            format!("Gateway default/gw http: Programmed {said}"),
            udp.to_owned(),
            format!("ListenerSet default/set Programmed {said}"),
            format!("ListenerSet default/set alt: Programmed {said}"),
        ];
        assert_eq!(programmed(given), expected);
    }
}
