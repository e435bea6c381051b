//! The bytes of one manifest file → the objects in it, and what is wrong with the rest.
//!
//! Each document is read by itself, and each item of a `List`: what is malformed costs nothing beside it.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::documents::{self, Document};
use super::identity::{self, About};
use super::locate;
use crate::api::GROUP;
use crate::snapshot::{GATEWAY_GROUP, Object, ParseError};

/// Deeper nesting than any manifest has; bounds the recursion of parsers and of dropping values.
const MAX_DEPTH: usize = 100;

/// Kinds of the Gateway API's group that exist and that Copal does not read.
const OTHER_GATEWAY_KINDS: &[&str] =
    &["BackendTLSPolicy", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute", "XBackendTrafficPolicy", "XMesh"];

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`: documents between `---` lines.
    Yaml,
    /// `.json`: values one after the other.
    Json,
}

/// SHA-256 of an object's content, its status left out.
pub type Digest = [u8; 32];

/// An object that could be read.
#[derive(Clone, Debug)]
pub struct Found {
    /// The line on which its document begins, from 1.
    pub line: usize,
    /// Tells versions of the object apart.
    pub digest: Digest,
    /// The object.
    pub object: Object,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, from 1; 0 when it is the file as a whole.
    pub line: usize,
    /// Which object, as far as that is known.
    pub about: About,
    /// What was expected.
    pub message: String,
}

/// What one file holds. Documents of kinds that Copal has no use for are left out.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// In the order of the file.
    pub objects: Vec<Found>,
    /// In the order of the file.
    pub faults: Vec<Fault>,
}

impl Manifests {
    /// Reads a file's content.
    #[must_use]
    pub fn parse(format: Format, bytes: &[u8]) -> Self {
        let mut manifests = Self::default();
        match std::str::from_utf8(bytes) {
            Ok(text) if format == Format::Yaml => {
                for document in &documents::split(text) {
                    manifests.yaml(document);
                }
            }
            Ok(text) => manifests.json(text),
            Err(error) => manifests.fault(
                line_at(bytes, error.valid_up_to()),
                About::Unknown(None),
                "expected UTF-8 text".to_owned(),
            ),
        }
        manifests
    }

    fn yaml(&mut self, document: &Document<'_>) {
        let first = document.first_line();
        match serde_saphyr::from_str_with_options::<Value>(document.text, yaml_options()) {
            Ok(value) => self.value(value, &Source { line: first, yaml: Some(document) }),
            Err(error) => {
                let line = error.location().map_or(first, |at| locate::absolute(document.line, at.line()));
                let about = identity::guess(document.text);
                self.fault(line, about, locate::message(&error));
            }
        }
    }

    fn json(&mut self, text: &str) {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut start = 0;
        while let Some(next) = values.next() {
            let blank = text.get(start..).map_or(0, |rest| rest.len() - rest.trim_start().len());
            match next {
                Ok(value) => {
                    let line = line_at(text.as_bytes(), start + blank);
                    self.value(value, &Source { line, yaml: None });
                }
                Err(error) => {
                    let message = error.to_string();
                    let message = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what);
                    self.fault(error.line(), About::Unknown(None), message.to_owned());
                }
            }
            start = values.byte_offset();
        }
    }

    /// One document, or one item of a list.
    fn value(&mut self, value: Value, source: &Source<'_>) {
        match value {
            Value::Null => {}
            Value::Object(map) if is_list(&map) => self.list(map, source),
            value => self.object(value, source),
        }
    }

    /// Items of a typed list, as the API server sends it, do not repeat their kind.
    fn list(&mut self, mut list: Map<String, Value>, source: &Source<'_>) {
        let kind = list.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
        let kind = kind.filter(|kind| !kind.is_empty()).map(|kind| Value::from(kind.to_owned()));
        let version = list.get("apiVersion").cloned().filter(|_| kind.is_some());
        let Some(Value::Array(items)) = list.remove("items") else {
            let message = "items: expected a sequence of objects".to_owned();
            return self.fault(source.line, About::Unknown(None), message);
        };
        let source = Source { line: source.line, yaml: None };
        for mut item in items {
            if let (Some(item), Some(kind), Some(version)) = (item.as_object_mut(), &kind, &version) {
                item.entry("kind").or_insert_with(|| kind.clone());
                item.entry("apiVersion").or_insert_with(|| version.clone());
            }
            self.value(item, &source);
        }
    }

    fn object(&mut self, mut value: Value, source: &Source<'_>) {
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
        }
        let about = identity::read(&value);
        let digest = Sha256::digest(value.to_string()).into();
        if let Some(message) = unknown_kind(&value) {
            return self.fault(source.line, about, message);
        }
        match Object::parse(value) {
            Ok(Some(object)) => self.objects.push(Found { line: source.line, digest, object }),
            Ok(None) => {}
            Err(error) => self.fault(source.line_of_misfit(&about), about, what_was_expected(error)),
        }
    }

    fn fault(&mut self, line: usize, about: About, message: String) {
        self.faults.push(Fault { line, about, message });
    }
}

/// Where a value stands.
struct Source<'a> {
    line: usize,
    /// The YAML document that is this one object.
    yaml: Option<&'a Document<'a>>,
}

impl Source<'_> {
    /// The line of the field that does not fit, if it can be found; else that of the document.
    fn line_of_misfit(&self, about: &About) -> usize {
        let (Some(document), About::Object(id)) = (self.yaml, about) else { return self.line };
        locate::misfit(id.kind, document, yaml_options()).unwrap_or(self.line)
    }
}

fn is_list(map: &Map<String, Value>) -> bool {
    map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
}

/// A misspelt kind of the Gateway API or of Copal's would otherwise be passed over as "not ours".
fn unknown_kind(value: &Value) -> Option<String> {
    let group = value.get("apiVersion")?.as_str()?.split_once('/')?.0;
    let kind = value.get("kind")?.as_str()?;
    let known = identity::kind(kind).is_some() || OTHER_GATEWAY_KINDS.contains(&kind);
    ([GATEWAY_GROUP, GROUP].contains(&group) && !known).then(|| format!("{group} has no kind {kind}"))
}

fn what_was_expected(error: ParseError) -> String {
    match error {
        ParseError::Form { message, .. } => message,
        error @ (ParseError::NotAnObject(_) | ParseError::Version { .. }) => error.to_string(),
    }
}

/// As `kubectl` reads YAML: YAML 1.1 booleans and merge keys; a repeated key is an error.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    }
}

fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(format: Format, text: &str) -> Vec<String> {
        let manifests = Manifests::parse(format, text.as_bytes());
        let objects = manifests.objects.iter().map(|it| format!("{} {}", it.line, it.object.id()));
        let faults = manifests.faults.iter().map(|it| format!("{} ! {}: {}", it.line, it.about, it.message));
        objects.chain(faults).collect()
    }

    const SPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAME}\n";

    fn space(name: &str) -> String {
        SPACE.replace("NAME", name)
    }

    #[test]
    fn documents_are_read_each_by_itself() {
        let text = format!("{}---\nkind: [\n---\n{}---\n# empty\n", space("a"), space("b"));
        let found = summary(Format::Yaml, &text);
        assert_eq!(found[..2], ["1 Namespace a", "7 Namespace b"]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[2].starts_with("5 ! "), "{found:?}");
    }

    #[test]
    fn a_syntax_error_names_its_line_and_the_object_it_is_probably_in() {
        let text = "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  \
                    name: web # the shop\n  namespace: \"shop\"\nspec:\n  rules: [\n";
        let found = summary(Format::Yaml, text);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains(" ! HTTPRoute shop/web: "), "{found:?}");
    }

    #[test]
    fn a_field_of_the_wrong_type_is_reported_on_its_line() {
        let text =
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - port: many\n";
        let found = summary(Format::Yaml, text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("7 ! Service default/web: invalid type: string \"many\""), "{found:?}");
    }

    #[test]
    fn what_is_not_an_object_is_a_fault_and_other_kinds_are_not() {
        let cases: &[(&str, &[&str])] = &[
            ("a: 1", &["1 ! a document: not a Kubernetes object: apiVersion is missing or not a string"]),
            ("- a", &["1 ! a document: not a Kubernetes object: apiVersion is missing or not a string"]),
            ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", &[]),
            ("apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: a}", &[]),
            (
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRout\nmetadata: {name: a}",
                &["1 ! HTTPRout a: gateway.networking.k8s.io has no kind HTTPRout"],
            ),
            ("apiVersion: v1\nkind: Service\nspec: {}", &["1 ! Service: metadata.name is missing"]),
        ];
        for (text, expected) in cases {
            assert_eq!(summary(Format::Yaml, text), *expected, "{text}");
        }
    }

    #[test]
    fn lists_are_unfolded_and_their_items_read_each_by_itself() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n\
                    - {apiVersion: v1, kind: Service, metadata: {name: b}, spec: 7}\n\
                    - {apiVersion: v1, kind: Namespace, metadata: {name: c}}\n";
        let found = summary(Format::Yaml, text);
        assert_eq!(found[..2], ["1 Namespace a", "1 Namespace c"]);
        assert!(found[2].starts_with("1 ! Service default/b: "), "{found:?}");
        let typed = "apiVersion: v1\nkind: NamespaceList\nitems:\n- metadata: {name: a}\n";
        assert_eq!(summary(Format::Yaml, typed), ["1 Namespace a"]);
        let broken = summary(Format::Yaml, "apiVersion: v1\nkind: List\n");
        assert_eq!(broken, ["1 ! a document: items: expected a sequence of objects"]);
    }

    #[test]
    fn json_files_hold_values_one_after_the_other() {
        let one = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#;
        let two = one.replace("\"a\"", "\"b\"");
        assert_eq!(summary(Format::Json, &format!("{one}\n\n{two}\n")), ["1 Namespace a", "3 Namespace b"]);
        let found = summary(Format::Json, &format!("{one}\n{{\"kind\":\n}}"));
        assert_eq!(found, ["1 Namespace a", "3 ! a document: expected value"]);
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let nested = "[".repeat(200_000);
        assert_eq!(Manifests::parse(Format::Yaml, nested.as_bytes()).faults.len(), 1);
        assert_eq!(Manifests::parse(Format::Json, nested.as_bytes()).faults.len(), 1);
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let refs = vec![format!("*a{}", n - 1); 10].join(", ");
            laughs = format!("{laughs}a{n}: &a{n} [{refs}]\n");
        }
        assert_eq!(Manifests::parse(Format::Yaml, laughs.as_bytes()).faults.len(), 1);
    }

    #[test]
    fn the_digest_follows_the_content_and_not_the_layout_or_the_status() {
        let digest = |text: &str| Manifests::parse(Format::Yaml, text.as_bytes()).objects[0].digest;
        let plain = digest(&space("a"));
        assert_eq!(
            plain,
            digest("kind: Namespace\nmetadata:\n  name: 'a'\napiVersion: v1\nstatus: {phase: Active}")
        );
        assert_ne!(plain, digest(&space("b")));
    }

    #[test]
    fn text_that_is_not_utf_8_is_one_fault_with_its_line() {
        let manifests = Manifests::parse(Format::Yaml, b"a: 1\nb: \xff\n");
        assert_eq!(manifests.faults[0].line, 2);
        assert_eq!(manifests.faults[0].message, "expected UTF-8 text");
    }
}
