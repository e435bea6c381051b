//! What a data plane is made of in a cluster: pure, from what the Gateway and its parameters ask for.
//!
//! Only fields that Copal owns are set: the objects are applied server-side, so what others set in other fields stays.
//! `pods` has the Deployment, `rights` the pods' identity and what it may read, `service` the way to them.

pub mod names;
mod pods;
mod rights;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::{DynamicObject, TypeMeta};
use serde::Serialize;

use crate::snapshot::{GATEWAY_GROUP, ObjectKey};
use crate::translate::data_plane::DataPlane;

/// Where the reloader in a pod answers `/healthz`, `/readyz`, `/status` and `/metrics`.
pub const ADMIN_PORT: u16 = 19145;
/// Ports that listeners cannot have.
pub const RESERVED_PORTS: RangeInclusive<u16> = 19140..=19149;

/// What data planes depend on besides their Gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The image where the parameters name none.
    pub image: String,
}

/// Everything that a data plane is made of but its bundle, in an order in which it can be made.
#[must_use]
pub fn desired(gateway: &ObjectKey, plane: &DataPlane, settings: &Settings) -> Vec<DynamicObject> {
    let site = Site { gateway, plane, name: names::name(&gateway.name, &plane.class) };
    let mut objects = vec![
        dynamic(&rights::service_account(&site)),
        dynamic(&rights::role(&site)),
        dynamic(&rights::role_binding(&site)),
        dynamic(&service::service(&site)),
        dynamic(&pods::deployment(&site, settings)),
    ];
    objects.extend(pods::disruption_budget(&site).as_ref().map(dynamic));
    objects.extend(pods::autoscaler(&site).as_ref().map(dynamic));
    objects
}

/// The metadata that all objects of a data plane have in common, without a name.
#[must_use]
pub fn metadata(gateway: &ObjectKey, plane: &DataPlane) -> ObjectMeta {
    let mut labels = plane.labels.clone();
    labels.extend(common_labels(gateway, plane));
    let owner = OwnerReference {
        api_version: format!("{GATEWAY_GROUP}/v1"),
        kind: "Gateway".to_owned(),
        name: gateway.name.clone(),
        uid: plane.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    ObjectMeta {
        namespace: Some(gateway.namespace.clone()),
        labels: Some(labels),
        annotations: (!plane.annotations.is_empty()).then(|| plane.annotations.clone()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The sockets that varnishd has from its start, as pods are annotated with them.
#[must_use]
pub fn sockets(ports: &BTreeSet<u16>) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A data plane and what its objects are called.
struct Site<'a> {
    gateway: &'a ObjectKey,
    plane: &'a DataPlane,
    name: String,
}

impl Site<'_> {
    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.name.clone()), ..metadata(self.gateway, self.plane) }
    }

    /// The labels by which the pods are found; they never change.
    fn selector(&self) -> BTreeMap<String, String> {
        let labels = [
            (names::GATEWAY_LABEL, names::label_value(&self.gateway.name)),
            (names::NAME_LABEL, names::MANAGER.to_owned()),
        ];
        labels.map(|(label, value)| (label.to_owned(), value)).into()
    }
}

fn common_labels(gateway: &ObjectKey, plane: &DataPlane) -> BTreeMap<String, String> {
    let labels = [
        (names::GATEWAY_LABEL, names::label_value(&gateway.name)),
        (names::CLASS_LABEL, names::label_value(&plane.class)),
        (names::NAME_LABEL, names::MANAGER.to_owned()),
        (names::MANAGED_BY, names::MANAGER.to_owned()),
    ];
    labels.map(|(label, value)| (label.to_owned(), value)).into()
}

/// A value of the API's types, which always has a JSON form.
fn dynamic<T: Resource + Serialize>(object: &T) -> DynamicObject {
    let types = TypeMeta { api_version: T::API_VERSION.to_owned(), kind: T::KIND.to_owned() };
    let value = serde_json::to_value(object).unwrap_or_default();
    let object: DynamicObject = serde_json::from_value(value).unwrap_or_else(|_| DynamicObject {
        types: None,
        metadata: ObjectMeta::default(),
        data: serde_json::Value::Null,
    });
    DynamicObject { types: Some(types), ..object }
}
