//! ReferenceGrants: which references may leave their namespace (Gateway API, `ReferenceGrant`).

use gateway_api::experimental::referencegrants::{ReferenceGrantFrom, ReferenceGrantTo};

use crate::model::ObjectKey;
use crate::snapshot::{GATEWAY_GROUP, Snapshot};

/// Whether objects of a kind of the Gateway API in a namespace may name an object of a kind of the core group: one in
/// the same namespace, or one whose namespace has a grant for it.
///
/// # Errors
/// When they may not; the text says so.
pub(super) fn permitted(
    snapshot: &Snapshot,
    from: (&str, &str),
    to: (&str, &ObjectKey),
) -> Result<(), String> {
    if permits(snapshot, from, to) {
        return Ok(());
    }
    let ((from_kind, home), (to_kind, object)) = (from, to);
    Err(format!(
        "no ReferenceGrant in {} lets {from_kind}s of {home} use {to_kind} {object}",
        object.namespace
    ))
}

fn permits(
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
