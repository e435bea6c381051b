//! What is said of a policy at each of its targets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::policy_accepted;
use crate::api::logging_policy::{AncestorRef, PolicyAncestorStatus, TargetRef, VarnishLoggingPolicyStatus};
use crate::model::ObjectKey;
use crate::translate::Settings;
use crate::translate::report::PolicyReport;

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
