//! BackendTLSPolicy as Copal reads it: one whose content cannot be read still says which Services it is for, so that
//! they are not spoken to without TLS.

use std::collections::BTreeMap;

use gateway_api::apis::standard::backendtlspolicies::{
    BackendTlsPolicyTargetRefs, BackendTlsPolicyValidation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Lenient;

/// A BackendTLSPolicy, without its status.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BackendTlsPolicy {
    /// Standard object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: BackendTlsPolicySpec,
}

/// `BackendTLSPolicy.spec`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// The Services that it is for, or their ports.
    pub target_refs: Vec<BackendTlsPolicyTargetRefs>,
    /// What is asked of the certificates of their endpoints.
    pub validation: Lenient<BackendTlsPolicyValidation>,
    /// Options of implementations.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}
