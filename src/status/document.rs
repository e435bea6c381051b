//! Statuses as documents and as a table.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::{Value, json};

use super::Statuses;
use crate::model::ObjectKey;
use crate::snapshot::GATEWAY_GROUP;

/// One condition, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// The object's kind.
    pub kind: &'static str,
    /// The object.
    pub key: &'a ObjectKey,
    /// The listener or parent that the condition is about, if it is not about the whole object.
    pub part: Option<String>,
    /// The condition.
    pub condition: &'a Condition,
}

impl Row<'_> {
    /// Whether the condition says that something is not as it was asked for.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        let good = if matches!(self.condition.type_.as_str(), "Conflicted" | "PartiallyInvalid") {
            "False"
        } else {
            "True"
        };
        self.condition.status != good
    }
}

impl Statuses {
    /// One document for each object, with the status that the cluster would show.
    #[must_use]
    pub fn documents(&self) -> Vec<Value> {
        let mut documents = Vec::new();
        documents.extend(self.classes.iter().map(|(key, it)| document("GatewayClass", key, it)));
        documents.extend(self.gateways.iter().map(|(key, it)| document("Gateway", key, it)));
        documents.extend(self.listener_sets.iter().map(|(key, it)| document("ListenerSet", key, it)));
        documents.extend(self.routes.iter().map(|(key, it)| document("HTTPRoute", key, it)));
        documents
    }

    /// All conditions, by object.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for (key, it) in &self.classes {
            rows.extend(of("GatewayClass", key, None, it.conditions.iter().flatten()));
        }
        for (key, it) in &self.gateways {
            rows.extend(of("Gateway", key, None, it.conditions.iter().flatten()));
            for listener in it.listeners.iter().flatten() {
                rows.extend(of("Gateway", key, Some(&listener.name), &listener.conditions));
            }
        }
        for (key, it) in &self.listener_sets {
            rows.extend(of("ListenerSet", key, None, it.conditions.iter().flatten()));
            for listener in it.listeners.iter().flatten() {
                rows.extend(of("ListenerSet", key, Some(&listener.name), &listener.conditions));
            }
        }
        for (key, it) in &self.routes {
            for parent in &it.parents {
                rows.extend(of("HTTPRoute", key, Some(&parent.parent_ref.name), &parent.conditions));
            }
        }
        rows
    }
}

fn of<'a>(
    kind: &'static str,
    key: &'a ObjectKey,
    part: Option<&str>,
    conditions: impl IntoIterator<Item = &'a Condition>,
) -> Vec<Row<'a>> {
    let part = part.map(str::to_owned);
    conditions.into_iter().map(|condition| Row { kind, key, part: part.clone(), condition }).collect()
}

fn document(kind: &str, key: &ObjectKey, status: &impl Serialize) -> Value {
    let mut metadata = json!({ "name": key.name });
    if !key.namespace.is_empty() {
        metadata = json!({ "name": key.name, "namespace": key.namespace });
    }
    json!({ "apiVersion": format!("{GATEWAY_GROUP}/v1"), "kind": kind, "metadata": metadata, "status": status })
}
