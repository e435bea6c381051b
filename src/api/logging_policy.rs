//! `VarnishLoggingPolicy`: the access log of a Gateway (policy attachment, GEP-713).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The access log of the Gateways that it targets, instead of the defaults of their GatewayClassParameters.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "copal.dev",
    version = "v1alpha1",
    kind = "VarnishLoggingPolicy",
    plural = "varnishloggingpolicies",
    namespaced,
    status = "VarnishLoggingPolicyStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VarnishLoggingPolicySpec {
    /// The Gateways, of the policy's own namespace.
    pub target_refs: Vec<TargetRef>,
    /// The access log.
    #[serde(flatten)]
    pub logging: LoggingSpec,
}

/// Names an object of the policy's namespace (Gateway API, `LocalPolicyTargetReference`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct TargetRef {
    /// `gateway.networking.k8s.io`.
    pub group: String,
    /// `Gateway`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// An access log. Fields that are absent have the defaults that they name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoggingSpec {
    /// Whether there is an access log; true if absent in a VarnishLoggingPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How a line looks: JSON with the usual fields if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Only transactions for which this VSL query (vsl-query(7)) is true are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Which transactions are logged; `Client` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<Verbosity>,
    /// Names of headers whose values are never logged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact_headers: Vec<String>,
}

/// How a line looks; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFormat {
    /// A JSON object with these fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFormat>,
    /// A varnishncsa(1) format; its result is the field `message` of a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ncsa: Option<String>,
}

/// The fields of a JSON line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JsonFormat {
    /// Names of fields (docs/logging.md has the list); the usual ones if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Request headers that are logged as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    /// Response headers that are logged as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
}

/// Which transactions are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Verbosity {
    /// Requests of clients.
    #[default]
    Client,
    /// Requests of clients, and requests to backends.
    All,
}

/// What became of a policy at each of its targets (GEP-713, `PolicyStatus`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VarnishLoggingPolicyStatus {
    /// One entry a target and controller.
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What became of a policy at one target.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The target.
    pub ancestor_ref: AncestorRef,
    /// The controller that says so.
    pub controller_name: String,
    /// `Accepted` with its reasons.
    pub conditions: Vec<Condition>,
}

/// Names a target (Gateway API, `ParentReference`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    /// `gateway.networking.k8s.io`.
    pub group: String,
    /// `Gateway`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}
