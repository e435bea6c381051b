//! Which Services mean something else than in the last translation.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::backend_tls::{names_any, targets};
use super::backends::service_of;
use crate::model::ObjectKey;
use crate::snapshot::{BackendTlsPolicy, Objects, Snapshot};

/// What backendRefs to Services may mean something else now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    /// All: grants have changed.
    All,
    /// Those to these Services.
    Services(BTreeSet<ObjectKey>),
}

impl Dirty {
    /// Compares the Services, EndpointSlices, ReferenceGrants and BackendTLSPolicies of two snapshots, and the
    /// ConfigMaps that those name, by the objects' addresses.
    pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Self {
        if !changed(&before.reference_grants, &now.reference_grants).is_empty() {
            return Self::All;
        }
        let services = changed(&before.services, &now.services).into_iter().map(|(key, _)| key.clone());
        let slices = changed(&before.endpoint_slices, &now.endpoint_slices);
        let of_slices = slices.into_iter().filter_map(|(key, slice)| service_of(key, slice));
        let of_policies = policies(before, now).into_iter().flat_map(|(key, it)| targets(key, it));
        let of_policies = of_policies.map(|(service, _)| service);
        Self::Services(services.chain(of_slices).chain(of_policies).collect())
    }

    /// Whether none of these Services is concerned.
    pub(super) fn spares(&self, services: &BTreeSet<ObjectKey>) -> bool {
        match self {
            Self::All => services.is_empty(),
            Self::Services(dirty) => dirty.is_disjoint(services),
        }
    }
}

/// The policies that came, went or changed, or that name a ConfigMap that did.
fn policies<'a>(before: &'a Snapshot, now: &'a Snapshot) -> Vec<(&'a ObjectKey, &'a BackendTlsPolicy)> {
    let mut policies = changed(&before.backend_tls_policies, &now.backend_tls_policies);
    let config_maps = changed(&before.config_maps, &now.config_maps);
    let config_maps: BTreeSet<_> = config_maps.into_iter().map(|(key, _)| key).collect();
    if !config_maps.is_empty() {
        let all = now.backend_tls_policies.iter().map(|(key, it)| (key, it.as_ref()));
        policies.extend(all.filter(|(key, it)| names_any(key, it, &config_maps)));
    }
    policies
}

/// The objects that came, went or changed, in the versions before and now. Both maps are walked once, side by side.
fn changed<'a, T>(before: &'a Objects<T>, now: &'a Objects<T>) -> Vec<(&'a ObjectKey, &'a T)> {
    let mut changed: Vec<(&ObjectKey, &T)> = Vec::new();
    if Arc::ptr_eq(before, now) {
        return changed;
    }
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    while let Some(order) = match (before.peek(), now.peek()) {
        (Some((a, _)), Some((b, _))) => Some(a.cmp(b)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    } {
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { now.next() } else { None };
        match (old, new) {
            (Some((_, old)), Some((_, new))) if Arc::ptr_eq(old, new) => {}
            _ => changed.extend(old.into_iter().chain(new).map(|(key, it)| (key, it.as_ref()))),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Object;
    use serde_json::json;

    fn object(kind: &str, name: &str, version: &str) -> Object {
        let (api_version, labels) = match kind {
            "EndpointSlice" => ("discovery.k8s.io/v1", json!({"kubernetes.io/service-name": name})),
            "ReferenceGrant" => ("gateway.networking.k8s.io/v1", json!({})),
            _ => ("v1", json!({})),
        };
        let value = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels, "annotations": {"version": version}},
            "spec": {"from": [], "to": []}, "addressType": "IPv4", "endpoints": [],
        });
        Object::parse(value).unwrap().unwrap()
    }

    #[test]
    fn what_changed_makes_its_service_dirty() {
        let before: Snapshot =
            [object("Service", "a", "1"), object("EndpointSlice", "b", "1")].into_iter().collect();
        let mut same = before.clone();
        same.insert(object("Service", "a", "1"));
        assert_eq!(Dirty::between(&before, &same), Dirty::Services(BTreeSet::new()), "an equal object");
        for (kind, name) in
            [("Service", "a"), ("Service", "c"), ("EndpointSlice", "b"), ("EndpointSlice", "d")]
        {
            let mut now = before.clone();
            now.insert(object(kind, name, "2"));
            let expected = Dirty::Services([ObjectKey::new("default", name)].into());
            assert_eq!(Dirty::between(&before, &now), expected, "{kind} {name}");
            assert_eq!(Dirty::between(&now, &before), expected, "{kind} {name}, back");
        }
        let mut now = before.clone();
        now.insert(object("ReferenceGrant", "g", "1"));
        assert_eq!(Dirty::between(&before, &now), Dirty::All);
    }
}
