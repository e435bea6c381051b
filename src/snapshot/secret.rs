//! Secrets, whose content is not for anyone's eyes.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// A Secret. It can be compared, and never printed.
#[derive(Clone, PartialEq, Deserialize)]
pub struct Secret {
    /// Standard object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it is for, as in `kubernetes.io/tls`.
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
    #[serde(default, rename = "stringData")]
    string_data: BTreeMap<String, String>,
}

impl Secret {
    /// The content under a key. As in the API server, `stringData` comes before `data`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let text = self.string_data.get(key).map(String::as_bytes);
        text.or_else(|| self.data.get(key).map(|it| it.0.as_slice()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = (&self.metadata.namespace, &self.metadata.name);
        f.debug_struct("Secret").field("name", &name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_content_can_be_read_and_is_never_printed() {
        let value = serde_json::json!({
            "metadata": {"name": "s"}, "type": "kubernetes.io/tls",
            "data": {"a": "c2VjcmV0", "b": "b2xk"}, "stringData": {"b": "secret"},
        });
        let secret: Secret = serde_json::from_value(value).unwrap();
        assert_eq!((secret.get("a"), secret.get("b")), (Some(&b"secret"[..]), Some(&b"secret"[..])));
        let printed = format!("{secret:?}");
        assert!(printed.contains("kubernetes.io/tls") && !printed.contains("secret"), "{printed}");
        assert!(!printed.contains("115"), "{printed}");
    }
}
