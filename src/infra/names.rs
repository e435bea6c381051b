//! What the objects of data planes are called, and the labels by which they are found.

use std::collections::BTreeMap;

use crate::bundle::{packs, short_hash};
use crate::snapshot::ObjectKey;

/// The label that names an object's Gateway (GEP-1762).
pub const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that names its GatewayClass.
pub const CLASS_LABEL: &str = "gateway.networking.k8s.io/gateway-class-name";
/// The label of what an object is a part of, with the value [`MANAGER`].
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The label of everything that the operator makes, with the value [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Who manages it.
pub const MANAGER: &str = "copal";
/// The label of `ConfigMaps` that hold a part of a bundle.
pub const BUNDLE_LABEL: &str = "copal.dev/bundle";
/// The annotation with the name of an object's Gateway, where that is too long for [`GATEWAY_LABEL`].
pub const GATEWAY: &str = "copal.dev/gateway";
/// The field manager of what the operator applies.
pub const FIELD_MANAGER: &str = "copal-operator";

/// The longest name: that of a Service is a DNS label of 63 characters, and packs add up to seven.
const LONGEST: usize = 56;
/// The longest value of a label.
const LONGEST_VALUE: usize = 63;

/// The name of all objects of a Gateway: `GATEWAY-CLASS` (GEP-1762). What a Service cannot be called is changed, and
/// ends in a hash of the whole: a Service's name has no dots, begins with a letter, and is not as long as others.
#[must_use]
pub fn name(gateway: &str, class: &str) -> String {
    let plain = format!("{gateway}-{class}");
    let begin = if plain.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { "g-" };
    let fit = format!("{begin}{}", plain.replace('.', "-"));
    if fit == plain && fit.len() <= LONGEST { fit } else { cut(&fit, &plain, LONGEST) }
}

/// The label's value for a Gateway or a class: their names may be longer than labels' values.
#[must_use]
pub fn label_value(name: &str) -> String {
    if name.len() <= LONGEST_VALUE { name.to_owned() } else { cut(name, name, LONGEST_VALUE) }
}

/// The Gateway that an object with these labels and annotations belongs to, by its name.
#[must_use]
pub fn gateway_of<'a>(
    labels: &'a BTreeMap<String, String>,
    annotations: Option<&'a BTreeMap<String, String>>,
) -> Option<&'a str> {
    let label = labels.get(GATEWAY_LABEL)?;
    let whole = annotations.and_then(|it| it.get(GATEWAY)).filter(|whole| label_value(whole) == *label);
    Some(whole.unwrap_or(label))
}

/// The beginning of a name, and a hash of all of it.
fn cut(name: &str, whole: &str, longest: usize) -> String {
    let hash = short_hash(whole);
    let kept: String = name.chars().take(longest.saturating_sub(hash.len() + 1)).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

/// The `ConfigMaps` and Secrets that a data plane's pods may read.
#[must_use]
pub fn readable(name: &str) -> (Vec<String>, Vec<String>) {
    let packs = (0..packs::PACKS).map(|pack| packs::pack_name(name, pack));
    let secrets = (0..packs::SECRETS).map(|secret| packs::secret_name(name, secret));
    (std::iter::once(name.to_owned()).chain(packs).collect(), secrets.collect())
}

/// Where a data plane's pods find their bundle, as the reloader takes it.
#[must_use]
pub fn bundle_source(gateway: &ObjectKey, name: &str) -> String {
    format!("{}/{name}", gateway.namespace)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_the_gateway_and_its_class() {
        assert_eq!(name("web", "copal"), "web-copal");
        assert_eq!(name("a", &"c".repeat(54)), format!("a-{}", "c".repeat(54)));
    }

    #[test]
    fn what_a_service_cannot_be_called_is_changed() {
        let (long, longer) = ("g".repeat(253), "g".repeat(252));
        let dashes = format!("{}{}", "g".repeat(40), "-".repeat(100));
        let pairs = [
            (long.as_str(), "copal"),
            (&long, "copal2"),
            (&longer, "copal"),
            (&dashes, "copal"),
            ("a.b", "c"),
            ("a", "b.c"),
            ("1a", "b"),
            ("g-1a", "b.c"),
            ("g", "1a-b.c"),
        ];
        let names: Vec<_> = pairs.iter().map(|(gateway, class)| name(gateway, class)).collect();
        for name in &names {
            let packs = packs::pack_name(name, packs::PACKS - 1);
            let secret = packs::secret_name(name, packs::SECRETS - 1);
            assert!(packs.len() <= 63 && secret.len() <= 63, "{name}");
            assert!(name.starts_with('g') || name.starts_with('a'), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
            assert!(!name.contains("--"), "{name}");
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 8, "only the last two are the same whole");
        assert_ne!(name("a.b", "c"), name("a-b", "c"));
    }

    #[test]
    fn label_values_are_short_and_differ() {
        assert_eq!(label_value("web"), "web");
        assert_eq!(label_value(&"g".repeat(63)).len(), 63);
        let values = [label_value(&"g".repeat(253)), label_value(&"g".repeat(252))];
        assert!(values.iter().all(|it| it.len() <= 63));
        assert_ne!(values[0], values[1]);
    }

    #[test]
    fn a_gateway_is_found_by_label_or_whole_name() {
        let long = "g".repeat(100);
        let labels = |name: &str| BTreeMap::from([(GATEWAY_LABEL.to_owned(), label_value(name))]);
        let annotations = |name: &str| BTreeMap::from([(GATEWAY.to_owned(), name.to_owned())]);
        assert_eq!(gateway_of(&labels("web"), None), Some("web"));
        assert_eq!(gateway_of(&labels(&long), Some(&annotations(&long))), Some(long.as_str()));
        assert_eq!(gateway_of(&labels("web"), Some(&annotations("other"))), Some("web"), "it fits not");
        assert_eq!(gateway_of(&BTreeMap::new(), Some(&annotations("web"))), None);
    }

    #[test]
    fn pods_may_read_their_bundle_and_certificates() {
        let (config_maps, secrets) = readable("web-copal");
        assert_eq!(config_maps.len(), 1 + packs::PACKS);
        assert_eq!((config_maps[0].as_str(), config_maps[16].as_str()), ("web-copal", "web-copal-vcl-15"));
        assert_eq!(secrets.len(), packs::SECRETS);
        assert_eq!((secrets[0].as_str(), secrets[63].as_str()), ("web-copal-tls-0", "web-copal-tls-63"));
    }
}
