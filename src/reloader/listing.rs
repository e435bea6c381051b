//! What `vcl.list -j` says is loaded.

use serde::Deserialize;
use thiserror::Error;

/// A VCL or label that varnishd has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedVcl {
    /// Its name.
    pub name: String,
    /// Program or label.
    pub kind: Kind,
    /// Whether it is the one that `vcl.use` chose.
    pub active: bool,
    /// Whether it must be warmed up before it can be used; such a program can be neither labelled nor used.
    pub cold: bool,
    /// Discarded, but still held by requests in flight. The name may be loaded anew meanwhile.
    pub discarded: bool,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A compiled VCL.
    Program,
    /// A label.
    Label {
        /// The program that it points to.
        target: String,
        /// How many programs hold it by `return (vcl(LABEL))`. In a running child this counts discarded
        /// programs too, as long as requests in flight hold them.
        refs: u64,
    },
}

/// The listing is not what Varnish 7 prints.
#[derive(Debug, Error)]
#[error("cannot read varnishd's answer to `vcl.list -j`")]
pub struct ListingError(#[from] serde_json::Error);

/// Version, command, time, then the entries.
const PREAMBLE: usize = 3;

#[derive(Deserialize)]
struct Entry {
    name: String,
    status: String,
    temperature: String,
    label: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    #[serde(default)]
    refs: u64,
}

/// Reads the answer to `vcl.list -j`.
///
/// # Errors
/// When it is not JSON of the known shape.
pub fn parse(text: &str) -> Result<Vec<LoadedVcl>, ListingError> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text)?;
    values
        .into_iter()
        .skip(PREAMBLE)
        .map(|value| Ok(serde_json::from_value::<Entry>(value)?.into()))
        .collect()
}

impl From<Entry> for LoadedVcl {
    fn from(entry: Entry) -> Self {
        let kind =
            entry.label.map_or(Kind::Program, |label| Kind::Label { target: label.name, refs: label.refs });
        Self {
            kind,
            active: entry.status == "active",
            cold: entry.temperature == "cold" || entry.temperature == "cooling",
            discarded: entry.status == "discarded",
            name: entry.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> LoadedVcl {
        LoadedVcl { name: name.into(), kind: Kind::Program, active: false, cold: false, discarded: false }
    }

    #[test]
    fn an_empty_listing_has_no_entries() {
        assert_eq!(parse(r#"[ 2, ["vcl.list", "-j"], 1795259294.303 ]"#).unwrap(), vec![]);
    }

    #[test]
    fn programs_labels_and_discarded_ones_are_told_apart() {
        let text = r#"[ 2, ["vcl.list", "-j"], 1795261026.601,
          { "status": "discarded", "state": "cold", "temperature": "busy", "busy": 2, "name": "copal_s01_a" },
          { "status": "available", "state": "auto", "temperature": "cold", "busy": 0, "name": "copal_s02_a", "labels": 1 },
          { "status": "available", "state": "label", "temperature": "warm", "busy": 0, "name": "copal_s01",
            "label": { "name": "copal_s01_b", "refs": 2 } },
          { "status": "available", "state": "label", "temperature": "warm", "name": "copal_s02",
            "label": { "name": "copal_s02_a" } },
          { "status": "active", "state": "auto", "temperature": "warm", "busy": 1, "name": "copal_root_x" } ]"#;
        let label = |target: &str, refs| Kind::Label { target: target.into(), refs };
        assert_eq!(
            parse(text).unwrap(),
            vec![
                LoadedVcl { discarded: true, ..program("copal_s01_a") },
                LoadedVcl { cold: true, ..program("copal_s02_a") },
                LoadedVcl { kind: label("copal_s01_b", 2), ..program("copal_s01") },
                LoadedVcl { kind: label("copal_s02_a", 0), ..program("copal_s02") },
                LoadedVcl { active: true, ..program("copal_root_x") },
            ]
        );
    }

    #[test]
    fn another_shape_is_an_error() {
        assert!(parse("active auto warm 0 boot").is_err());
        assert!(parse(r#"[2, [], 1, {"name": "x"}]"#).is_err());
    }
}
