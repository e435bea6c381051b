//! The CustomResourceDefinitions of Copal's own resources.

use kube::CustomResourceExt as _;
use serde_json::Value;

use super::logging_policy::VarnishLoggingPolicy;
use super::parameters::GatewayClassParameters;

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
        let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        Self { name: name.to_owned(), value }
    }

    /// The schema of `spec`.
    pub(super) fn spec_schema(&self) -> Option<&Value> {
        self.value.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
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
