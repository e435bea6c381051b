//! Which listeners a route is attached to (Gateway API, `CommonRouteSpec.parentRefs`).

use gateway_api::experimental::httproutes::HttpRouteParentRefs;

use super::listeners::{HTTP_ROUTE, Listener, Parent};
use super::report::RouteAccepted;
use crate::model::{HostPattern, ObjectKey};
use crate::snapshot::{GATEWAY_GROUP, HttpRoute, Snapshot};

/// What a parentRef comes to.
pub(super) struct Attachment {
    pub accepted: RouteAccepted,
    /// The parent's place among the parents.
    pub parent: usize,
    /// The places of the listeners, each with the hosts that the route has there.
    pub listeners: Vec<(usize, Vec<HostPattern>)>,
}

/// Attaches a route by one of its references; `None` if the parent is not ours.
pub(super) fn attach(
    key: &ObjectKey,
    route: &HttpRoute,
    reference: &HttpRouteParentRefs,
    parents: &[Parent],
    snapshot: &Snapshot,
) -> Option<Attachment> {
    let index = parents.iter().position(|parent| names(reference, &key.namespace, parent))?;
    let parent = parents.get(index)?;
    let refuse = |accepted| Some(Attachment { accepted, parent: index, listeners: Vec::new() });
    let named: Vec<_> =
        parent.listeners.iter().enumerate().filter(|(_, it)| is_named(reference, it)).collect();
    if named.is_empty() {
        return refuse(RouteAccepted::NoMatchingParent);
    }
    let allowing = named.into_iter().filter(|(_, it)| {
        let home = it.namespaces.allows(&parent.key.namespace, &key.namespace, snapshot);
        home && it.report.supported_kinds.contains(&HTTP_ROUTE)
    });
    let allowing: Vec<_> = allowing.collect();
    if allowing.is_empty() {
        return refuse(RouteAccepted::NotAllowedByListeners);
    }
    let hosts = allowing.into_iter().map(|(index, it)| (index, hosts(route, &it.hostname)));
    let listeners: Vec<_> = hosts.filter(|(_, hosts)| !hosts.is_empty()).collect();
    if listeners.is_empty() {
        return refuse(RouteAccepted::NoMatchingListenerHostname);
    }
    Some(Attachment { accepted: RouteAccepted::Yes, parent: index, listeners })
}

fn names(reference: &HttpRouteParentRefs, namespace: &str, parent: &Parent) -> bool {
    reference.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP
        && reference.kind.as_deref().unwrap_or("Gateway") == parent.kind
        && reference.name == parent.key.name
        && reference.namespace.as_deref().unwrap_or(namespace) == parent.key.namespace
}

fn is_named(reference: &HttpRouteParentRefs, listener: &Listener) -> bool {
    reference.section_name.as_ref().is_none_or(|name| *name == listener.id.name)
        && reference.port.is_none_or(|port| port == listener.port)
}

/// The hosts that route and listener share. Host names that are none are left out.
fn hosts(route: &HttpRoute, listener: &HostPattern) -> Vec<HostPattern> {
    if route.spec.hostnames.is_empty() {
        return vec![listener.clone()];
    }
    let own = route.spec.hostnames.iter().filter_map(|it| HostPattern::parse(it).ok());
    let mut hosts: Vec<_> = own.filter_map(|it| it.intersection(listener)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}
