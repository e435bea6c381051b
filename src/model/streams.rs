//! Connections that go past Varnish: TLS that is passed on as it comes in, or what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::HostPattern;

/// Where the connections of a port go, by the server name that the client asks for (RFC 6066, section 3). The most
/// specific name counts, those of all other listeners for TLS on the port included. A name without a share
/// with a weight is refused.
pub type Streams = BTreeMap<HostPattern, Arc<[Share]>>;

/// One of several backends among which the connections for a name are divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its part of all weights together, at least 1.
    pub weight: u32,
    /// Ready endpoints. Without any, its part of the connections is refused.
    pub endpoints: BTreeSet<SocketAddr>,
}
