//! Which listeners a route is attached to (Gateway API, `CommonRouteSpec.parentRefs`).

use std::collections::BTreeSet;

use super::listeners::{HTTP_ROUTE, Listener, Parent, TLS_ROUTE};
use super::report::{ParentReport, RouteAccepted, RouteReport};
use crate::model::{HostPattern, ObjectKey};
use crate::snapshot::{GATEWAY_GROUP, HttpRoute, ParentRef, Snapshot, TlsRoute};

/// What counts of a route, whatever its kind: which it is, and where it wants to be attached.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub kind: &'static str,
    pub key: &'a ObjectKey,
    pub generation: Option<i64>,
    pub parent_refs: &'a [ParentRef],
    pub hostnames: &'a [String],
}

impl<'a> Candidate<'a> {
    pub(super) fn http(key: &'a ObjectKey, route: &'a HttpRoute) -> Self {
        let HttpRoute { metadata, spec } = route;
        let (parent_refs, hostnames) = (&spec.parent_refs, &spec.hostnames);
        Self { kind: HTTP_ROUTE, key, generation: metadata.generation, parent_refs, hostnames }
    }

    pub(super) fn tls(key: &'a ObjectKey, route: &'a TlsRoute) -> Self {
        let TlsRoute { metadata, spec } = route;
        let (parent_refs, hostnames) = (&spec.parent_refs, &spec.hostnames);
        Self { kind: TLS_ROUTE, key, generation: metadata.generation, parent_refs, hostnames }
    }
}

/// One route and all that it is attached to.
pub(super) struct Attached<'a> {
    parents: &'a [Parent],
    /// One for each reference that is ours, by the reference's place.
    by_reference: Vec<(usize, Attachment)>,
}

/// A listener that a route is attached to.
pub(super) struct At<'s, 'a> {
    /// The places of parent and listener.
    pub place: (usize, usize),
    pub parent: &'a Parent,
    pub listener: &'a Listener,
    /// The hosts that the route has there.
    pub hosts: &'s [HostPattern],
}

impl<'a> Attached<'a> {
    pub(super) fn new(route: Candidate, parents: &'a [Parent], snapshot: &Snapshot) -> Self {
        let references = route.parent_refs.iter().enumerate();
        let attached =
            references.filter_map(|(index, it)| Some((index, attach(route, it, parents, snapshot)?)));
        Self { parents, by_reference: attached.collect() }
    }

    /// Whether none of its references is ours.
    pub(super) fn is_to_nothing_of_ours(&self) -> bool {
        self.by_reference.is_empty()
    }

    /// The listeners that it is attached to, each once.
    pub(super) fn listeners(&self) -> Vec<At<'_, 'a>> {
        let mut seen = BTreeSet::new();
        let all = self.by_reference.iter().flat_map(|(_, attachment)| {
            attachment.listeners.iter().map(|(index, hosts)| ((attachment.parent, *index), hosts.as_slice()))
        });
        let all = all.filter(|(place, _)| seen.insert(*place));
        let all = all.filter_map(|(place, hosts)| {
            let parent = self.parents.get(place.0)?;
            Some(At { place, parent, listener: parent.listeners.get(place.1)?, hosts })
        });
        all.collect()
    }

    /// What is to be said of it, reference by reference.
    pub(super) fn report(
        &self,
        route: Candidate,
        parent: impl Fn(ParentRef, &RouteAccepted) -> ParentReport,
    ) -> RouteReport {
        let parents = self.by_reference.iter().filter_map(|(index, attachment)| {
            Some(parent(route.parent_refs.get(*index)?.clone(), &attachment.accepted))
        });
        RouteReport { generation: route.generation, parents: parents.collect() }
    }
}

/// What a parentRef comes to.
struct Attachment {
    accepted: RouteAccepted,
    /// The parent's place among the parents.
    parent: usize,
    /// The places of the listeners, each with the hosts that the route has there.
    listeners: Vec<(usize, Vec<HostPattern>)>,
}

/// Attaches a route by one of its references; `None` if the parent is not ours.
fn attach(
    route: Candidate,
    reference: &ParentRef,
    parents: &[Parent],
    snapshot: &Snapshot,
) -> Option<Attachment> {
    let index = parents.iter().position(|parent| names(reference, &route.key.namespace, parent))?;
    let parent = parents.get(index)?;
    let refuse = |accepted| Some(Attachment { accepted, parent: index, listeners: Vec::new() });
    let named: Vec<_> =
        parent.listeners.iter().enumerate().filter(|(_, it)| is_named(reference, it)).collect();
    if named.is_empty() {
        return refuse(RouteAccepted::NoMatchingParent);
    }
    let allowing = named.into_iter().filter(|(_, it)| {
        let home = it.namespaces.allows(&parent.key.namespace, &route.key.namespace, snapshot);
        home && it.report.supported_kinds.contains(&route.kind)
    });
    let allowing: Vec<_> = allowing.collect();
    if allowing.is_empty() {
        return refuse(RouteAccepted::NotAllowedByListeners);
    }
    let hosts = allowing.into_iter().map(|(index, it)| (index, hosts(route.hostnames, &it.hostname)));
    let listeners: Vec<_> = hosts.filter(|(_, hosts)| !hosts.is_empty()).collect();
    if listeners.is_empty() {
        return refuse(RouteAccepted::NoMatchingListenerHostname);
    }
    Some(Attachment { accepted: RouteAccepted::Yes, parent: index, listeners })
}

fn names(reference: &ParentRef, namespace: &str, parent: &Parent) -> bool {
    reference.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP
        && reference.kind.as_deref().unwrap_or("Gateway") == parent.kind
        && reference.name == parent.key.name
        && reference.namespace.as_deref().unwrap_or(namespace) == parent.key.namespace
}

fn is_named(reference: &ParentRef, listener: &Listener) -> bool {
    reference.section_name.as_ref().is_none_or(|name| *name == listener.id.name)
        && reference.port.is_none_or(|port| port == listener.port)
}

/// The hosts that route and listener share. Host names that are none are left out.
fn hosts(route: &[String], listener: &HostPattern) -> Vec<HostPattern> {
    if route.is_empty() {
        return vec![listener.clone()];
    }
    let own = route.iter().filter_map(|it| HostPattern::parse(it).ok());
    let mut hosts: Vec<_> = own.filter_map(|it| it.intersection(listener)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}
