//! What a Gateway's data plane is, besides what its routes make it do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_api::experimental::gateways::Gateway;

use super::listeners::{Listener, Parent};
use super::logging::{Policies, logging};
use super::parameters::{Parameters, Resolved};
use super::{Addressing, Settings};
use crate::api::parameters::GatewayClassParametersSpec;
use crate::bundle::logging::Logging;
use crate::model::{ObjectKey, UserVcl};
use crate::snapshot::Snapshot;

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

/// All that data planes are made from.
pub(super) struct Planes<'a> {
    pub snapshot: &'a Snapshot,
    pub settings: &'a Settings,
    pub parents: &'a [Parent],
    pub parameters: &'a Parameters,
    pub policies: &'a Policies<'a>,
}

impl Planes<'_> {
    /// The data planes, by Gateway. A Gateway without a port has none: there is nothing to listen on.
    pub(super) fn all(&self) -> BTreeMap<ObjectKey, DataPlane> {
        match self.settings.addressing {
            Addressing::Shared => [(ObjectKey::default(), self.shared())].into(),
            Addressing::PerGateway => {
                let keys = self.gateways(None).filter_map(|(key, it)| Some((key, self.of(key, it)?)));
                keys.map(|(key, it)| (key.clone(), it)).collect()
            }
        }
    }

    /// The VCL of the user's own for a data plane. Where Gateways share it, the oldest that has some has its way.
    pub(super) fn user_vcl(&self, plane: &ObjectKey) -> Option<&UserVcl> {
        self.gateways(Some(plane)).find_map(|(_, it)| it.user_vcl.as_ref())
    }

    /// Gateways that are served, the oldest first, with their parameters.
    fn gateways(&self, plane: Option<&ObjectKey>) -> impl Iterator<Item = (&ObjectKey, &Resolved)> {
        let parents = self.parents.iter().filter(|it| it.kind == "Gateway" && it.served);
        let parents = parents.filter(move |it| plane.is_none_or(|plane| it.plane == *plane));
        parents.filter_map(|it| Some((&it.key, self.parameters.of_gateway(&it.key)?.as_ref().ok()?)))
    }

    fn of(&self, key: &ObjectKey, parameters: &Resolved) -> Option<DataPlane> {
        let gateway = self.snapshot.gateways.get(key)?;
        let (http_ports, tls_ports) = self.ports(key);
        let infrastructure = gateway.spec.infrastructure.as_ref();
        let plane = DataPlane {
            uid: gateway.metadata.uid.clone().unwrap_or_default(),
            class: gateway.spec.gateway_class_name.clone(),
            labels: infrastructure.and_then(|it| it.labels.clone()).unwrap_or_default(),
            annotations: infrastructure.and_then(|it| it.annotations.clone()).unwrap_or_default(),
            addresses: addresses(gateway),
            http_ports,
            tls_ports,
            parameters: parameters.spec.clone(),
            logging: logging(parameters.spec.logging.as_ref(), self.policies.of(key)),
        };
        (!plane.http_ports.is_empty() || !plane.tls_ports.is_empty()).then_some(plane)
    }

    /// The oldest Gateway that says something of logging has its way.
    fn shared(&self) -> DataPlane {
        let (http_ports, tls_ports) = self.ports(&ObjectKey::default());
        let said = self.gateways(None).map(|(key, it)| (it.spec.logging.as_ref(), self.policies.of(key)));
        let mut said = said.filter(|(defaults, policy)| defaults.is_some() || policy.is_some());
        let logging = said.next().and_then(|(defaults, policy)| logging(defaults, policy));
        DataPlane { http_ports, tls_ports, logging, ..DataPlane::default() }
    }

    /// The ports of a data plane's listeners: those of Varnish, and those of the relay.
    fn ports(&self, plane: &ObjectKey) -> (BTreeSet<u16>, BTreeSet<u16>) {
        let parents = self.parents.iter().filter(|it| it.served && it.plane == *plane);
        let listeners = parents.flat_map(|it| &it.listeners);
        let ports = listeners.filter_map(|it| Some((it.valid_port()?, is_tls(it))));
        let (tls, http): (Vec<_>, Vec<_>) = ports.partition(|(_, is_tls)| *is_tls);
        let numbers = |ports: Vec<(u16, bool)>| ports.into_iter().map(|(port, _)| port).collect();
        (numbers(http), numbers(tls))
    }
}

/// Whether the relay listens for it.
fn is_tls(it: &Listener) -> bool {
    matches!(it.protocol.as_str(), "HTTPS" | "TLS")
}

/// An entry without a value leaves the choice of an address to whoever assigns it.
fn addresses(gateway: &Gateway) -> Vec<IpAddr> {
    let values = gateway.spec.addresses.iter().flatten().filter_map(|it| it.value.as_deref());
    values.filter_map(|it| it.parse().ok()).collect()
}
