//! What is said of a policy at each of its targets.

use gateway_api::apis::standard::backendtlspolicies::{
    BackendTlsPolicyStatus, BackendTlsPolicyStatusAncestors, BackendTlsPolicyStatusAncestorsAncestorRef,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{backend_tls_refs, policy_accepted};
use crate::api::logging_policy::{AncestorRef, PolicyAncestorStatus, TargetRef, VarnishLoggingPolicyStatus};
use crate::model::ObjectKey;
use crate::snapshot::GATEWAY_GROUP;
use crate::translate::Settings;
use crate::translate::report::{BackendTlsPolicyReport, PolicyReport};

/// The status of a BackendTLSPolicy, with an entry for each Gateway that it matters to.
#[must_use]
pub fn backend_tls_policy(
    it: &BackendTlsPolicyReport,
    settings: &Settings,
    now: &Time,
) -> BackendTlsPolicyStatus {
    let ancestors = it.ancestors.iter().map(|(gateway, accepted)| BackendTlsPolicyStatusAncestors {
        ancestor_ref: gateway_ref(gateway),
        controller_name: settings.controller_name.clone(),
        conditions: [policy_accepted(accepted), backend_tls_refs(it.unresolved.as_ref())]
            .map(|said| said.at(it.generation, now))
            .into(),
    });
    BackendTlsPolicyStatus { ancestors: ancestors.collect() }
}

fn gateway_ref(gateway: &ObjectKey) -> BackendTlsPolicyStatusAncestorsAncestorRef {
    BackendTlsPolicyStatusAncestorsAncestorRef {
        group: Some(GATEWAY_GROUP.into()),
        kind: Some("Gateway".into()),
        name: gateway.name.clone(),
        namespace: Some(gateway.namespace.clone()),
        port: None,
        section_name: None,
    }
}

/// The status of a VarnishLoggingPolicy, with an entry for each of its targets.
pub(super) fn logging_policy(
    policy: &ObjectKey,
    it: &PolicyReport,
    settings: &Settings,
    now: &Time,
) -> VarnishLoggingPolicyStatus {
    let ancestors = it.targets.iter().map(|(target, accepted)| PolicyAncestorStatus {
        ancestor_ref: ancestor_ref(target, policy),
        controller_name: settings.controller_name.clone(),
        conditions: vec![policy_accepted(accepted).at(it.generation, now)],
    });
    VarnishLoggingPolicyStatus { ancestors: ancestors.collect() }
}

/// Targets are in the policy's namespace.
fn ancestor_ref(target: &TargetRef, policy: &ObjectKey) -> AncestorRef {
    let TargetRef { group, kind, name } = target.clone();
    AncestorRef { group, kind, namespace: policy.namespace.clone(), name }
}
