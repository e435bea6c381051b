//! Which ConfigMaps of a cluster matter to the translation.

use std::collections::BTreeSet;

use gateway_api::experimental::gateways::GatewayTlsFrontend;

use super::backend_tls;
use crate::model::ObjectKey;
use crate::snapshot::Snapshot;

/// Whether anything names a ConfigMap. All others change often and mean nothing.
#[must_use]
pub fn names_config_map(snapshot: &Snapshot, key: &ObjectKey) -> bool {
    let parameters = snapshot.parameters.iter().filter(|(it, _)| it.namespace == key.namespace);
    let mut user_vcl = parameters.filter_map(|(_, it)| it.spec.vcl.as_ref());
    let only: BTreeSet<_> = [key].into();
    let mut policies = snapshot.backend_tls_policies.iter();
    let mut gateways = snapshot.gateways.iter();
    user_vcl.any(|it| it.config_map_ref.name == key.name)
        || policies.any(|(policy, it)| backend_tls::names_any(policy, it, &only))
        || gateways.any(|(gateway, it)| {
            let frontend = it.spec.tls.as_ref().and_then(|it| it.frontend.as_ref());
            frontend.is_some_and(|it| validates_with(it, &gateway.namespace, key))
        })
}

/// Whether clients of a Gateway have to show certificates by authorities in a ConfigMap.
fn validates_with(it: &GatewayTlsFrontend, home: &str, key: &ObjectKey) -> bool {
    let names =
        |namespace: Option<&str>, name: &str| namespace.unwrap_or(home) == key.namespace && name == key.name;
    let default = it.default.validation.iter().flat_map(|it| &it.ca_certificate_refs);
    let ports = it.per_port.iter().flatten().filter_map(|it| it.tls.validation.as_ref());
    let mut ports = ports.flat_map(|it| &it.ca_certificate_refs);
    default.into_iter().any(|it| names(it.namespace.as_deref(), &it.name))
        || ports.any(|it| names(it.namespace.as_deref(), &it.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Object;
    use serde_json::{Value, json};

    fn object(api_version: &str, kind: &str, spec: &Value) -> Object {
        let metadata = json!({"name": "x", "namespace": "n"});
        let value = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        Object::parse(value).unwrap().unwrap()
    }

    #[test]
    fn only_what_is_named_matters() {
        let reference = |name: &str| json!([{"group": "", "kind": "ConfigMap", "name": name}]);
        let validation = |name: &str| json!({"caCertificateRefs": reference(name)});
        let other = json!([{"group": "", "kind": "ConfigMap", "name": "other", "namespace": "o"}]);
        let frontend = json!({
            "default": {"validation": validation("default")},
            "perPort": [{"port": 443, "tls": {"validation": {"caCertificateRefs": other}}}],
        });
        let gateway = json!({"gatewayClassName": "c", "listeners": [], "tls": {"frontend": frontend}});
        let policy = json!({"targetRefs": [], "validation": {"hostname": "a.test", "caCertificateRefs": reference("ca")}});
        let parameters = json!({"vcl": {"configMapRef": {"name": "vcl"}}});
        let objects = [
            object("gateway.networking.k8s.io/v1", "Gateway", &gateway),
            object("gateway.networking.k8s.io/v1", "BackendTLSPolicy", &policy),
            object("copal.dev/v1alpha1", "GatewayClassParameters", &parameters),
        ];
        let snapshot: Snapshot = objects.into_iter().collect();
        for (namespace, name, expected) in [
            ("n", "default", true),
            ("n", "ca", true),
            ("n", "vcl", true),
            ("o", "other", true),
            ("o", "ca", false),
            ("n", "other", false),
            ("n", "leader-election", false),
        ] {
            let key = ObjectKey::new(namespace, name);
            assert_eq!(names_config_map(&snapshot, &key), expected, "{key}");
        }
    }
}
