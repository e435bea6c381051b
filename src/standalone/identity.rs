//! Which object a document is about, when it cannot be read as one.

use std::fmt;

use serde_json::Value;

use crate::snapshot::{Kind, ObjectId, ObjectKey};

/// What a fault is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The document says so: it is well-formed YAML or JSON, and its content does not fit.
    Object(ObjectId),
    /// Lines of a document that is not even YAML look like it.
    Guess(ObjectId),
    /// Nothing is certain; the text, if any, is as much of kind and name as could be read.
    Unknown(Option<String>),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) | Self::Guess(id) => id.fmt(f),
            Self::Unknown(Some(text)) => f.write_str(text),
            Self::Unknown(None) => f.write_str("a document"),
        }
    }
}

/// The kind of that name, if Copal reads it.
#[must_use]
pub fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.to_string() == name)
}

/// What a well-formed document says that it is.
#[must_use]
pub fn read(value: &Value) -> About {
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str).filter(|it| !it.is_empty());
    about(text("/kind"), text("/metadata/namespace"), text("/metadata/name"), About::Object)
}

/// What the lines of a malformed document look like: `kind:` at the margin, `name:` under `metadata:`.
#[must_use]
pub fn guess(text: &str) -> About {
    let (mut kind, mut namespace, mut name) = (None, None, None);
    let mut in_metadata = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = entry(line) else { continue };
        match (in_metadata, key) {
            (_, "kind") if indent == 0 => kind = kind.or(value),
            (_, "metadata") if indent == 0 => in_metadata = Some(None),
            _ if indent == 0 => in_metadata = None,
            (Some(level), key) if level.is_none_or(|level| level == indent) => {
                in_metadata = Some(Some(indent));
                match key {
                    "name" => name = name.or(value),
                    "namespace" => namespace = namespace.or(value),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    about(kind, namespace, name, About::Guess)
}

fn about(
    kind_name: Option<&str>,
    namespace: Option<&str>,
    name: Option<&str>,
    certain: fn(ObjectId) -> About,
) -> About {
    let Some(kind_name) = kind_name else { return About::Unknown(None) };
    let Some(name) = name else { return About::Unknown(Some(kind_name.to_owned())) };
    match kind(kind_name) {
        Some(kind @ (Kind::GatewayClass | Kind::Namespace)) => {
            certain(ObjectId { kind, key: ObjectKey::new("", name) })
        }
        Some(kind) => certain(ObjectId { kind, key: ObjectKey::new(namespace.unwrap_or("default"), name) }),
        None => {
            let key = ObjectKey::new(namespace.unwrap_or_default(), name);
            About::Unknown(Some(format!("{kind_name} {key}")))
        }
    }
}

/// `key: value`, without quotes and comment.
fn entry(line: &str) -> Option<(&str, Option<&str>)> {
    let (key, value) = line.trim_start().split_once(':')?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    let value = value.trim_matches(['"', '\'']);
    Some((key.trim(), Some(value).filter(|value| !value.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_documents_are_recognised_by_their_lines() {
        let cases = [
            ("kind: HTTPRoute\nmetadata:\n  name: web\n", "HTTPRoute default/web"),
            (
                "metadata:\n  labels:\n    name: other\n  name: 'web'\n  namespace: shop # x\nkind: Gateway",
                "Gateway shop/web",
            ),
            ("kind: GatewayClass\nmetadata:\n  name: copal\n  namespace: x\n", "GatewayClass copal"),
            ("kind: Deployment\nmetadata:\n  name: web\n", "Deployment web"),
            ("kind: Service\nspec:\n  name: port\n", "Service"),
            ("spec:\n  kind: Service\n", "a document"),
        ];
        for (text, expected) in cases {
            assert_eq!(guess(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for it in Kind::ALL {
            assert_eq!(kind(&it.to_string()), Some(it));
        }
        assert_eq!(kind("Deployment"), None);
    }
}
