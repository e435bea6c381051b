//! What `copal-relay` has to do: part of the manifest. The certificates travel apart from it, since their keys are
//! secret.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
pub use crate::model::Certificate;

/// The reloader's state folder in a pod.
pub const POD_STATE: &str = "/run/copal";

/// The folder in which the relay finds its task, below the reloader's state folder.
pub const FOLDER: &str = "relay";

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

/// What the relay listens on, and where it goes from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// By the listeners' port, before any offset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listen: BTreeMap<u16, TlsListener>,
    /// Where TLS is passed on: by the listeners' port, before any offset. A port may be one of `listen` too; the most
    /// specific server name counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passthrough: BTreeMap<u16, Streams>,
    /// As above, where TLS of ports of `listen` ends here, and what is in it is passed on, past varnishd.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plain: BTreeMap<u16, Streams>,
    /// Endpoints that varnishd goes to through the relay, each by a unix socket of its own: [`upstream_socket`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<UpstreamId, Upstream>,
    /// What to show to endpoints that ask for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateId>,
}

impl Relay {
    /// The ports that it listens on.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.listen.keys().chain(self.passthrough.keys()).copied().collect::<BTreeSet<_>>().into_iter()
    }

    /// The certificates that it takes, those of authorities included.
    #[must_use]
    pub fn certificates(&self) -> BTreeSet<&CertificateId> {
        let own = self.listen.values().flat_map(|listener| listener.certificates.values().flatten());
        let clients = self.listen.values().filter_map(|listener| listener.clients.as_ref());
        let clients = clients.flat_map(|clients| &clients.authorities);
        let upstreams = self.upstreams.values().flat_map(Upstream::with_mirrors);
        let upstreams = upstreams.filter_map(|upstream| upstream.tls.as_ref());
        let upstreams = upstreams.flat_map(|tls| tls.authorities.iter().flatten());
        own.chain(clients).chain(upstreams).chain(&self.client_certificate).collect()
    }
}

/// Where the connections of a port go, by server name as in [`TlsListener::certificates`]. A name without a share is
/// refused.
pub type Streams = BTreeMap<String, Vec<Share>>;

/// One of several backends among which the connections for a name are divided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its part of all weights together.
    pub weight: u32,
    /// Its endpoints. Without any, its part of the connections is refused.
    pub endpoints: BTreeSet<SocketAddr>,
}

/// A port on which TLS is terminated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsListener {
    /// What to present for a server name: an exact name, `*.` and a domain, or the empty text for all others and
    /// for clients that name none. Of several certificates the first that suits the client is taken.
    pub certificates: BTreeMap<String, Vec<CertificateId>>,
    /// What clients have to show; none if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientValidation>,
}

/// What clients have to show on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientValidation {
    /// Who may have issued their certificate.
    pub authorities: Vec<CertificateId>,
    /// Whether clients without a valid certificate are let in all the same.
    pub insecure_fallback: bool,
}

/// The name of an upstream: [`Upstream::id`].
pub type UpstreamId = String;

/// One endpoint, how it is spoken to, and who gets copies of its requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Upstream {
    /// The endpoint.
    pub address: SocketAddr,
    /// Whether it speaks HTTP/2 rather than HTTP/1.1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub http2: bool,
    /// TLS, and what is asked of its certificate; none means plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Who gets copies of its requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

/// TLS towards an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// The name that is asked for, and that the certificate must be for if `names` is empty.
    pub server_name: String,
    /// Names of which the certificate must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SubjectAltName>,
    /// Who may have issued it; none stands for those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Vec<CertificateId>>,
}

/// A name in a certificate (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectAltName {
    /// `dNSName`.
    Dns(String),
    /// `uniformResourceIdentifier`.
    Uri(String),
}

/// Copies of requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mirror {
    /// Endpoints, one of which gets the copy; they are no mirrors' sources themselves.
    pub endpoints: Vec<Upstream>,
    /// Of `denominator` requests, `numerator` are copied.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

impl Upstream {
    /// 96 bits of a hash over all of it, in hex: equal names are equal upstreams.
    #[must_use]
    pub fn id(&self) -> UpstreamId {
        // Plain data always has a JSON form.
        hex(&Sha256::digest(serde_json::to_vec(self).unwrap_or_default()), UPSTREAM_ID_BYTES)
    }

    /// It and the endpoints of its mirrors.
    /// It, and those that get copies of its requests.
    pub fn with_mirrors(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.mirrors.iter().flat_map(|mirror| &mirror.endpoints))
    }
}

/// Bytes of the hash in an upstream's name.
const UPSTREAM_ID_BYTES: usize = 12;

/// Whether a text looks like the name of an upstream, and so can be the name of a socket.
#[must_use]
pub fn is_upstream_id(text: &str) -> bool {
    text.len() == 2 * UPSTREAM_ID_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The unix socket of an upstream, below the folder in which the relay finds its task.
#[must_use]
pub fn upstream_socket(id: &str) -> String {
    format!("up/{id}")
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
        Relay { listen: [(443, TlsListener { certificates, clients: None })].into(), ..Relay::default() }
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
    fn the_certificates_of_upstreams_and_their_mirrors_are_told() {
        let tls = |authority: &str| UpstreamTls {
            server_name: "a.example".into(),
            names: Vec::new(),
            authorities: Some(vec![authority.into()]),
        };
        let address = SocketAddr::from(([192, 0, 2, 1], 443));
        let plain = Upstream { address, http2: false, tls: None, mirrors: Vec::new() };
        let mirrored = Upstream { tls: Some(tls("2")), ..plain.clone() };
        let mirror = Mirror { endpoints: vec![mirrored], numerator: 1, denominator: 1 };
        let upstream = Upstream { tls: Some(tls("1")), mirrors: vec![mirror], ..plain };
        assert!(is_upstream_id(&upstream.id()) && !is_upstream_id("../x"));
        let (upstreams, client_certificate) = ([(upstream.id(), upstream)].into(), Some("3".into()));
        let relay = Relay { upstreams, client_certificate, ..Relay::default() };
        assert_eq!(relay.certificates().into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
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
