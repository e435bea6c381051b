//! One object out of its JSON form.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::{Gateway, GatewayListeners};
use gateway_api::experimental::listenersets::ListenerSetParentRef;
use gateway_api::experimental::referencegrants::ReferenceGrant;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api;
use crate::api::logging_policy::VarnishLoggingPolicy;
use crate::api::parameters::GatewayClassParameters;

use super::{BackendTlsPolicy, HttpRoute, Kind, ObjectId, ObjectKey, Secret, TlsRoute};

/// The API group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// A ListenerSet, without its status; its listeners have the type of a Gateway's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ListenerSet {
    /// Standard object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ListenerSetSpec,
}

/// `ListenerSet.spec`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway that the listeners are to be added to.
    pub parent_ref: ListenerSetParentRef,
    /// The listeners.
    pub listeners: Vec<GatewayListeners>,
}

/// An object of a kind that Copal reads.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant holds the kind of its name")]
pub enum Object {
    GatewayClass(Arc<GatewayClass>),
    Gateway(Arc<Gateway>),
    ListenerSet(Arc<ListenerSet>),
    HttpRoute(Arc<HttpRoute>),
    TlsRoute(Arc<TlsRoute>),
    ReferenceGrant(Arc<ReferenceGrant>),
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Namespace(Arc<Namespace>),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
    GatewayClassParameters(Arc<GatewayClassParameters>),
    VarnishLoggingPolicy(Arc<VarnishLoggingPolicy>),
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is no Kubernetes object.
    #[error("not a Kubernetes object: {0} is missing or not a string")]
    NotAnObject(&'static str),
    /// A Gateway API kind in a version that Copal does not read.
    #[error("{kind}: version {version} is not supported; expected {expected}")]
    Version {
        /// The object's kind.
        kind: String,
        /// Its version.
        version: String,
        /// The versions that would do.
        expected: &'static str,
    },
    /// It does not have the form of its kind.
    #[error("{id}: {message}")]
    Form {
        /// Kind, namespace and name, as far as they could be read.
        id: String,
        /// The field and what was expected.
        message: String,
    },
}

impl Object {
    /// Reads an object; `None` for a kind that Copal has no use for.
    ///
    /// # Errors
    /// When the value is no object of its kind. An unknown filter or match in one rule of an HTTPRoute is
    /// not an error: it is kept in that rule's place.
    pub fn parse(value: Value) -> Result<Option<Self>, ParseError> {
        let api_version = text(&value, "apiVersion")?;
        let kind = text(&value, "kind")?;
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = match (group, kind) {
            (GATEWAY_GROUP, "GatewayClass") => Kind::GatewayClass,
            (GATEWAY_GROUP, "Gateway") => Kind::Gateway,
            (GATEWAY_GROUP, "ListenerSet") => Kind::ListenerSet,
            (GATEWAY_GROUP, "HTTPRoute") => Kind::HttpRoute,
            (GATEWAY_GROUP, "TLSRoute") => Kind::TlsRoute,
            (GATEWAY_GROUP, "ReferenceGrant") => Kind::ReferenceGrant,
            (GATEWAY_GROUP, "BackendTLSPolicy") => Kind::BackendTlsPolicy,
            ("", "Service") => Kind::Service,
            ("", "Namespace") => Kind::Namespace,
            ("", "Secret") => Kind::Secret,
            ("", "ConfigMap") => Kind::ConfigMap,
            ("discovery.k8s.io", "EndpointSlice") => Kind::EndpointSlice,
            (api::GROUP, "GatewayClassParameters") => Kind::GatewayClassParameters,
            (api::GROUP, "VarnishLoggingPolicy") => Kind::VarnishLoggingPolicy,
            _ => return Ok(None),
        };
        check_version(kind, version)?;
        Self::of_kind(kind, value).map(Some)
    }

    fn of_kind(kind: Kind, value: Value) -> Result<Self, ParseError> {
        Ok(match kind {
            Kind::GatewayClass => Self::GatewayClass(parse(kind, value)?),
            Kind::Gateway => Self::Gateway(parse(kind, value)?),
            Kind::ListenerSet => Self::ListenerSet(parse(kind, value)?),
            Kind::HttpRoute => Self::HttpRoute(parse(kind, value)?),
            Kind::TlsRoute => Self::TlsRoute(parse(kind, value)?),
            Kind::ReferenceGrant => Self::ReferenceGrant(parse(kind, value)?),
            Kind::BackendTlsPolicy => Self::BackendTlsPolicy(parse(kind, value)?),
            Kind::Service => Self::Service(parse(kind, value)?),
            Kind::EndpointSlice => Self::EndpointSlice(parse(kind, value)?),
            Kind::Namespace => Self::Namespace(parse(kind, value)?),
            Kind::Secret => Self::Secret(parse(kind, value)?),
            Kind::ConfigMap => Self::ConfigMap(parse(kind, value)?),
            Kind::GatewayClassParameters => Self::GatewayClassParameters(parse(kind, value)?),
            Kind::VarnishLoggingPolicy => Self::VarnishLoggingPolicy(parse(kind, value)?),
        })
    }

    /// Kind, namespace and name.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let (kind, metadata) = match self {
            Self::GatewayClass(it) => (Kind::GatewayClass, &it.metadata),
            Self::Gateway(it) => (Kind::Gateway, &it.metadata),
            Self::ListenerSet(it) => (Kind::ListenerSet, &it.metadata),
            Self::HttpRoute(it) => (Kind::HttpRoute, &it.metadata),
            Self::TlsRoute(it) => (Kind::TlsRoute, &it.metadata),
            Self::ReferenceGrant(it) => (Kind::ReferenceGrant, &it.metadata),
            Self::BackendTlsPolicy(it) => (Kind::BackendTlsPolicy, &it.metadata),
            Self::Service(it) => (Kind::Service, &it.metadata),
            Self::EndpointSlice(it) => (Kind::EndpointSlice, &it.metadata),
            Self::Namespace(it) => (Kind::Namespace, &it.metadata),
            Self::Secret(it) => (Kind::Secret, &it.metadata),
            Self::ConfigMap(it) => (Kind::ConfigMap, &it.metadata),
            Self::GatewayClassParameters(it) => (Kind::GatewayClassParameters, &it.metadata),
            Self::VarnishLoggingPolicy(it) => (Kind::VarnishLoggingPolicy, &it.metadata),
        };
        ObjectId { kind, key: key_of(kind, metadata) }
    }
}

/// Objects without a namespace are in `default`, as with `kubectl apply`.
fn key_of(kind: Kind, metadata: &ObjectMeta) -> ObjectKey {
    let name = metadata.name.clone().unwrap_or_default();
    match kind {
        Kind::GatewayClass | Kind::Namespace => ObjectKey::new("", name),
        _ => ObjectKey::new(metadata.namespace.clone().unwrap_or_else(|| "default".into()), name),
    }
}

fn text<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, ParseError> {
    value.get(field).and_then(Value::as_str).ok_or(ParseError::NotAnObject(field))
}

fn check_version(kind: Kind, version: &str) -> Result<(), ParseError> {
    let expected = match kind {
        Kind::Service
        | Kind::Namespace
        | Kind::EndpointSlice
        | Kind::ListenerSet
        | Kind::BackendTlsPolicy
        | Kind::Secret
        | Kind::ConfigMap => "v1",
        Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::ReferenceGrant => "v1 or v1beta1",
        // What is new in v1 is that some fields must be there.
        Kind::TlsRoute => "v1 or v1alpha3 or v1alpha2",
        Kind::GatewayClassParameters | Kind::VarnishLoggingPolicy => api::VERSION,
    };
    if expected.split(" or ").any(|known| known == version) {
        return Ok(());
    }
    Err(ParseError::Version { kind: kind.to_string(), version: version.to_owned(), expected })
}

fn parse<T: DeserializeOwned>(kind: Kind, mut value: Value) -> Result<Arc<T>, ParseError> {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let id = format!("{kind} {namespace}/{name}");
    let form = |message: String| ParseError::Form { id: id.clone(), message };
    if name.is_empty() {
        return Err(form("metadata.name is missing".into()));
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        // What the API server notes about writes. An object that differs in nothing else is the same to us.
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
    }
    drop_nulls(&mut value);
    check_listener_names(&value).map_err(form)?;
    serde_json::from_value(value).map(Arc::new).map_err(|error| match kind {
        // The library's message may quote what it read.
        Kind::Secret => form("expected a Secret, with base64 in its data".into()),
        _ => form(error.to_string()),
    })
}

/// A field without a value (`rules:` and nothing after it) is an absent field, as for the API server, which then
/// fills in the field's default.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Listeners are told apart by name (they are a map by name in the API's schema): with a name twice, routes and
/// statuses could not say which they mean.
fn check_listener_names(value: &Value) -> Result<(), String> {
    let listeners = value.pointer("/spec/listeners").and_then(Value::as_array);
    let names = listeners.into_iter().flatten().map(|it| it.get("name").and_then(Value::as_str));
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if let Some(name) = name.filter(|name| !seen.insert(*name)) {
            return Err(format!(
                "spec.listeners[{index}].name: expected each name once; {name:?} is there already"
            ));
        }
    }
    Ok(())
}
