//! Which namespaces a Gateway or a listener lets in.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde::Serialize;

use crate::snapshot::{ObjectKey, Snapshot};

/// Where routes or ListenerSets may come from.
pub(super) enum Allowed {
    All,
    Same,
    Selector(LabelSelector),
    None,
}

impl Allowed {
    /// A selector of any of the API's types for it; one that cannot be read selects nothing.
    pub(super) fn selector(selector: Option<&impl Serialize>) -> Self {
        let selector = selector.and_then(|it| serde_json::to_value(it).ok());
        selector.and_then(|it| serde_json::from_value(it).ok()).map_or(Self::None, Self::Selector)
    }

    /// Whether objects of `namespace` are let in by an object of `home`.
    pub(super) fn allows(&self, home: &str, namespace: &str, snapshot: &Snapshot) -> bool {
        match self {
            Self::All => true,
            Self::Same => home == namespace,
            Self::Selector(selector) => selects(selector, &labels(namespace, snapshot)),
            Self::None => false,
        }
    }
}

/// A namespace's labels with the one that the API server adds, for namespaces that no manifest describes.
fn labels(namespace: &str, snapshot: &Snapshot) -> BTreeMap<String, String> {
    let object = snapshot.namespaces.get(&ObjectKey::new("", namespace));
    let mut labels = object.and_then(|it| it.metadata.labels.clone()).unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".into(), namespace.to_owned());
    labels
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal && selector.match_expressions.iter().flatten().all(|it| holds(it, labels))
}

fn holds(it: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&it.key);
    let listed = || value.is_some_and(|value| it.values.iter().flatten().any(|v| v == value));
    match it.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (selector, expected) in [
            (r"{}", true),
            (r#"{"matchLabels":{"a":"1"}}"#, true),
            (r#"{"matchLabels":{"a":"2"}}"#, false),
            (r#"{"matchExpressions":[{"key":"a","operator":"In","values":["1","2"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["1"]}]}"#, false),
            (r#"{"matchExpressions":[{"key":"b","operator":"NotIn","values":["1"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"b","operator":"Exists"}]}"#, false),
            (r#"{"matchExpressions":[{"key":"b","operator":"DoesNotExist"}]}"#, true),
            (r#"{"matchExpressions":[{"key":"a","operator":"Near"}]}"#, false),
        ] {
            let parsed: LabelSelector = serde_json::from_str(selector).unwrap();
            assert_eq!(selects(&parsed, &labels), expected, "{selector}");
        }
    }
}
