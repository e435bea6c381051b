//! Gateways and ListenerSets to listeners: which are ours, valid, and not in conflict.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use gateway_api::experimental::gateways::{
    Gateway, GatewayAddresses, GatewayAllowedListeners, GatewayAllowedListenersNamespacesFrom,
    GatewayListeners, GatewayListenersAllowedRoutes, GatewayListenersAllowedRoutesNamespacesFrom,
    GatewayListenersTls, GatewayListenersTlsMode,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::certificates::Certificates;
use super::clients;
use super::conflicts;
use super::namespaces::Allowed;
use super::parameters::{Parameters, Resolved};
use super::report::{
    ClassReport, GatewayProblem, GatewayReport, ListenerProblem, ListenerReport, ListenerSetProblem,
    ListenerSetReport, Report,
};
use super::{Addressing, Settings, client_certificate, tls};
use crate::model::{Certificate, ClientValidation, HostPattern, ListenerId, ObjectKey, Scheme};
use crate::snapshot::{GATEWAY_GROUP, ListenerSet, Snapshot};

/// The kind of route that listeners of protocol HTTP and HTTPS take.
pub(super) const HTTP_ROUTE: &str = "HTTPRoute";
/// The kind of route that listeners of protocol TLS take.
pub(super) const TLS_ROUTE: &str = "TLSRoute";

/// A listener that routes can be attached to.
pub(super) struct Listener {
    pub id: ListenerId,
    /// As the listener gives it; checked if the listener is valid.
    pub port: i32,
    pub hostname: HostPattern,
    pub namespaces: Allowed,
    pub report: ListenerReport,
    pub protocol: String,
    /// What clients speak, where the protocol is one that is served; that of protocol TLS is taken for HTTPS.
    pub scheme: Scheme,
    /// Whether connections go past Varnish, to whom the server name says.
    pub streams: bool,
    pub tls: Option<GatewayListenersTls>,
    /// What it presents to TLS clients.
    pub certificates: Vec<Arc<Certificate>>,
    /// What TLS clients have to show; none if nothing.
    pub clients: Option<ClientValidation>,
}

/// Where requests come in: the port of a listener, and what is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entrance {
    pub scheme: Scheme,
    pub port: u16,
}

/// A Gateway or ListenerSet that routes can name as a parent.
pub(super) struct Parent {
    pub kind: &'static str,
    pub key: ObjectKey,
    /// The Gateway that it is or adds to.
    pub gateway: ObjectKey,
    /// The data plane that serves it.
    pub plane: ObjectKey,
    pub listeners: Vec<Listener>,
    /// What is shown to backends; only Gateways have one.
    pub client_certificate: Option<Arc<Certificate>>,
    /// False where nothing of it is served.
    pub served: bool,
}

/// Finds all parents, in order of precedence: the older Gateway first, each followed by its ListenerSets, the
/// older first. What is to be said of classes, and of Gateways and ListenerSets as a whole, goes into `report`.
pub(super) fn parents(
    snapshot: &Snapshot,
    settings: &Settings,
    certificates: &mut Certificates,
    parameters: &Parameters,
    report: &mut Report,
) -> Vec<Parent> {
    report.classes = classes(snapshot, parameters);
    let mut parents = Vec::new();
    for (key, gateway) in by_age(snapshot.gateways.iter().map(|(key, it)| (key, it.as_ref(), &it.metadata))) {
        let Some(parameters) = parameters.of_gateway(key) else { continue };
        let problem = gateway_problem(gateway, parameters);
        let served = problem.is_none();
        parents.push(parent("Gateway", key, key, &gateway.spec.listeners, served));
        let sets = listener_sets(key, gateway, snapshot, served, report);
        parents.extend(sets);
        let generation = gateway.metadata.generation;
        let frontend = gateway.spec.tls.as_ref().and_then(|it| it.frontend.as_ref());
        let insecure_frontend = frontend.is_some_and(clients::is_insecure);
        let it = GatewayReport { generation, problem, insecure_frontend, ..GatewayReport::default() };
        report.gateways.insert(key.clone(), it);
    }
    conflicts::find(&mut parents);
    check_ports(&mut parents, settings);
    tls::find(&mut parents, certificates);
    client_certificate::find(&mut parents, certificates, settings.addressing, report);
    match settings.addressing {
        Addressing::Shared => conflicts::share_address(&mut parents),
        Addressing::PerGateway => parents.iter_mut().for_each(|it| it.plane = it.gateway.clone()),
    }
    parents
}

fn classes(snapshot: &Snapshot, parameters: &Parameters) -> BTreeMap<ObjectKey, ClassReport> {
    let report = snapshot.gateway_classes.iter().filter_map(|(key, it)| {
        let invalid_parameters = parameters.of_class(key)?.as_ref().err().cloned();
        Some((key.clone(), ClassReport { generation: it.metadata.generation, invalid_parameters }))
    });
    report.collect()
}

/// Objects with the oldest first; those without a creation time come last, by name.
pub(super) fn by_age<'a, T>(
    objects: impl Iterator<Item = (&'a ObjectKey, T, &'a ObjectMeta)>,
) -> impl Iterator<Item = (&'a ObjectKey, T)> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by_key(|(key, _, metadata)| {
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        (created.is_none(), created, *key)
    });
    objects.into_iter().map(|(key, object, _)| (key, object))
}

fn gateway_problem(gateway: &Gateway, parameters: &Result<Resolved, String>) -> Option<GatewayProblem> {
    if let Err(message) = parameters {
        return Some(GatewayProblem::InvalidParameters(message.clone()));
    }
    let problem = gateway.spec.addresses.iter().flatten().find_map(address_problem);
    problem.map(|it| GatewayProblem::UnsupportedAddress(format!("addresses: {it}")))
}

/// Without a value any address of the type will do. A name cannot be had for the asking: whoever wants one that
/// leads to the Gateway makes it do so (Gateway API, `GatewaySpec.addresses`).
fn address_problem(it: &GatewayAddresses) -> Option<String> {
    let value = it.value.as_deref().unwrap_or_default();
    match it.r#type.as_deref().unwrap_or("IPAddress") {
        "IPAddress" if value.is_empty() || value.parse::<IpAddr>().is_ok() => None,
        "IPAddress" => Some(format!("{value:?} is not an IP address")),
        "Hostname" if value.is_empty() => None,
        "Hostname" => Some(format!("a host name cannot be assigned: {value}")),
        other => Some(format!("type {other} is not supported")),
    }
}

fn listener_sets(
    gateway_key: &ObjectKey,
    gateway: &Gateway,
    snapshot: &Snapshot,
    served: bool,
    report: &mut Report,
) -> Vec<Parent> {
    let allowed = allowed_listeners(gateway.spec.allowed_listeners.as_ref());
    let mut parents = Vec::new();
    let sets = snapshot.listener_sets.iter().filter(|(key, it)| names(it, key, gateway_key));
    for (key, set) in by_age(sets.map(|(key, it)| (key, it.as_ref(), &it.metadata))) {
        let allows = allowed.allows(&gateway_key.namespace, &key.namespace, snapshot);
        let problem = match (served, allows) {
            (_, false) => Some(ListenerSetProblem::NotAllowed),
            (false, true) => Some(ListenerSetProblem::ParentNotAccepted),
            (true, true) => None,
        };
        // A set that is not allowed has no listeners for routes to be attached to.
        let listeners = if allows { set.spec.listeners.as_slice() } else { &[] };
        parents.push(parent("ListenerSet", key, gateway_key, listeners, problem.is_none()));
        let generation = set.metadata.generation;
        let it =
            ListenerSetReport { generation, gateway: gateway_key.clone(), problem, listeners: Vec::new() };
        report.listener_sets.insert(key.clone(), it);
    }
    parents
}

fn names(set: &ListenerSet, key: &ObjectKey, gateway: &ObjectKey) -> bool {
    let parent = &set.spec.parent_ref;
    parent.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP
        && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway"
        && parent.name == gateway.name
        && parent.namespace.as_ref().unwrap_or(&key.namespace) == &gateway.namespace
}

fn allowed_listeners(it: Option<&GatewayAllowedListeners>) -> Allowed {
    let Some(namespaces) = it.and_then(|it| it.namespaces.as_ref()) else { return Allowed::None };
    match namespaces.from {
        Some(GatewayAllowedListenersNamespacesFrom::All) => Allowed::All,
        Some(GatewayAllowedListenersNamespacesFrom::Same) => Allowed::Same,
        Some(GatewayAllowedListenersNamespacesFrom::Selector) => {
            Allowed::selector(namespaces.selector.as_ref())
        }
        Some(GatewayAllowedListenersNamespacesFrom::None) | None => Allowed::None,
    }
}

fn parent(
    kind: &'static str,
    key: &ObjectKey,
    gateway: &ObjectKey,
    listeners: &[GatewayListeners],
    served: bool,
) -> Parent {
    let listeners = listeners.iter().map(|it| listener(kind, key, it)).collect();
    let (key, gateway) = (key.clone(), gateway.clone());
    Parent { kind, key, gateway, plane: ObjectKey::default(), listeners, client_certificate: None, served }
}

fn listener(kind: &'static str, parent: &ObjectKey, it: &GatewayListeners) -> Listener {
    let hostname = HostPattern::parse(it.hostname.as_deref().unwrap_or_default());
    let mut report = ListenerReport { name: it.name.clone(), ..ListenerReport::default() };
    match it.protocol.as_str() {
        protocol @ ("HTTP" | "HTTPS" | "TLS") => {
            let kind = if protocol == "TLS" { TLS_ROUTE } else { HTTP_ROUTE };
            (report.supported_kinds, report.invalid_kinds) = route_kinds(kind, it.allowed_routes.as_ref());
        }
        other => {
            let message = format!("protocol {other} is not supported; expected HTTP, HTTPS or TLS");
            report.problem = Some(ListenerProblem::UnsupportedProtocol(message));
        }
    }
    if let Err(error) = &hostname {
        report.problem.get_or_insert(ListenerProblem::Invalid(format!("hostname: {error}")));
    }
    Listener {
        id: ListenerId { kind, parent: parent.clone(), name: it.name.clone() },
        port: it.port,
        hostname: hostname.unwrap_or(HostPattern::Any),
        namespaces: allowed_routes(it.allowed_routes.as_ref()),
        report,
        protocol: it.protocol.clone(),
        scheme: if matches!(it.protocol.as_str(), "HTTPS" | "TLS") { Scheme::Https } else { Scheme::Http },
        streams: it.protocol == "TLS",
        tls: it.tls.clone(),
        certificates: Vec::new(),
        clients: None,
    }
}

/// The kinds that a listener takes, and what is wrong with those that it names otherwise.
fn route_kinds(
    supported: &'static str,
    it: Option<&GatewayListenersAllowedRoutes>,
) -> (Vec<&'static str>, Option<String>) {
    let kinds = it.and_then(|it| it.kinds.as_deref()).unwrap_or_default();
    let ours = |group: Option<&str>, kind: &str| {
        group.unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP && kind == supported
    };
    let (valid, invalid): (Vec<_>, Vec<_>) = kinds.iter().partition(|it| ours(it.group.as_deref(), &it.kind));
    let invalid: Vec<_> = invalid.into_iter().map(|it| it.kind.as_str()).collect();
    let problem =
        (!invalid.is_empty()).then(|| format!("allowedRoutes.kinds: not supported: {}", invalid.join(", ")));
    let supported = if kinds.is_empty() || !valid.is_empty() { vec![supported] } else { Vec::new() };
    (supported, problem)
}

fn allowed_routes(it: Option<&GatewayListenersAllowedRoutes>) -> Allowed {
    let Some(namespaces) = it.and_then(|it| it.namespaces.as_ref()) else { return Allowed::Same };
    match namespaces.from {
        Some(GatewayListenersAllowedRoutesNamespacesFrom::All) => Allowed::All,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Selector) => {
            Allowed::selector(namespaces.selector.as_ref())
        }
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Same) | None => Allowed::Same,
    }
}

fn check_ports(parents: &mut [Parent], settings: &Settings) {
    let offset = settings.port_offset;
    for listener in parents.iter_mut().flat_map(|parent| parent.listeners.iter_mut()) {
        let port = u16::try_from(listener.port).ok().filter(|port| *port > 0);
        if port.and_then(|port| port.checked_add(offset)).is_none() {
            let message = format!("port {} plus offset {offset} is not between 1 and 65535", listener.port);
            listener.report.problem.get_or_insert(ListenerProblem::PortUnavailable(message));
        }
        if port.is_some_and(|port| settings.reserved_ports.contains(&port)) {
            let message = format!("port {} is used by the data plane itself", listener.port);
            listener.report.problem.get_or_insert(ListenerProblem::PortUnavailable(message));
        }
    }
}

impl Listener {
    /// Where requests come in, of a listener that is served; none where none do, as connections go past Varnish.
    pub(super) fn entrance(&self) -> Option<Entrance> {
        let port = self.served_port().filter(|_| !self.streams);
        port.map(|port| Entrance { scheme: self.scheme, port })
    }

    /// Whether TLS ends here.
    pub(super) fn terminates_tls(&self) -> bool {
        let mode = self.tls.as_ref().and_then(|it| it.mode.as_ref());
        self.scheme == Scheme::Https && !(self.streams && mode == Some(&GatewayListenersTlsMode::Passthrough))
    }

    /// The port of a listener that is served.
    pub(super) fn served_port(&self) -> Option<u16> {
        let is_served = self.report.is_usable() && self.report.shadowed.is_none();
        u16::try_from(self.port).ok().filter(|_| is_served)
    }
}
