//! What a Gateway's data plane is, besides what its routes make it do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::api::parameters::GatewayClassParametersSpec;
use crate::bundle::logging::Logging;

/// The data plane of one Gateway that is accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPlane {
    /// `metadata.uid` of the Gateway, for owner references.
    pub uid: String,
    /// The name of its GatewayClass.
    pub class: String,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Addresses of `spec.addresses` that have a value and are IP addresses, in their order.
    pub addresses: Vec<IpAddr>,
    /// Ports on which Varnish itself listens.
    pub http_ports: BTreeSet<u16>,
    /// Ports on which the relay terminates TLS.
    pub tls_ports: BTreeSet<u16>,
    /// The class's parameters, overridden by the Gateway's own.
    pub parameters: GatewayClassParametersSpec,
    /// The access log; none if there is to be none.
    pub logging: Option<Logging>,
}
