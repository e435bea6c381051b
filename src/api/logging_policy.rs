//! `VarnishLoggingPolicy`: the access log of a Gateway (policy attachment, GEP-713).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validation::rules;

/// Names of the fields of a JSON line (docs/logging.md says what each holds).
pub const FIELDS: [&str; 19] = [
    "time",
    "clientAddress",
    "method",
    "host",
    "url",
    "protocol",
    "status",
    "bytesSent",
    "bytesReceived",
    "duration",
    "timeToFirstByte",
    "cache",
    "route",
    "rule",
    "backend",
    "endpoint",
    "userAgent",
    "referer",
    "vxid",
];

/// A CEL condition on a list: each of its items is a header's name.
macro_rules! header_names {
    ($field:literal) => {
        concat!(
            "!has(self.",
            $field,
            ") || self.",
            $field,
            ".all(it, it.matches('^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$'))"
        )
    };
}

/// The access log of the Gateways that it targets, instead of the defaults of their GatewayClassParameters.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "copal.dev",
    version = "v1alpha1",
    kind = "VarnishLoggingPolicy",
    plural = "varnishloggingpolicies",
    shortname = "vlogpolicy",
    category = "copal",
    category = "gateway-api",
    namespaced,
    status = "VarnishLoggingPolicyStatus",
    derive = "PartialEq",
    doc = "The access log of the Gateways that it targets, instead of the defaults of their GatewayClassParameters.",
    label("gateway.networking.k8s.io/policy", "Direct"),
    printcolumn = r#"{"name": "Targets", "type": "string", "jsonPath": ".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.ancestors[*].conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("self.targetRefs.size() >= 1 && self.targetRefs.size() <= 16", "targetRefs: expected 1 to 16 Gateways"),
    (
        "self.targetRefs.all(it, it.group == 'gateway.networking.k8s.io' && it.kind == 'Gateway')",
        "targetRefs: expected Gateways: group gateway.networking.k8s.io, kind Gateway",
    ),
    (
        "self.targetRefs.all(one, self.targetRefs.exists_one(other, other.name == one.name))",
        "targetRefs: expected each Gateway once",
    ),
    (QUERY_RULE, QUERY_MESSAGE),
    (header_names!("redactHeaders"), REDACT_MESSAGE),
])))]
pub struct VarnishLoggingPolicySpec {
    /// The Gateways, of the policy's own namespace.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// The access log.
    #[serde(flatten)]
    pub logging: LoggingSpec,
}

const QUERY_RULE: &str = "!has(self.query) || self.query.matches('^[^\\\\x00-\\\\x1f]+$')";
const QUERY_MESSAGE: &str = "query: expected a VSL query in one line";
const REDACT_MESSAGE: &str = "redactHeaders: expected names of headers";

/// Names an object of the policy's namespace (Gateway API, `LocalPolicyTargetReference`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct TargetRef {
    /// `gateway.networking.k8s.io`.
    #[schemars(length(max = 253))]
    pub group: String,
    /// `Gateway`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An access log. Fields that are absent have the defaults that they name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (QUERY_RULE, QUERY_MESSAGE),
    (header_names!("redactHeaders"), REDACT_MESSAGE),
])))]
pub struct LoggingSpec {
    /// Whether there is an access log. If absent: true in a VarnishLoggingPolicy, false in GatewayClassParameters,
    /// whose other fields then are the defaults of policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How a line looks: JSON with the usual fields if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Only transactions for which this VSL query (vsl-query(7)) is true are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub query: Option<String>,
    /// Which transactions are logged; `Client` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<Verbosity>,
    /// Names of headers whose values are never logged. Those of a VarnishLoggingPolicy come on top of those of the
    /// GatewayClassParameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub redact_headers: Vec<String>,
}

/// How a line looks; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.json) != has(self.ncsa)", "expected either json or ncsa"),
    (
        "!has(self.ncsa) || self.ncsa.matches('^[^\\\\x00-\\\\x08\\\\x0a-\\\\x1f]+$')",
        "ncsa: expected a format of varnishncsa in one line",
    ),
])))]
pub struct LogFormat {
    /// A JSON object with these fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFormat>,
    /// A varnishncsa(1) format; its result is the field `message` of a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub ncsa: Option<String>,
}

/// The fields of a JSON line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = json_rules()))]
pub struct JsonFormat {
    /// Names of fields (docs/logging.md has the list); the usual ones if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    pub fields: Vec<String>,
    /// Request headers that are logged as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 128)))]
    pub request_headers: Vec<String>,
    /// Response headers that are logged as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 128)))]
    pub response_headers: Vec<String>,
}

fn json_rules() -> serde_json::Value {
    let known = FIELDS.map(|name| format!("'{name}'")).join(", ");
    let known = format!("!has(self.fields) || self.fields.all(it, it in [{known}])");
    rules(&[
        (&known, &format!("fields: expected some of {}", FIELDS.join(", "))),
        (header_names!("requestHeaders"), "requestHeaders: expected names of headers"),
        (header_names!("responseHeaders"), "responseHeaders: expected names of headers"),
    ])
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
