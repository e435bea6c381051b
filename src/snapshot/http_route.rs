//! HTTPRoute as Copal reads it: the library's types, but each rule parsed by itself.

/// A reference to a parent; the API has the same form of it in all kinds of routes.
pub use gateway_api::experimental::httproutes::HttpRouteParentRefs as ParentRef;
use gateway_api::experimental::httproutes::{
    HttpRouteRulesFilters, HttpRouteRulesMatches, HttpRouteRulesRetry, HttpRouteRulesSessionPersistence,
    HttpRouteRulesTimeouts,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// An HTTPRoute, without its status.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HttpRoute {
    /// Standard object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: HttpRouteSpec,
}

/// `HTTPRoute.spec`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways and ListenerSets that the route wants to be attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Hosts; none means those of the listener.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Rules, each by itself. When absent, the API server's default is one rule for `/`.
    #[serde(default = "default_rules")]
    pub rules: Vec<Lenient<Rule>>,
}

fn default_rules() -> Vec<Lenient<Rule>> {
    vec![Lenient(Ok(Rule::default()))]
}

/// One rule. The filters of rules and of backendRefs have one type here. Matches and filters are parsed each
/// by itself too, so that a rule with a filter that Copal does not know still says which requests it is for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "each field is the API's field of its name")]
pub struct Rule {
    pub name: Option<String>,
    pub matches: Vec<Lenient<HttpRouteRulesMatches>>,
    pub filters: Vec<Lenient<HttpRouteRulesFilters>>,
    pub backend_refs: Vec<BackendRef>,
    pub timeouts: Option<HttpRouteRulesTimeouts>,
    pub retry: Option<HttpRouteRulesRetry>,
    pub session_persistence: Option<HttpRouteRulesSessionPersistence>,
}

/// One entry of `backendRefs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "each field is the API's field of its name")]
pub struct BackendRef {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub name: String,
    pub namespace: Option<String>,
    pub port: Option<i32>,
    pub weight: Option<i32>,
    #[serde(default)]
    pub filters: Vec<Lenient<HttpRouteRulesFilters>>,
}

/// A value, or why it could not be read; what stands beside it is read all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Lenient<T>(pub Result<T, String>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(serde_json::from_value(value).map_err(|error| error.to_string())))
    }
}
