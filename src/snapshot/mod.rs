//! Every input resource of one moment, by key: what watches or a folder of manifests have yielded.
//!
//! Objects are parsed leniently where the API is open-ended: what Copal does not know in one rule of an
//! HTTPRoute costs that rule, and never the object, the folder or the watch.

mod backend_tls_policy;
mod http_route;
mod object;
mod secret;
mod tls_route;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use gateway_api::experimental::referencegrants::ReferenceGrant;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use backend_tls_policy::{BackendTlsPolicy, BackendTlsPolicySpec};
pub use http_route::{BackendRef, HttpRoute, HttpRouteSpec, Lenient, ParentRef, Rule};
pub use object::{GATEWAY_GROUP, ListenerSet, ListenerSetSpec, Object, ParseError};
pub use secret::Secret;
pub use tls_route::{TlsRoute, TlsRouteSpec, TlsRule};

use crate::api::logging_policy::VarnishLoggingPolicy;
use crate::api::parameters::GatewayClassParameters;
pub use crate::model::ObjectKey;

/// A kind that Copal reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the kind of its name")]
pub enum Kind {
    GatewayClass,
    Gateway,
    ListenerSet,
    HttpRoute,
    TlsRoute,
    ReferenceGrant,
    BackendTlsPolicy,
    Service,
    EndpointSlice,
    Namespace,
    Secret,
    ConfigMap,
    GatewayClassParameters,
    VarnishLoggingPolicy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::GatewayClass,
        Self::Gateway,
        Self::ListenerSet,
        Self::HttpRoute,
        Self::TlsRoute,
        Self::ReferenceGrant,
        Self::BackendTlsPolicy,
        Self::Service,
        Self::EndpointSlice,
        Self::Namespace,
        Self::Secret,
        Self::ConfigMap,
        Self::GatewayClassParameters,
        Self::VarnishLoggingPolicy,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::HttpRoute => "HTTPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::GatewayClassParameters => "GatewayClassParameters",
            Self::VarnishLoggingPolicy => "VarnishLoggingPolicy",
        })
    }
}

/// Names one object among all: `HTTPRoute default/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// All objects of a kind. Both the map and its objects are shared, so that what did not change can be told by its
/// address.
pub type Objects<T> = Arc<BTreeMap<ObjectKey, Arc<T>>>;

/// All input resources. It is cheap to clone.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each field holds the kind of its name")]
pub struct Snapshot {
    pub gateway_classes: Objects<GatewayClass>,
    pub gateways: Objects<Gateway>,
    pub listener_sets: Objects<ListenerSet>,
    pub http_routes: Objects<HttpRoute>,
    pub tls_routes: Objects<TlsRoute>,
    pub reference_grants: Objects<ReferenceGrant>,
    pub backend_tls_policies: Objects<BackendTlsPolicy>,
    pub services: Objects<Service>,
    pub endpoint_slices: Objects<EndpointSlice>,
    pub namespaces: Objects<Namespace>,
    pub secrets: Objects<Secret>,
    pub config_maps: Objects<ConfigMap>,
    pub parameters: Objects<GatewayClassParameters>,
    pub logging_policies: Objects<VarnishLoggingPolicy>,
}

impl Snapshot {
    /// Adds an object, or replaces the one with the same identity; one that is equal keeps its address. Tells
    /// whether that changed anything.
    pub fn insert(&mut self, object: Object) -> bool {
        let key = object.id().key;
        match object {
            Object::GatewayClass(it) => put(&mut self.gateway_classes, key, it),
            Object::Gateway(it) => put(&mut self.gateways, key, it),
            Object::ListenerSet(it) => put(&mut self.listener_sets, key, it),
            Object::HttpRoute(it) => put(&mut self.http_routes, key, it),
            Object::TlsRoute(it) => put(&mut self.tls_routes, key, it),
            Object::ReferenceGrant(it) => put(&mut self.reference_grants, key, it),
            Object::BackendTlsPolicy(it) => put(&mut self.backend_tls_policies, key, it),
            Object::Service(it) => put(&mut self.services, key, it),
            Object::EndpointSlice(it) => put(&mut self.endpoint_slices, key, it),
            Object::Namespace(it) => put(&mut self.namespaces, key, it),
            Object::Secret(it) => put(&mut self.secrets, key, it),
            Object::ConfigMap(it) => put(&mut self.config_maps, key, it),
            Object::GatewayClassParameters(it) => put(&mut self.parameters, key, it),
            Object::VarnishLoggingPolicy(it) => put(&mut self.logging_policies, key, it),
        }
    }

    /// Takes an object out, and tells whether it was there.
    pub fn remove(&mut self, id: &ObjectId) -> bool {
        let key = &id.key;
        match id.kind {
            Kind::GatewayClass => take(&mut self.gateway_classes, key),
            Kind::Gateway => take(&mut self.gateways, key),
            Kind::ListenerSet => take(&mut self.listener_sets, key),
            Kind::HttpRoute => take(&mut self.http_routes, key),
            Kind::TlsRoute => take(&mut self.tls_routes, key),
            Kind::ReferenceGrant => take(&mut self.reference_grants, key),
            Kind::BackendTlsPolicy => take(&mut self.backend_tls_policies, key),
            Kind::Service => take(&mut self.services, key),
            Kind::EndpointSlice => take(&mut self.endpoint_slices, key),
            Kind::Namespace => take(&mut self.namespaces, key),
            Kind::Secret => take(&mut self.secrets, key),
            Kind::ConfigMap => take(&mut self.config_maps, key),
            Kind::GatewayClassParameters => take(&mut self.parameters, key),
            Kind::VarnishLoggingPolicy => take(&mut self.logging_policies, key),
        }
    }
}

fn put<T: PartialEq>(objects: &mut Objects<T>, key: ObjectKey, it: Arc<T>) -> bool {
    let differs = objects.get(&key).is_none_or(|known| *known != it);
    if differs {
        Arc::make_mut(objects).insert(key, it);
    }
    differs
}

fn take<T>(objects: &mut Objects<T>, key: &ObjectKey) -> bool {
    objects.contains_key(key) && Arc::make_mut(objects).remove(key).is_some()
}

impl FromIterator<Object> for Snapshot {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut snapshot = Self::default();
        for object in objects {
            snapshot.insert(object);
        }
        snapshot
    }
}
