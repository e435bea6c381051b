//! The CustomResourceDefinitions of Copal's own resources.

use kube::CustomResourceExt as _;
use serde_json::Value;

use super::logging_policy::VarnishLoggingPolicy;
use super::parameters::GatewayClassParameters;

/// The schema of `spec` in a CustomResourceDefinition.
const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";

/// Fields of Kubernetes' own types. Its documentation says what they mean; here it would be nine tenths of the text.
const KUBERNETES: &[&str] = &[
    "/properties/extraVolumes",
    "/properties/extraVolumeMounts",
    "/properties/resources",
    "/properties/scheduling/properties/affinity",
    "/properties/scheduling/properties/tolerations",
    "/properties/scheduling/properties/topologySpreadConstraints",
];

/// A CustomResourceDefinition.
#[derive(Clone, Debug, PartialEq)]
pub struct Crd {
    /// Its name, as in `varnishloggingpolicies.copal.dev`.
    pub name: String,
    /// All of it, as it is applied.
    pub value: Value,
}

/// All of them, by name.
#[must_use]
pub fn all() -> Vec<Crd> {
    // Plain data always has a JSON form.
    let json = |crd| serde_json::to_value(crd).unwrap_or_default();
    [GatewayClassParameters::crd(), VarnishLoggingPolicy::crd()].map(|it| Crd::new(json(it))).into()
}

impl Crd {
    fn new(mut value: Value) -> Self {
        without_nullable(&mut value);
        for field in KUBERNETES {
            if let Some(schema) = value.pointer_mut(&format!("{SPEC}{field}")) {
                without_descriptions(schema, true);
            }
        }
        let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        Self { name: name.to_owned(), value }
    }

    /// The schema of `spec`.
    pub(super) fn spec_schema(&self) -> Option<&Value> {
        self.value.pointer(SPEC)
    }
}

/// Takes the descriptions out of all schemas below one, and keeps its own. What is called `description` in
/// `properties` is a field.
fn without_descriptions(schema: &mut Value, keep: bool) {
    let Some(fields) = schema.as_object_mut() else { return };
    if !keep {
        fields.remove("description");
    }
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|it| without_descriptions(it, false));
            }
            ("items" | "additionalProperties", it) => without_descriptions(it, false),
            _ => {}
        }
    }
}

/// A field without a value is an absent field: the API server drops it if the schema does not say `nullable`, and
/// rules need not ask for it.
fn without_nullable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(without_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nullable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
