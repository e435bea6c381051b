//! Listeners that cannot be told apart (Gateway API, `GatewaySpec.listeners`, "Distinct Listeners").

use std::collections::{BTreeMap, BTreeSet};

use super::listeners::{Listener, Parent};
use super::report::ListenerProblem;
use crate::model::{ClientValidation, HostPattern, ObjectKey, Scheme};

/// TCP listeners are never served, so they are in nobody's way: where one shares a port with others, only the
/// TCP listener is refused (Gateway API, `GatewaySpec.listeners`: "If an implementation does not support TCP").
const TCP: &str = "TCP";

/// What the listeners of a Gateway and its ListenerSets have claimed so far.
#[derive(Default)]
struct Claims {
    transports: BTreeMap<i32, BTreeSet<&'static str>>,
    hosts: BTreeSet<(i32, HostPattern)>,
}

impl Claims {
    fn conflict(&self, it: &Listener, transport: &'static str) -> Option<ListenerProblem> {
        let transports = self.transports.get(&it.port);
        if transports.is_some_and(|earlier| earlier.iter().any(|earlier| *earlier != transport)) {
            return Some(protocol_conflict(it));
        }
        self.hosts.contains(&(it.port, it.hostname.clone())).then(|| hostname_conflict(it))
    }

    fn add_all(&mut self, listeners: &[Listener]) {
        let known = listeners.iter().filter_map(|it| Some((it, transport(it).filter(|it| *it != TCP)?)));
        let free = known.filter(|(it, transport)| self.conflict(it, transport).is_none());
        for (it, transport) in free.collect::<Vec<_>>() {
            self.transports.entry(it.port).or_default().insert(transport);
            self.hosts.insert((it.port, it.hostname.clone()));
        }
    }
}

/// Finds conflicts within each Gateway and its ListenerSets, which come in order of precedence: among the listeners
/// of one object all lose, else the one of lower precedence. What they fight for is nobody's.
pub(super) fn find(parents: &mut [Parent]) {
    for group in parents.chunk_by_mut(|a, b| a.gateway == b.gateway) {
        let mut claims = Claims::default();
        for parent in group {
            let problems: Vec<_> = parent.listeners.iter().map(|it| problem(it, parent, &claims)).collect();
            if parent.served {
                claims.add_all(&parent.listeners);
            }
            for (listener, problem) in parent.listeners.iter_mut().zip(problems) {
                listener.report.problem = problem.or(listener.report.problem.take());
            }
        }
    }
}

fn problem(it: &Listener, parent: &Parent, earlier: &Claims) -> Option<ListenerProblem> {
    let transport = transport(it)?;
    within(it, transport, &parent.listeners).or_else(|| earlier.conflict(it, transport))
}

fn within(it: &Listener, own: &'static str, listeners: &[Listener]) -> Option<ListenerProblem> {
    let others = listeners.iter().filter(|other| !std::ptr::eq(*other, it) && other.port == it.port);
    let others = others.filter_map(|other| Some((other, transport(other)?)));
    let others: Vec<_> = others.filter(|(_, theirs)| *theirs == own || *theirs != TCP).collect();
    if others.iter().any(|(_, theirs)| *theirs != own) {
        return Some(protocol_conflict(it));
    }
    others.iter().any(|(other, _)| other.hostname == it.hostname).then(|| hostname_conflict(it))
}

/// Protocols that can share a port. A listener of nobody's protocol, or without a readable host, is in no conflict.
fn transport(it: &Listener) -> Option<&'static str> {
    match (it.protocol.as_str(), &it.report.problem) {
        (_, Some(ListenerProblem::Invalid(_))) => None,
        ("HTTP", _) => Some("HTTP"),
        ("HTTPS" | "TLS", _) => Some("TLS"),
        ("TCP", _) => Some(TCP),
        _ => None,
    }
}

fn protocol_conflict(it: &Listener) -> ListenerProblem {
    let message = format!(
        "another listener on port {} has a protocol that cannot share the port with {}",
        it.port, it.protocol
    );
    ListenerProblem::ProtocolConflict(message)
}

fn hostname_conflict(it: &Listener) -> ListenerProblem {
    ListenerProblem::HostnameConflict(format!(
        "another listener has port {} and host {} too",
        it.port, it.hostname
    ))
}

/// Gateways that are served from one address share its ports: where two have the same port and host, or one port with
/// two protocols or with other certificates to be shown by clients, the one that comes first is served. In a cluster
/// each has an address of its own, so this is no conflict for the spec.
pub(super) fn share_address(parents: &mut [Parent]) {
    let mut ports: BTreeMap<i32, (Scheme, ObjectKey)> = BTreeMap::new();
    // Where TLS is passed on, clients show nothing here, whatever they do elsewhere on the port.
    let mut shown: BTreeMap<i32, (Option<ClientValidation>, ObjectKey)> = BTreeMap::new();
    let mut hosts: BTreeMap<(i32, HostPattern), ObjectKey> = BTreeMap::new();
    for parent in parents.iter_mut().filter(|parent| parent.served) {
        for it in parent.listeners.iter_mut().filter(|it| it.report.is_usable()) {
            let gateway = || parent.gateway.clone();
            let (scheme, owner) = ports.entry(it.port).or_insert_with(|| (it.scheme, gateway()));
            let mut other = (*scheme != it.scheme).then_some((owner, "another protocol"));
            if other.is_none() && it.terminates_tls() {
                let first = || (it.clients.clone(), gateway());
                let (clients, owner) = shown.entry(it.port).or_insert_with(first);
                let what = "another validation of clients' certificates";
                other = (*clients != it.clients).then_some((owner, what));
            }
            if let Some((owner, what)) = other {
                let message =
                    format!("Gateway {owner} has port {} on the same address, with {what}", it.port);
                it.report.shadowed = Some(message);
                continue;
            }
            let place = (it.port, it.hostname.clone());
            let owner = hosts.entry(place).or_insert_with(|| parent.gateway.clone());
            it.report.shadowed = (*owner != parent.gateway).then(|| {
                format!("Gateway {owner} has port {} and host {} on the same address", it.port, it.hostname)
            });
        }
    }
}
