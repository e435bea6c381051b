//! Which Services mean something else than in the last translation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::backends::service_of;
use crate::model::ObjectKey;
use crate::snapshot::{Objects, Snapshot};

/// What backendRefs to Services may mean something else now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    /// All: grants have changed.
    All,
    /// Those to these Services.
    Services(BTreeSet<ObjectKey>),
}

impl Dirty {
    /// Compares the Services, EndpointSlices and ReferenceGrants of two snapshots, by the objects' addresses.
    pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Self {
        if !changed(&before.reference_grants, &now.reference_grants).is_empty() {
            return Self::All;
        }
        let services = changed(&before.services, &now.services).into_keys().cloned();
        let slices = changed(&before.endpoint_slices, &now.endpoint_slices);
        let slices =
            slices.into_iter().flat_map(|(key, both)| both.into_iter().map(move |slice| (key, slice)));
        let of_slices = slices.filter_map(|(key, slice)| service_of(key, slice));
        Self::Services(services.chain(of_slices).collect())
    }

    /// Whether none of these Services is concerned.
    pub(super) fn spares(&self, services: &BTreeSet<ObjectKey>) -> bool {
        match self {
            Self::All => services.is_empty(),
            Self::Services(dirty) => dirty.is_disjoint(services),
        }
    }
}

/// The objects that came, went or changed, in the versions before and now.
fn changed<'a, T>(before: &'a Objects<T>, now: &'a Objects<T>) -> BTreeMap<&'a ObjectKey, Vec<&'a T>> {
    let mut changed: BTreeMap<&ObjectKey, Vec<&T>> = BTreeMap::new();
    if Arc::ptr_eq(before, now) {
        return changed;
    }
    for (these, others) in [(before, now), (now, before)] {
        let same = |key: &ObjectKey, it: &Arc<T>| others.get(key).is_some_and(|other| Arc::ptr_eq(it, other));
        for (key, it) in these.iter().filter(|(key, it)| !same(key, it)) {
            changed.entry(key).or_default().push(it);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Object;
    use serde_json::json;

    fn object(kind: &str, name: &str) -> Object {
        let (version, labels) = match kind {
            "EndpointSlice" => ("discovery.k8s.io/v1", json!({"kubernetes.io/service-name": name})),
            "ReferenceGrant" => ("gateway.networking.k8s.io/v1", json!({})),
            _ => ("v1", json!({})),
        };
        let value = json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels},
            "spec": {"from": [], "to": []}, "addressType": "IPv4", "endpoints": [],
        });
        Object::parse(value).unwrap().unwrap()
    }

    #[test]
    fn what_changed_makes_its_service_dirty() {
        let before: Snapshot = [object("Service", "a"), object("EndpointSlice", "b")].into_iter().collect();
        assert_eq!(Dirty::between(&before, &before), Dirty::Services(BTreeSet::new()));
        for (kind, name) in
            [("Service", "a"), ("Service", "c"), ("EndpointSlice", "b"), ("EndpointSlice", "d")]
        {
            let mut now = before.clone();
            now.insert(object(kind, name));
            let expected = Dirty::Services([ObjectKey::new("default", name)].into());
            assert_eq!(Dirty::between(&before, &now), expected, "{kind} {name}");
            assert_eq!(Dirty::between(&now, &before), expected, "{kind} {name}, back");
        }
        let mut now = before.clone();
        now.insert(object("ReferenceGrant", "g"));
        assert_eq!(Dirty::between(&before, &now), Dirty::All);
    }
}
