//! TLSRoute as Copal reads it: with the types of an HTTPRoute, where the API's are the same.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::http_route::{BackendRef, Lenient, ParentRef};

/// A TLSRoute, without its status.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TlsRoute {
    /// Standard object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: TlsRouteSpec,
}

/// `TLSRoute.spec`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// The Gateways and ListenerSets that the route wants to be attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Server names; none, which older versions of the API allow, means those of the listener.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Rules, of which the API allows one, since nothing tells several apart.
    #[serde(default)]
    pub rules: Vec<Lenient<TlsRule>>,
}

/// The rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "each field is the API's field of its name")]
pub struct TlsRule {
    pub name: Option<String>,
    pub backend_refs: Vec<BackendRef>,
}
