//! Manifests as the objects that they stand for.

use copal::snapshot::Object;
use copal::standalone::manifests::{Format, Manifests};

/// The objects of manifests in YAML, none of which may have a fault. `of` is what a failure names.
pub fn objects(of: &str, text: &str) -> Vec<Object> {
    let manifests = Manifests::parse(Format::Yaml, text.as_bytes());
    assert!(manifests.faults.is_empty(), "{of}: {:?}", manifests.faults);
    manifests.objects.into_iter().map(|it| it.object).collect()
}
