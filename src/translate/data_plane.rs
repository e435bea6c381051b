//! What a Gateway's data plane is, besides what its routes make it do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gateway_api::experimental::gateways::Gateway;

use super::listeners::Parent;
use super::logging::{Policies, logging};
use super::parameters::{Parameters, Resolved};
use super::{Addressing, Settings};
use crate::api::parameters::GatewayClassParametersSpec;
use crate::bundle::logging::Logging;
use crate::model::{Certificate, ObjectKey, Scheme, UserVcl};
use crate::snapshot::Snapshot;

/// The data plane of one Gateway that is accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPlane {
    /// `metadata.uid` of the Gateway, for owner references.
    pub uid: String,
    /// The name of its GatewayClass.
    pub class: String,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Addresses of `spec.addresses` that have a value and are IP addresses, in their order.
    pub addresses: Vec<IpAddr>,
    /// Ports on which Varnish itself listens.
    pub http_ports: BTreeSet<u16>,
    /// Ports on which the relay takes TLS.
    pub tls_ports: BTreeSet<u16>,
    /// The class's parameters, overridden by the Gateway's own.
    pub parameters: GatewayClassParametersSpec,
    /// The access log; none if there is to be none.
    pub logging: Option<Logging>,
}

/// All that data planes are made from.
pub(super) struct Planes<'a> {
    pub snapshot: &'a Snapshot,
    pub settings: &'a Settings,
    pub parents: &'a [Parent],
    pub parameters: &'a Parameters,
    pub policies: &'a Policies<'a>,
}

impl Planes<'_> {
    /// The data planes, by Gateway. A Gateway without a port has none: there is nothing to listen on.
    pub(super) fn all(&self) -> BTreeMap<ObjectKey, DataPlane> {
        match self.settings.addressing {
            Addressing::Shared => [(ObjectKey::default(), self.shared())].into(),
            Addressing::PerGateway => {
                let keys = self.gateways(None).filter_map(|(key, it)| Some((key, self.of(key, it)?)));
                keys.map(|(key, it)| (key.clone(), it)).collect()
            }
        }
    }

    /// The VCL of the user's own for a data plane. Where Gateways share it, the oldest that has some has its way.
    pub(super) fn user_vcl(&self, plane: &ObjectKey) -> Option<&UserVcl> {
        self.gateways(Some(plane)).find_map(|(_, it)| it.user_vcl.as_ref())
    }

    /// What a data plane shows to backends. Where Gateways share it, the oldest that has something has its way.
    pub(super) fn client_certificate(&self, plane: &ObjectKey) -> Option<&Arc<Certificate>> {
        let mut parents = self.parents.iter().filter(|it| it.served && it.plane == *plane);
        parents.find_map(|it| it.client_certificate.as_ref())
    }

    /// Gateways that are served, the oldest first, with their parameters.
    fn gateways(&self, plane: Option<&ObjectKey>) -> impl Iterator<Item = (&ObjectKey, &Resolved)> {
        let parents = self.parents.iter().filter(|it| it.kind == "Gateway" && it.served);
        let parents = parents.filter(move |it| plane.is_none_or(|plane| it.plane == *plane));
        parents.filter_map(|it| Some((&it.key, self.parameters.of_gateway(&it.key)?.as_ref().ok()?)))
    }

    fn of(&self, key: &ObjectKey, parameters: &Resolved) -> Option<DataPlane> {
        let gateway = self.snapshot.gateways.get(key)?;
        let (http_ports, tls_ports) = self.ports(key);
        let infrastructure = gateway.spec.infrastructure.as_ref();
        let plane = DataPlane {
            uid: gateway.metadata.uid.clone().unwrap_or_default(),
            class: gateway.spec.gateway_class_name.clone(),
            labels: infrastructure.and_then(|it| it.labels.clone()).unwrap_or_default(),
            annotations: infrastructure.and_then(|it| it.annotations.clone()).unwrap_or_default(),
            addresses: addresses(gateway),
            http_ports,
            tls_ports,
            parameters: parameters.spec.clone(),
            logging: logging(parameters.spec.logging.as_ref(), self.policies.of(key)),
        };
        (!plane.http_ports.is_empty() || !plane.tls_ports.is_empty()).then_some(plane)
    }

    /// The oldest Gateway that says something of logging has its way.
    fn shared(&self) -> DataPlane {
        let (http_ports, tls_ports) = self.ports(&ObjectKey::default());
        let said = self.gateways(None).map(|(key, it)| (it.spec.logging.as_ref(), self.policies.of(key)));
        let mut said = said.filter(|(defaults, policy)| defaults.is_some() || policy.is_some());
        let logging = said.next().and_then(|(defaults, policy)| logging(defaults, policy));
        DataPlane { http_ports, tls_ports, logging, ..DataPlane::default() }
    }

    /// The ports of a data plane's listeners: those of Varnish, and those of the relay.
    fn ports(&self, plane: &ObjectKey) -> (BTreeSet<u16>, BTreeSet<u16>) {
        let parents = self.parents.iter().filter(|it| it.served && it.plane == *plane);
        let listeners = parents.flat_map(|it| &it.listeners);
        let served = listeners.filter_map(|it| Some((it.scheme, it.served_port()?)));
        let (tls, http): (Vec<_>, Vec<_>) = served.partition(|(scheme, _)| *scheme == Scheme::Https);
        let numbers = |ports: Vec<(Scheme, u16)>| ports.into_iter().map(|(_, port)| port).collect();
        (numbers(http), numbers(tls))
    }
}

/// An entry without a value leaves the choice of an address to whoever assigns it.
fn addresses(gateway: &Gateway) -> Vec<IpAddr> {
    let values = gateway.spec.addresses.iter().flatten().filter_map(|it| it.value.as_deref());
    values.filter_map(|it| it.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::logging::Format;
    use crate::snapshot::Object;
    use crate::translate::translate;
    use serde_json::{Value, json};

    fn object(kind: &str, name: &str, spec: &Value) -> Object {
        let version = match kind {
            "GatewayClassParameters" | "VarnishLoggingPolicy" => "copal.dev/v1alpha1",
            "ConfigMap" => "v1",
            _ => "gateway.networking.k8s.io/v1",
        };
        let metadata = json!({"name": name, "namespace": "n", "uid": format!("uid-{name}")});
        let value = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "data": spec["data"]});
        Object::parse(value).unwrap().unwrap()
    }

    fn gateway(name: &str, ports: &[u16], spec: &Value) -> Object {
        let listeners: Vec<_> = ports
            .iter()
            .map(|it| json!({"name": format!("p{it}"), "port": it, "protocol": "HTTP"}))
            .collect();
        let mut all = json!({"gatewayClassName": "copal", "listeners": listeners});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object("Gateway", name, &all)
    }

    /// A class with parameters, a Gateway with some of its own and a policy, and Gateways without a data plane.
    fn snapshot() -> Snapshot {
        let class = json!({"controllerName": crate::translate::CONTROLLER_NAME, "parametersRef":
            {"group": "copal.dev", "kind": "GatewayClassParameters", "name": "all", "namespace": "n"}});
        let all = json!({"replicas": 2, "image": "x:1", "vcl": {"configMapRef": {"name": "vcl"}}});
        let own = json!({"image": "x:2", "logging": {"enabled": true}});
        let reference = json!({"group": "copal.dev", "kind": "GatewayClassParameters", "name": "own"});
        let infrastructure =
            json!({"labels": {"l": "1"}, "annotations": {"a": "1"}, "parametersRef": reference});
        let addresses =
            json!([{"value": "10.0.0.1"}, {"type": "Hostname"}, {"type": "IPAddress", "value": "fd00::1"}]);
        let nothing = json!({"infrastructure": {"parametersRef": {"group": "copal.dev", "kind": "GatewayClassParameters", "name": "nothing"}}});
        let targets = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "b"}]);
        let set = json!({"parentRef": {"name": "b"}, "listeners": [{"name": "more", "port": 8080, "protocol": "HTTP"}]});
        let objects = [
            object("GatewayClass", "copal", &class),
            object("GatewayClassParameters", "all", &all),
            object("GatewayClassParameters", "own", &own),
            object("ConfigMap", "vcl", &json!({"data": {"main.vcl": "# all"}})),
            gateway("a", &[80], &json!({})),
            gateway(
                "b",
                &[80, 81],
                &json!({"infrastructure": infrastructure, "addresses": addresses, "allowedListeners": {"namespaces": {"from": "Same"}}}),
            ),
            gateway("invalid", &[80], &nothing),
            gateway("empty", &[], &json!({})),
            object("ListenerSet", "set", &set),
            object("VarnishLoggingPolicy", "log", &json!({"targetRefs": targets, "format": {"ncsa": "%h"}})),
        ];
        objects.into_iter().collect()
    }

    #[test]
    fn each_gateway_that_is_accepted_has_a_data_plane_of_its_own() {
        let settings = Settings { addressing: Addressing::PerGateway, ..Settings::default() };
        let translation = translate(&snapshot(), &settings);
        let (a, b) = (ObjectKey::new("n", "a"), ObjectKey::new("n", "b"));
        assert_eq!(translation.planes.keys().collect::<Vec<_>>(), [&a, &b]);
        let expected = DataPlane {
            uid: "uid-b".into(),
            class: "copal".into(),
            labels: [("l".to_owned(), "1".to_owned())].into(),
            annotations: [("a".to_owned(), "1".to_owned())].into(),
            addresses: ["10.0.0.1", "fd00::1"].map(|it| it.parse().unwrap()).into(),
            http_ports: [80, 81, 8080].into(),
            tls_ports: BTreeSet::new(),
            parameters: serde_json::from_value(json!({
                "replicas": 2, "image": "x:2", "logging": {"enabled": true}, "vcl": {"configMapRef": {"name": "vcl"}},
            }))
            .unwrap(),
            logging: Some(Logging { format: Format::Ncsa("%h".into()), ..Logging::default() }),
        };
        assert_eq!(translation.planes[&b], expected);
        assert_eq!(
            (translation.planes[&a].parameters.image.as_deref(), &translation.planes[&a].logging),
            (Some("x:1"), &None)
        );
        for plane in [&a, &b] {
            let user_vcl = translation.models[plane].user_vcl.as_ref().unwrap();
            assert_eq!((user_vcl.config_map.to_string(), &*user_vcl.text), ("n/vcl".to_owned(), "# all"));
        }
    }

    #[test]
    fn a_shared_data_plane_has_all_ports_and_the_words_of_the_first_that_says_something() {
        let translation = translate(&snapshot(), &Settings::default());
        let plane = &translation.planes[&ObjectKey::default()];
        assert_eq!(plane.http_ports, [80, 81, 8080].into());
        assert_eq!(translation.shared_logging().map(|it| &it.format), Some(&Format::Ncsa("%h".into())));
        assert!(translation.shared_model().user_vcl.is_some());
    }
}
