//! backendRefs to Services and their ready endpoints.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServicePort as ServicePortSpec;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::backend_tls::BackendTlsPolicies;
use super::grants;
use super::listeners::{HTTP_ROUTE, TLS_ROUTE};
use super::report::RefProblem;
use crate::model::{ObjectKey, Service, ServicePort, Transport};
use crate::snapshot::{BackendRef, Snapshot};

/// The label that names an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What a backendRef means.
pub(super) type Resolved = Result<(ServicePort, Arc<Service>), RefProblem>;

/// EndpointSlices by Service, made when the first Service is looked up.
pub(super) type SlicesByService = OnceCell<BTreeMap<ObjectKey, Vec<Arc<EndpointSlice>>>>;

/// Everything that backendRefs can resolve to.
pub(super) struct Backends<'a> {
    snapshot: &'a Snapshot,
    pub(super) slices: SlicesByService,
    pub(super) policies: BackendTlsPolicies,
}

impl<'a> Backends<'a> {
    /// With the index of the same EndpointSlices, or an empty one, and this snapshot's policies.
    pub(super) fn new(snapshot: &'a Snapshot, slices: SlicesByService, policies: BackendTlsPolicies) -> Self {
        Self { snapshot, slices, policies }
    }

    fn slices(&self) -> &BTreeMap<ObjectKey, Vec<Arc<EndpointSlice>>> {
        self.slices.get_or_init(|| {
            let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (key, slice) in self.snapshot.endpoint_slices.iter() {
                if let Some(service) = service_of(key, slice) {
                    slices.entry(service).or_default().push(slice.clone());
                }
            }
            slices
        })
    }

    /// The Service port that a reference in an HTTPRoute of `namespace` means, and how it is spoken to.
    pub(super) fn resolve(&self, namespace: &str, it: &BackendRef) -> Resolved {
        let (port, spec) = self.port((HTTP_ROUTE, namespace), it)?;
        self.service(port, spec)
    }

    /// The endpoints of the Service port that a reference in a TLSRoute of `namespace` means; what they speak is no
    /// matter where bytes are passed on.
    pub(super) fn endpoints_of(
        &self,
        namespace: &str,
        it: &BackendRef,
    ) -> Result<BTreeSet<SocketAddr>, RefProblem> {
        let (port, spec) = self.port((TLS_ROUTE, namespace), it)?;
        Ok(self.endpoints(&port.service, spec.name.as_deref().unwrap_or_default()))
    }

    /// The Service port that a reference in a route of a kind and namespace means.
    fn port(
        &self,
        (route, namespace): (&str, &str),
        it: &BackendRef,
    ) -> Result<(ServicePort, &'a ServicePortSpec), RefProblem> {
        let group = it.group.as_deref().unwrap_or_default();
        let kind = it.kind.as_deref().unwrap_or("Service");
        if !group.is_empty() || kind != "Service" {
            let message =
                format!("backendRef {}: kind {kind} of group {group:?} cannot be a backend", it.name);
            return Err(RefProblem::InvalidKind(message));
        }
        let service = named(namespace, it);
        grants::permitted(self.snapshot, (route, namespace), ("Service", &service))
            .map_err(RefProblem::RefNotPermitted)?;
        self.existing(service, it.port)
    }

    fn existing(
        &self,
        key: ObjectKey,
        port: Option<i32>,
    ) -> Result<(ServicePort, &'a ServicePortSpec), RefProblem> {
        let not_found = |message: String| Err(RefProblem::BackendNotFound(message));
        let Some(spec) = self.snapshot.services.get(&key).and_then(|it| it.spec.as_ref()) else {
            return not_found(format!("Service {key} does not exist"));
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            return not_found(format!("Service {key} is of type ExternalName, which cannot be a backend"));
        }
        let Some(port) = port else { return not_found(format!("backendRef to Service {key} names no port")) };
        let Some(found) = spec.ports.iter().flatten().find(|it| it.port == port) else {
            return not_found(format!("Service {key} has no port {port}"));
        };
        let Ok(port) = u16::try_from(port) else {
            return not_found(format!("port {port} is not a port number"));
        };
        Ok((ServicePort { service: key, port }, found))
    }

    fn service(&self, port: ServicePort, spec: &ServicePortSpec) -> Resolved {
        let (websocket, transport) = self.protocol(&port.service, spec)?;
        let endpoints = self.endpoints(&port.service, spec.name.as_deref().unwrap_or_default());
        Ok((port, Arc::new(Service { endpoints, websocket, transport })))
    }

    /// Whether a port speaks WebSocket, and how it is spoken to: by TLS if a policy says so, and whatever its
    /// `appProtocol` (KEP-3726, GEP-1911) says. Protocols that neither Varnish nor the relay speaks are refused,
    /// others are taken as HTTP/1.1.
    fn protocol(&self, key: &ObjectKey, port: &ServicePortSpec) -> Result<(bool, Transport), RefProblem> {
        let tls = self.policies.of(key, port.name.as_deref().unwrap_or_default());
        let tls = tls.map_err(RefProblem::InvalidBackendTls)?;
        let (websocket, http2) = match port.app_protocol.as_deref() {
            Some("kubernetes.io/ws") => (true, false),
            Some("kubernetes.io/wss") if tls.is_some() => (true, false),
            Some("kubernetes.io/h2c") => (false, true),
            Some(protocol @ "kubernetes.io/wss") => {
                let message = format!(
                    "Service {key} port {}: appProtocol {protocol} needs a BackendTLSPolicy",
                    port.port
                );
                return Err(RefProblem::UnsupportedProtocol(message));
            }
            _ => (false, false),
        };
        Ok((websocket, Transport { http2, tls }))
    }

    fn endpoints(&self, service: &ObjectKey, port_name: &str) -> BTreeSet<SocketAddr> {
        let slices = self.slices().get(service);
        slices.into_iter().flatten().flat_map(|slice| ready(slice, port_name)).collect()
    }
}

/// The Service that a slice belongs to.
pub(super) fn service_of(key: &ObjectKey, slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(key.namespace.as_str(), name.as_str()))
}

/// The object that a reference in a route of `namespace` names, if it is a Service.
pub(super) fn named(namespace: &str, it: &BackendRef) -> ObjectKey {
    ObjectKey::new(it.namespace.as_deref().unwrap_or(namespace), it.name.as_str())
}

/// The addresses of a slice that are ready, on its port of that name. Unknown readiness counts as ready
/// (discovery.k8s.io/v1, `EndpointConditions`).
fn ready<'a>(slice: &'a EndpointSlice, port_name: &'a str) -> impl Iterator<Item = SocketAddr> + 'a {
    let ports =
        slice.ports.iter().flatten().filter(move |it| it.name.as_deref().unwrap_or_default() == port_name);
    let ports = ports.filter_map(|it| it.port.and_then(|port| u16::try_from(port).ok()));
    ports.flat_map(|port| {
        let ready = slice
            .endpoints
            .iter()
            .flatten()
            .filter(|it| it.conditions.as_ref().and_then(|it| it.ready) != Some(false));
        let addresses = ready.flat_map(|it| it.addresses.iter()).filter_map(|it| it.parse::<IpAddr>().ok());
        addresses.map(move |address| SocketAddr::new(address, port))
    })
}
