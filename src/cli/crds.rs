//! `copal crds`: the CustomResourceDefinitions of Copal's own resources, out of their Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::api::logging_policy::VarnishLoggingPolicy;
use crate::api::parameters::GatewayClassParameters;

/// Each CRD: the name of its file, and its YAML.
///
/// # Errors
/// When a CRD cannot be written as YAML.
pub fn crds() -> Result<Vec<(&'static str, String)>, String> {
    let mut policy = VarnishLoggingPolicy::crd();
    // GEP-713: tells tools that it is a policy, attached directly.
    let label = ("gateway.networking.k8s.io/policy".to_owned(), "Direct".to_owned());
    policy.metadata.labels.get_or_insert_default().extend([label]);
    let all = [
        ("gatewayclassparameters.yaml", GatewayClassParameters::crd()),
        ("varnishloggingpolicies.yaml", policy),
    ];
    all.into_iter().map(|(file, crd)| Ok((file, yaml(&crd)?))).collect()
}

fn yaml(crd: &CustomResourceDefinition) -> Result<String, String> {
    let mut value = serde_json::to_value(crd).map_err(|error| error.to_string())?;
    shorten(&mut value);
    serde_saphyr::to_string(&value).map_err(|error| error.to_string())
}

/// Drops the descriptions of Kubernetes' own types, which are longer than all the rest: they begin below the fields
/// that hold them.
fn shorten(value: &mut Value) {
    const KUBERNETES_TYPES: [&str; 7] = [
        "affinity",
        "extraVolumes",
        "extraVolumeMounts",
        "resources",
        "tolerations",
        "topologySpreadConstraints",
        "conditions",
    ];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if KUBERNETES_TYPES.contains(&name.as_str()) {
                    for below in ["properties", "items"] {
                        field.get_mut(below).into_iter().for_each(undescribe);
                    }
                } else {
                    shorten(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn undescribe(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A property may itself be called `description`: only texts are dropped.
            fields.retain(|name, field| name != "description" || !field.is_string());
            fields.values_mut().for_each(undescribe);
        }
        Value::Array(items) => items.iter_mut().for_each(undescribe),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_files_in_crds_are_these() {
        for (file, yaml) in crds().unwrap() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file);
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == yaml, "{} is not what the types say: make crds", path.display());
        }
    }
}
