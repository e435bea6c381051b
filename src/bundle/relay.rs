//! What `copal-relay` has to do: part of the manifest. The certificates travel apart from it, since their keys are
//! secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
pub use crate::model::Certificate;

/// The name of a certificate: [`certificate_id`].
pub type CertificateId = String;

/// Bytes of the hash in a certificate's name. Whoever may write a Secret chooses what is hashed, so that it must
/// not be feasible to find two certificates with one name.
const ID_BYTES: usize = 16;

/// 128 bits of SHA-256 over chain and key, in hex: equal names are equal certificates. Says nothing of the key.
#[must_use]
pub fn certificate_id(certificate: &Certificate) -> CertificateId {
    let digest = Sha256::new()
        .chain_update(certificate.chain.len().to_be_bytes())
        .chain_update(&certificate.chain)
        .chain_update(&certificate.key)
        .finalize();
    hex(&digest, ID_BYTES)
}

/// Whether a text looks like the name of a certificate, and so can be the name of a file.
#[must_use]
pub fn is_certificate_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Certificates by name.
pub type Certificates = BTreeMap<CertificateId, Arc<Certificate>>;

/// The sockets that the relay listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// By the listeners' port, before any offset.
    pub listen: BTreeMap<u16, TlsListener>,
}

impl Relay {
    /// The certificates that it takes.
    #[must_use]
    pub fn certificates(&self) -> BTreeSet<&CertificateId> {
        self.listen.values().flat_map(|listener| listener.certificates.values().flatten()).collect()
    }
}

/// A port on which TLS is terminated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsListener {
    /// What to present for a server name: an exact name, `*.` and a domain, or the empty text for all others and
    /// for clients that name none. Of several certificates the first that suits the client is taken.
    pub certificates: BTreeMap<String, Vec<CertificateId>>,
}

#[cfg(test)]
mod tests {
    use super::super::{Bundle, Manifest, VclFile};
    use super::*;

    fn certificate(chain: &str, key: &str) -> Certificate {
        Certificate { chain: chain.into(), key: key.into() }
    }

    fn relay(name: &str, id: &str) -> Relay {
        let certificates = [(name.to_owned(), vec![id.to_owned()])].into();
        Relay { listen: [(443, TlsListener { certificates })].into() }
    }

    #[test]
    fn a_name_depends_on_chain_and_key_and_on_where_one_ends() {
        let ids: BTreeSet<_> = [("ab", "c"), ("a", "bc"), ("ab", "d"), ("", "abc")]
            .map(|(chain, key)| certificate_id(&certificate(chain, key)))
            .into();
        assert_eq!(ids.len(), 4);
        assert!(ids.iter().all(|id| is_certificate_id(id)));
        for other in ["", "../../x", &"A".repeat(32), &"a".repeat(31)] {
            assert!(!is_certificate_id(other), "{other}");
        }
    }

    #[test]
    fn the_relay_is_part_of_the_revision() {
        let plain = Bundle::new(Vec::new(), VclFile::new("root", "r"), BTreeMap::new());
        let with = |relay| plain.clone().with_relay(Some(relay), Certificates::new()).manifest;
        let (one, other) = (with(relay("a.example", "1")), with(relay("a.example", "2")));
        assert_ne!(one.revision, plain.manifest.revision);
        assert_ne!(one.revision, other.revision);
        assert!(!plain.manifest.listens() && one.listens());
        let none = plain.clone().with_relay(None, Certificates::new());
        assert_eq!(none.manifest.revision, plain.manifest.revision);
    }

    #[test]
    fn a_manifest_without_relay_does_not_mention_it() {
        let json = serde_json::to_value(Manifest::default()).unwrap();
        assert_eq!(json.get("relay"), None);
        let manifest = Manifest { relay: Some(relay("*.example.com", "1")), ..Manifest::default() };
        let json = serde_json::to_value(&manifest).unwrap();
        let expected = serde_json::json!({"listen": {"443": {"certificates": {"*.example.com": ["1"]}}}});
        assert_eq!(json["relay"], expected);
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
    }

    #[test]
    fn keys_are_not_printed() {
        let bundle = Bundle::default()
            .with_relay(None, [("1".to_owned(), Arc::new(certificate("chain", "very secret")))].into());
        assert!(!format!("{bundle:?}").contains("secret"));
    }
}
