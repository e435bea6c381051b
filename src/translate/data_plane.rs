//! What a Gateway's data plane is, besides what its routes make it do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_api::experimental::gateways::Gateway;

use crate::api::parameters::GatewayClassParametersSpec;
use crate::bundle::logging::Logging;
use crate::model::Model;
use crate::snapshot::{ObjectKey, Snapshot};

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

/// The data planes of the Gateways that have a model.
pub(super) fn planes(
    snapshot: &Snapshot,
    models: &BTreeMap<ObjectKey, Model>,
) -> BTreeMap<ObjectKey, DataPlane> {
    let planes = models.iter().filter_map(|(key, model)| {
        let gateway = snapshot.gateways.get(key)?;
        Some((key.clone(), plane(gateway, model)))
    });
    planes.collect()
}

fn plane(gateway: &Gateway, model: &Model) -> DataPlane {
    let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
    let addresses = gateway.spec.addresses.iter().flatten().filter_map(|it| it.value.as_ref()?.parse().ok());
    let is_tls = |port: &&u16| model.tls.contains_key(*port);
    let (tls_ports, http_ports) = model.ports.keys().partition(is_tls);
    DataPlane {
        uid: gateway.metadata.uid.clone().unwrap_or_default(),
        class: gateway.spec.gateway_class_name.clone(),
        labels: infrastructure.labels.unwrap_or_default(),
        annotations: infrastructure.annotations.unwrap_or_default(),
        addresses: addresses.collect(),
        http_ports,
        tls_ports,
        ..DataPlane::default()
    }
}
