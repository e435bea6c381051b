//! What the objects of data planes are called, and the labels by which they are found.

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
/// The annotation of pods with the sockets that their varnishd has from its start.
pub const SOCKETS: &str = "copal.dev/sockets";
/// The field manager of what the operator applies.
pub const FIELD_MANAGER: &str = "copal-operator";

/// The longest name: that of a Service is a DNS label of 63 characters, and packs add up to seven.
const LONGEST: usize = 56;

/// The name of all objects of a Gateway: `GATEWAY-CLASS` (GEP-1762). A name that would be too long is cut, and ends in
/// a hash of the whole.
#[must_use]
pub fn name(gateway: &str, class: &str) -> String {
    let name = format!("{gateway}-{class}").replace('.', "-");
    let plain = format!("{gateway}-{class}");
    if name == plain && name.len() <= LONGEST {
        return name;
    }
    let hash = short_hash(&plain);
    let kept: String = name.chars().take(LONGEST - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// The label's value for a Gateway: names of Gateways may be longer than labels' values.
#[must_use]
pub fn label_value(name: &str) -> String {
    if name.len() <= 63 {
        return name.to_owned();
    }
    let kept: String = name.chars().take(50).collect();
    format!("{}-{}", kept.trim_end_matches(['-', '.']), short_hash(name))
}

/// The `ConfigMaps` and Secrets that a data plane's pods may read.
#[must_use]
pub fn readable(name: &str) -> (Vec<String>, Vec<String>) {
    let packs = (0..packs::PACKS).map(|pack| packs::pack_name(name, pack));
    (std::iter::once(name.to_owned()).chain(packs).collect(), vec![packs::secret_name(name)])
}

/// Where a data plane's pods find their bundle, as the reloader takes it.
#[must_use]
pub fn bundle_source(gateway: &ObjectKey, name: &str) -> String {
    format!("{}/{name}", gateway.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_short_and_differ() {
        assert_eq!(name("web", "copal"), "web-copal");
        let long = "g".repeat(253);
        let names = [name(&long, "copal"), name(&long, "copal2"), name(&"g".repeat(252), "copal")];
        for name in &names {
            assert!(name.len() <= LONGEST && name.starts_with("gggg"), "{name}");
        }
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_ne!(name("a.b", "c"), name("a-b", "c"));
        assert!(!name("a.b", "c").contains('.'), "a Service's name is one DNS label");
    }

    #[test]
    fn label_values_are_short() {
        assert_eq!(label_value("web"), "web");
        assert!(label_value(&"g".repeat(253)).len() <= 63);
    }
}
