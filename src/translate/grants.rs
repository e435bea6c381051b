//! ReferenceGrants: which references may leave their namespace (Gateway API, `ReferenceGrant`).

use gateway_api::experimental::referencegrants::{ReferenceGrantFrom, ReferenceGrantTo};

use crate::model::ObjectKey;
use crate::snapshot::{GATEWAY_GROUP, Snapshot};

/// Whether objects of a kind of the Gateway API in `namespace` may name an object of a kind of the core group:
/// one in the same namespace, or one whose namespace has a grant for it.
pub(super) fn permits(
    snapshot: &Snapshot,
    (from_kind, namespace): (&str, &str),
    (to_kind, object): (&str, &ObjectKey),
) -> bool {
    let from = |it: &ReferenceGrantFrom| {
        it.group == GATEWAY_GROUP && it.kind == from_kind && it.namespace == namespace
    };
    let to = |it: &ReferenceGrantTo| {
        let named = it.name.as_ref().is_none_or(|name| name.is_empty() || *name == object.name);
        it.group.is_empty() && it.kind == to_kind && named
    };
    let grants = snapshot.reference_grants.iter().filter(|(key, _)| key.namespace == object.namespace);
    let mut grants = grants.map(|(_, grant)| &grant.spec);
    object.namespace == namespace || grants.any(|it| it.from.iter().any(from) && it.to.iter().any(to))
}
