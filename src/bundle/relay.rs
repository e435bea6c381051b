//! What `copal-relay` has to do: part of the manifest. The certificates travel apart from it, since their keys are
//! secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::model::Certificate;

/// The name of a certificate: a hash of its chain and key.
pub type CertificateId = String;

/// Certificates by name.
pub type Certificates = BTreeMap<CertificateId, Arc<Certificate>>;

/// The sockets that the relay listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// By the listeners' port, before any offset.
    pub listen: BTreeMap<u16, TlsListener>,
}

/// A port on which TLS is terminated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsListener {
    /// What to present for a server name: an exact name, `*.` and a domain, or the empty text for all others and
    /// for clients that name none. Of several certificates the first that suits the client is taken.
    pub certificates: BTreeMap<String, Vec<CertificateId>>,
}
