//! Sizes of the cache, as Kubernetes writes them and as varnishd takes them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Memory for cached objects where the parameters say nothing, in bytes.
const USUAL: u64 = 256 * MI;
/// The smallest cache that varnishd takes, in bytes.
const LEAST: u64 = MI;
const MI: u64 = 1 << 20;

/// Memory for cached objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    bytes: u64,
}

impl Size {
    /// Reads a whole number of the units that GatewayClassParameters allow. What is none counts as absent: the API
    /// server refuses it, so that nobody waits for it.
    pub(super) fn of(quantity: Option<&str>) -> Self {
        let bytes = quantity.and_then(bytes).unwrap_or(USUAL);
        Self { bytes: bytes.max(LEAST) }
    }

    /// As in `varnishd -s malloc,SIZE`, whose units are powers of two.
    pub(super) fn varnishd(self) -> String {
        let units = [("t", MI << 20), ("g", MI << 10), ("m", MI)];
        let unit = units.into_iter().find(|(_, unit)| self.bytes.is_multiple_of(*unit));
        unit.map_or_else(|| format!("{}b", self.bytes), |(name, unit)| format!("{}{name}", self.bytes / unit))
    }

    /// This and `more` mebibytes, rounded up.
    pub(super) fn and_mebibytes(self, more: u64) -> Quantity {
        Quantity(format!("{}Mi", self.bytes.div_ceil(MI).saturating_add(more)))
    }
}

fn bytes(quantity: &str) -> Option<u64> {
    let unit_at = quantity.find(|c: char| !c.is_ascii_digit()).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(unit_at);
    let unit = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => MI,
        "Gi" => MI << 10,
        "Ti" => MI << 20,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_varnishds() {
        for (quantity, varnishd) in [
            ("256Mi", "256m"),
            ("1Gi", "1g"),
            ("1536Mi", "1536m"),
            ("2Ti", "2t"),
            ("500M", "500000000b"),
            ("1G", "1000000000b"),
            ("1048577", "1048577b"),
            ("2048Ki", "2m"),
        ] {
            assert_eq!(Size::of(Some(quantity)).varnishd(), varnishd, "{quantity}");
        }
    }

    #[test]
    fn what_is_no_size_counts_as_absent_and_what_is_too_small_as_the_least() {
        for quantity in ["", "1.5Gi", "Gi", "-1Gi", "1Xi", "99999999999Ti", "12 Mi"] {
            assert_eq!(Size::of(Some(quantity)), Size::of(None), "{quantity}");
        }
        assert_eq!(Size::of(None).varnishd(), "256m");
        assert_eq!(Size::of(Some("1")).varnishd(), "1m");
    }

    #[test]
    fn memory_is_rounded_up() {
        assert_eq!(Size::of(Some("1Gi")).and_mebibytes(128).0, "1152Mi");
        assert_eq!(Size::of(Some("1G")).and_mebibytes(0).0, "954Mi");
    }
}
