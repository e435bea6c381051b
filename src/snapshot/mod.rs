//! Every input resource of one moment, by key: what watches or a folder of manifests have yielded.
//!
//! Objects are parsed leniently where the API is open-ended: what Copal does not know in one rule of an
//! HTTPRoute costs that rule, and never the object, the folder or the watch.

mod http_route;
mod object;
mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use gateway_api::experimental::referencegrants::ReferenceGrant;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use http_route::{BackendRef, HttpRoute, HttpRouteSpec, Lenient, Rule};
pub use object::{GATEWAY_GROUP, ListenerSet, ListenerSetSpec, Object, ParseError};
pub use secret::Secret;

pub use crate::model::ObjectKey;

/// A kind that Copal reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the kind of its name")]
pub enum Kind {
    GatewayClass,
    Gateway,
    ListenerSet,
    HttpRoute,
    ReferenceGrant,
    Service,
    EndpointSlice,
    Namespace,
    Secret,
    ConfigMap,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::GatewayClass,
        Self::Gateway,
        Self::ListenerSet,
        Self::HttpRoute,
        Self::ReferenceGrant,
        Self::Service,
        Self::EndpointSlice,
        Self::Namespace,
        Self::Secret,
        Self::ConfigMap,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::HttpRoute => "HTTPRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
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
    pub reference_grants: Objects<ReferenceGrant>,
    pub services: Objects<Service>,
    pub endpoint_slices: Objects<EndpointSlice>,
    pub namespaces: Objects<Namespace>,
    pub secrets: Objects<Secret>,
    pub config_maps: Objects<ConfigMap>,
}

impl Snapshot {
    /// Adds an object, or replaces the one with the same identity; one that is equal keeps its address.
    pub fn insert(&mut self, object: Object) {
        let key = object.id().key;
        match object {
            Object::GatewayClass(it) => put(&mut self.gateway_classes, key, it),
            Object::Gateway(it) => put(&mut self.gateways, key, it),
            Object::ListenerSet(it) => put(&mut self.listener_sets, key, it),
            Object::HttpRoute(it) => put(&mut self.http_routes, key, it),
            Object::ReferenceGrant(it) => put(&mut self.reference_grants, key, it),
            Object::Service(it) => put(&mut self.services, key, it),
            Object::EndpointSlice(it) => put(&mut self.endpoint_slices, key, it),
            Object::Namespace(it) => put(&mut self.namespaces, key, it),
            Object::Secret(it) => put(&mut self.secrets, key, it),
            Object::ConfigMap(it) => put(&mut self.config_maps, key, it),
        }
    }

    /// Takes an object out, if it is there.
    pub fn remove(&mut self, id: &ObjectId) {
        let key = &id.key;
        match id.kind {
            Kind::GatewayClass => drop(Arc::make_mut(&mut self.gateway_classes).remove(key)),
            Kind::Gateway => drop(Arc::make_mut(&mut self.gateways).remove(key)),
            Kind::ListenerSet => drop(Arc::make_mut(&mut self.listener_sets).remove(key)),
            Kind::HttpRoute => drop(Arc::make_mut(&mut self.http_routes).remove(key)),
            Kind::ReferenceGrant => drop(Arc::make_mut(&mut self.reference_grants).remove(key)),
            Kind::Service => drop(Arc::make_mut(&mut self.services).remove(key)),
            Kind::EndpointSlice => drop(Arc::make_mut(&mut self.endpoint_slices).remove(key)),
            Kind::Namespace => drop(Arc::make_mut(&mut self.namespaces).remove(key)),
            Kind::Secret => drop(Arc::make_mut(&mut self.secrets).remove(key)),
            Kind::ConfigMap => drop(Arc::make_mut(&mut self.config_maps).remove(key)),
        }
    }
}

fn put<T: PartialEq>(objects: &mut Objects<T>, key: ObjectKey, it: Arc<T>) {
    if objects.get(&key).is_none_or(|known| *known != it) {
        Arc::make_mut(objects).insert(key, it);
    }
}

impl FromIterator<Object> for Snapshot {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut snapshot = Self::default();
        objects.into_iter().for_each(|object| snapshot.insert(object));
        snapshot
    }
}
