//! Goldens of what a data plane is made of in a cluster: a folder below `tests/infra/` is named for what it shows, and
//! holds a Gateway's data plane (`in.yaml`) and the objects that it becomes (`out.yaml`).
//!
//! `COPAL_UPDATE_GOLDENS=1 cargo test --test infra` writes them anew, to be read before they are committed; with
//! `CI=true` it refuses to.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use copal::api::parameters::{Autoscaling, GatewayClassParametersSpec, ServiceParameters, ServiceType};
use copal::infra::{Settings, belongs_to, desired, names, unwanted};
use copal::snapshot::ObjectKey;
use copal::translate::data_plane::DataPlane;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A Gateway's data plane, as a golden has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    gateway: String,
    class: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    http_ports: BTreeSet<u16>,
    #[serde(default)]
    tls_ports: BTreeSet<u16>,
    #[serde(default)]
    parameters: GatewayClassParametersSpec,
}

impl Input {
    fn objects(self) -> Vec<DynamicObject> {
        let (namespace, name) = self.gateway.split_once('/').unwrap();
        let plane = DataPlane {
            uid: "01234567-89ab-cdef-0123-456789abcdef".into(),
            class: self.class,
            labels: self.labels,
            annotations: self.annotations,
            addresses: self.addresses,
            http_ports: self.http_ports,
            tls_ports: self.tls_ports,
            parameters: self.parameters,
            logging: None,
        };
        desired(&ObjectKey::new(namespace, name), &plane, &settings())
    }
}

fn settings() -> Settings {
    Settings { image: "docker.io/copal/data-plane:0.1.0".into() }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/infra");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn objects(case: &Path) -> Vec<DynamicObject> {
    let text = fs::read_to_string(case.join("in.yaml")).unwrap();
    let input: Input = serde_saphyr::from_str(&text).unwrap_or_else(|it| panic!("{}: {it}", case.display()));
    input.objects()
}

fn yaml(objects: &[DynamicObject]) -> String {
    let texts: Vec<_> = objects
        .iter()
        .map(|it| serde_saphyr::to_string(&serde_json::to_value(it).unwrap()).unwrap())
        .collect();
    texts.join("---\n")
}

/// Whether to write the goldens. Never where nobody reads them.
fn update() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    let update = is("COPAL_UPDATE_GOLDENS", "1");
    assert!(!(update && is("CI", "true")), "COPAL_UPDATE_GOLDENS=1 is refused where CI=true");
    update
}

#[test]
fn data_planes_become_the_objects_that_are_here() {
    let (update, cases) = (update(), cases());
    assert!(cases.len() >= 7, "goldens are missing");
    for case in &cases {
        let (path, now) = (case.join("out.yaml"), yaml(&objects(case)));
        if update {
            fs::write(&path, &now).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        let differs = golden.lines().zip(now.lines()).position(|(golden, now)| golden != now);
        let line = differs.unwrap_or_else(|| golden.lines().count().min(now.lines().count())) + 1;
        assert!(golden == now, "{} is not as it was, from line {line} on; now:\n{now}", path.display());
    }
}

/// The object is nothing but what its type says.
fn is_whole<T: DeserializeOwned + Serialize>(object: &DynamicObject) {
    let value = serde_json::to_value(object).unwrap();
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), value);
}

#[test]
fn objects_are_of_the_types_that_they_name() {
    for object in cases().iter().flat_map(|case| objects(case)) {
        let types = object.types.clone().unwrap();
        match (types.api_version.as_str(), types.kind.as_str()) {
            ("v1", "ServiceAccount") => is_whole::<ServiceAccount>(&object),
            ("v1", "Service") => is_whole::<Service>(&object),
            ("rbac.authorization.k8s.io/v1", "Role") => is_whole::<Role>(&object),
            ("rbac.authorization.k8s.io/v1", "RoleBinding") => is_whole::<RoleBinding>(&object),
            ("apps/v1", "Deployment") => is_whole::<Deployment>(&object),
            ("policy/v1", "PodDisruptionBudget") => is_whole::<PodDisruptionBudget>(&object),
            ("autoscaling/v2", "HorizontalPodAutoscaler") => is_whole::<HorizontalPodAutoscaler>(&object),
            other => panic!("{other:?}"),
        }
    }
}

/// What the API server would change in an object that was applied would be applied again for ever.
#[test]
fn nothing_is_set_to_null_or_to_nothing() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Null => panic!("{path} is null"),
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| check(value, &format!("{path}.{key}")));
            }
            Value::Array(items) => items.iter().for_each(|value| check(value, path)),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    for object in cases().iter().flat_map(|case| objects(case)) {
        check(&serde_json::to_value(&object).unwrap(), "");
    }
}

fn plane(parameters: GatewayClassParametersSpec) -> DataPlane {
    let http_ports = BTreeSet::from([80]);
    DataPlane { uid: "u".into(), class: "copal".into(), http_ports, parameters, ..DataPlane::default() }
}

fn gateway() -> ObjectKey {
    ObjectKey::new("shop", "web")
}

fn find(plane: &DataPlane, kind: &str) -> Option<Value> {
    let all = desired(&gateway(), plane, &settings()).into_iter();
    let mut of_kind = all.filter(|it| it.types.as_ref().unwrap().kind == kind);
    of_kind.next().map(|it| serde_json::to_value(it).unwrap())
}

#[test]
fn the_selector_does_not_depend_on_what_may_change() {
    let selector = |plane: &DataPlane| {
        let deployment = find(plane, "Deployment").unwrap();
        let (selector, labels) = (
            &deployment["spec"]["selector"]["matchLabels"],
            &deployment["spec"]["template"]["metadata"]["labels"],
        );
        for (label, value) in selector.as_object().unwrap() {
            assert_eq!(&labels[label], value, "pods are not selected");
        }
        assert_eq!(find(plane, "Service").unwrap()["spec"]["selector"], *selector);
        selector.clone()
    };
    let before = plane(GatewayClassParametersSpec::default());
    let labels = [("team", "shop"), (names::GATEWAY_LABEL, "x"), (names::NAME_LABEL, "x")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let after = DataPlane { labels, class: "another".into(), ..before.clone() };
    assert_eq!(selector(&before), selector(&after));
}

#[test]
fn listeners_and_replicas_take_no_new_pods() {
    let template = |plane: &DataPlane| find(plane, "Deployment").unwrap()["spec"]["template"].clone();
    let before = plane(GatewayClassParametersSpec::default());
    let tls = DataPlane { tls_ports: [443].into(), ..before.clone() };
    let http = DataPlane { http_ports: [80, 81].into(), ..before.clone() };
    let scaled = plane(GatewayClassParametersSpec { replicas: Some(4), ..Default::default() });
    assert_eq!(template(&before), template(&tls));
    assert_eq!(template(&before), template(&scaled));
    assert_eq!(template(&before), template(&http));
    let image = plane(GatewayClassParametersSpec { image: Some("another".into()), ..Default::default() });
    assert_ne!(template(&before), template(&image));
}

#[test]
fn what_earlier_parameters_led_to_is_unwanted() {
    let kinds = |parameters| -> Vec<String> {
        let unwanted = unwanted(&gateway(), &plane(parameters)).into_iter();
        unwanted
            .map(|it| {
                assert_eq!(it.metadata.name.as_deref(), Some("web-copal"));
                assert_eq!(it.metadata.namespace.as_deref(), Some("shop"));
                it.types.unwrap().kind
            })
            .collect()
    };
    let one = GatewayClassParametersSpec::default();
    let three = GatewayClassParametersSpec { replicas: Some(3), ..one.clone() };
    let autoscaling = Some(Autoscaling { max_replicas: 2, ..Autoscaling::default() });
    let scaled = GatewayClassParametersSpec { autoscaling, ..one.clone() };
    assert_eq!(kinds(one), ["PodDisruptionBudget", "HorizontalPodAutoscaler"]);
    assert_eq!(kinds(three), ["HorizontalPodAutoscaler"]);
    assert_eq!(kinds(scaled), [""; 0]);
    let nowhere = DataPlane { http_ports: BTreeSet::new(), ..plane(GatewayClassParametersSpec::default()) };
    assert_eq!(unwanted(&gateway(), &nowhere), []);
}

#[test]
fn only_what_the_gateway_owns_belongs_to_its_data_plane() {
    let plane = plane(GatewayClassParametersSpec::default());
    for object in desired(&gateway(), &plane, &settings()) {
        assert!(belongs_to(&object.metadata, &plane.uid));
        assert!(!belongs_to(&object.metadata, "another"));
    }
    let unowned = DynamicObject { types: None, metadata: ObjectMeta::default(), data: Value::Null };
    assert!(!belongs_to(&unowned.metadata, ""));
}

#[test]
fn a_service_that_is_no_load_balancer_has_nothing_of_one() {
    for (type_, policy) in [(ServiceType::ClusterIP, None), (ServiceType::NodePort, Some("Local"))] {
        let service = Some(ServiceParameters {
            type_: Some(type_),
            load_balancer_class: Some("example.com/lb".into()),
            external_traffic_policy: Some(copal::api::parameters::TrafficPolicy::Local),
            ..ServiceParameters::default()
        });
        let plane = DataPlane {
            addresses: vec!["192.0.2.7".parse().unwrap()],
            ..plane(GatewayClassParametersSpec { service, ..Default::default() })
        };
        let spec = find(&plane, "Service").unwrap()["spec"].clone();
        assert!(spec.get("loadBalancerClass").is_none() && spec.get("loadBalancerIP").is_none(), "{spec}");
        assert_eq!(spec.get("externalTrafficPolicy").and_then(Value::as_str), policy);
    }
}
