//! Statuses as text, YAML and JSON.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::api;
use crate::snapshot::{GATEWAY_GROUP, Kind, ObjectId, ObjectKey};
use crate::status::Statuses;

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One YAML document an object.
    Yaml,
    /// One array.
    Json,
}

/// The status of one object, as the cluster would show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Which one.
    pub metadata: Metadata,
    /// Its `status`.
    pub status: Value,
}

/// As much of an object's metadata as it takes to name it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace; absent for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl From<&ObjectKey> for Metadata {
    fn from(key: &ObjectKey) -> Self {
        let namespace = Some(key.namespace.clone()).filter(|it| !it.is_empty());
        Self { name: key.name.clone(), namespace }
    }
}

/// The statuses of all objects, by kind and name.
#[must_use]
pub fn objects(of: &Statuses) -> Vec<ObjectStatus> {
    let Statuses {
        classes,
        gateways,
        listener_sets,
        routes,
        tls_routes,
        logging_policies,
        backend_tls_policies,
    } = of;
    let classes = classes.iter().map(|(key, it)| object("GatewayClass", key, it));
    let gateways = gateways.iter().map(|(key, it)| object("Gateway", key, it));
    let listener_sets = listener_sets.iter().map(|(key, it)| object("ListenerSet", key, it));
    let routes = routes.iter().map(|(key, it)| object("HTTPRoute", key, it));
    let tls_routes = tls_routes.iter().map(|(key, it)| object("TLSRoute", key, it));
    let routes = routes.chain(tls_routes);
    let policies = logging_policies.iter().map(|(key, it)| policy(key, it));
    let backends = backend_tls_policies.iter().map(|(key, it)| object("BackendTLSPolicy", key, it));
    classes.chain(gateways).chain(listener_sets).chain(routes).chain(backends).chain(policies).collect()
}

/// The status of an object as a cluster has it.
#[must_use]
pub fn live(id: &ObjectId, status: &Value) -> ObjectStatus {
    match id.kind {
        Kind::VarnishLoggingPolicy => policy(&id.key, status),
        kind => object(&kind.to_string(), &id.key, status),
    }
}

fn policy(key: &ObjectKey, status: &impl Serialize) -> ObjectStatus {
    ObjectStatus {
        api_version: format!("{}/{}", api::GROUP, api::VERSION),
        ..object("VarnishLoggingPolicy", key, status)
    }
}

fn object(kind: &str, key: &ObjectKey, status: &impl Serialize) -> ObjectStatus {
    ObjectStatus {
        api_version: format!("{GATEWAY_GROUP}/v1"),
        kind: kind.to_owned(),
        metadata: Metadata::from(key),
        // A status is plain data, which always has a JSON form.
        status: serde_json::to_value(status).unwrap_or_default(),
    }
}

/// One condition, and what it is a condition of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// `HTTPRoute default/web`.
    pub object: String,
    /// Its type, after the listener or parent that it belongs to: `http: Programmed`.
    pub name: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Conditions whose `True` is bad news.
const NEGATIVE: &[&str] =
    &["Conflicted", "OverlappingTLSConfig", "PartiallyInvalid", "InsecureFrontendValidationMode"];

impl Condition {
    /// Whether it tells of something that is not as it should be.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        let kind = self.name.rsplit(": ").next().unwrap_or_default();
        let good = if NEGATIVE.contains(&kind) { "False" } else { "True" };
        self.status != good
    }
}

/// All conditions that tell of something that is not as it should be.
#[must_use]
pub fn troubles(statuses: &[ObjectStatus]) -> BTreeSet<Condition> {
    statuses.iter().flat_map(conditions).filter(Condition::is_trouble).collect()
}

/// The conditions of the object itself, then those of its listeners, parents and targets.
#[must_use]
pub fn conditions(of: &ObjectStatus) -> Vec<Condition> {
    let object = format!("{} {}", of.kind, full_name(&of.metadata));
    let own = list(&of.status, "conditions").map(|it| condition(&object, "", it));
    let parts = ["listeners", "parents", "ancestors"].into_iter().flat_map(|field| list(&of.status, field));
    let parts = parts.flat_map(|part| {
        let prefix = format!("{}: ", part_name(part));
        list(part, "conditions").map(move |it| (prefix.clone(), it))
    });
    let parts = parts.map(|(prefix, it)| condition(&object, &prefix, it));
    own.chain(parts).collect()
}

/// The statuses in the wanted form, with a line break at the end.
///
/// # Errors
/// When a status cannot be written in that form.
pub fn render(statuses: &[ObjectStatus], format: Format) -> Result<String, String> {
    match format {
        Format::Text => Ok(table(statuses)),
        Format::Json => {
            serde_json::to_string_pretty(statuses).map(|it| it + "\n").map_err(|error| error.to_string())
        }
        Format::Yaml => {
            let documents =
                statuses.iter().map(|it| serde_saphyr::to_string(it).map(|it| format!("---\n{it}")));
            documents.collect::<Result<String, _>>().map_err(|error| error.to_string())
        }
    }
}

fn table(statuses: &[ObjectStatus]) -> String {
    let head = ["KIND", "NAMESPACE/NAME", "CONDITION", "STATUS", "REASON", "MESSAGE"].map(str::to_owned);
    let rows = statuses.iter().flat_map(|of| {
        let name = full_name(&of.metadata);
        let row =
            move |it: Condition| [of.kind.clone(), name.clone(), it.name, it.status, it.reason, it.message];
        conditions(of).into_iter().map(row)
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max();
    let widths: Vec<_> = (0..5).map(|column| width(column).unwrap_or_default()).chain([0]).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn full_name(metadata: &Metadata) -> String {
    ObjectKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone()).to_string()
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// A listener's name, a parent's name and section, or a target's name.
fn part_name(part: &Value) -> String {
    let text = |pointer| part.pointer(pointer).and_then(Value::as_str);
    if let Some(name) = text("/name").or_else(|| text("/ancestorRef/name")) {
        return name.to_owned();
    }
    let parent = text("/parentRef/name").unwrap_or_default();
    text("/parentRef/sectionName").map_or_else(|| parent.to_owned(), |section| format!("{parent}/{section}"))
}

fn condition(object: &str, prefix: &str, value: &Value) -> Condition {
    let text = |field| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Condition {
        object: object.to_owned(),
        name: format!("{prefix}{}", text("type")),
        status: text("status"),
        reason: text("reason"),
        message: text("message").split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statuses() -> Vec<ObjectStatus> {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
        let object = |kind: &str, key: ObjectKey, status: Value| ObjectStatus {
            api_version: "gateway.networking.k8s.io/v1".into(),
            kind: kind.into(),
            metadata: Metadata::from(&key),
            status,
        };
        let gateway = json!({
            "conditions": [condition("Accepted", "True", "Accepted", "")],
            "listeners": [{"name": "http", "conditions": [condition("Conflicted", "False", "NoConflicts", "")]}],
        });
        let route = json!({"parents": [{
            "parentRef": {"name": "web", "sectionName": "http"},
            "conditions": [condition("ResolvedRefs", "False", "BackendNotFound", "no Service\ndefault/x")],
        }]});
        vec![
            object("GatewayClass", ObjectKey::new("", "copal"), json!({})),
            object("Gateway", ObjectKey::new("default", "web"), gateway),
            object("HTTPRoute", ObjectKey::new("shop", "cart"), route),
        ]
    }

    #[test]
    fn the_table_has_a_line_for_each_condition() {
        let expected = "\
KIND       NAMESPACE/NAME  CONDITION               STATUS  REASON           MESSAGE
Gateway    default/web     Accepted                True    Accepted
Gateway    default/web     http: Conflicted        False   NoConflicts
HTTPRoute  shop/cart       web/http: ResolvedRefs  False   BackendNotFound  no Service default/x
";
        assert_eq!(render(&statuses(), Format::Text).unwrap(), expected);
    }

    #[test]
    fn yaml_and_json_hold_the_same() {
        let json: Value = serde_json::from_str(&render(&statuses(), Format::Json).unwrap()).unwrap();
        let yaml = render(&statuses(), Format::Yaml).unwrap();
        let yaml: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
        assert_eq!(json, Value::Array(yaml));
        assert_eq!(json.pointer("/1/metadata"), Some(&json!({"name": "web", "namespace": "default"})));
        assert_eq!(json.pointer("/0/metadata"), Some(&json!({"name": "copal"})));
    }

    #[test]
    fn only_bad_news_are_troubles() {
        let troubles: Vec<_> = troubles(&statuses()).into_iter().map(|it| it.name).collect();
        assert_eq!(troubles, ["web/http: ResolvedRefs"]);
    }
}
