//! What a data plane is made of in a cluster: pure, from what the Gateway and its parameters ask for.
//!
//! Only fields that Copal owns are set: the objects are applied server-side, so what others set in other fields stays.
//! `pods` has the Deployment and `container` what runs in it, `scaling` how many there are, `rights` the pods' identity
//! and what it may read, `service` the way to them.

mod container;
pub mod names;
mod pods;
mod rights;
mod scaling;
mod service;
mod size;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use k8s_openapi::Resource;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
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
///
/// A data plane that listens nowhere has no pods and no Service, which the API server would refuse; what is there from
/// before is left as it is, so that a listener that is mended finds its address and cache again.
#[must_use]
pub fn desired(gateway: &ObjectKey, plane: &DataPlane, settings: &Settings) -> Vec<DynamicObject> {
    let site = Site::new(gateway, plane);
    let mut objects = vec![
        dynamic(&rights::service_account(&site)),
        dynamic(&rights::role(&site)),
        dynamic(&rights::role_binding(&site)),
    ];
    if site.listens() {
        objects.push(dynamic(&service::service(&site)));
        objects.push(dynamic(&pods::deployment(&site, settings)));
        objects.extend(scaling::disruption_budget(&site).as_ref().map(dynamic));
        objects.extend(scaling::autoscaler(&site).as_ref().map(dynamic));
    }
    objects
}

/// Objects that earlier parameters may have led to and that are not to be there now, by type and name: an autoscaler
/// that is left over would go on deciding. They may be somebody else's: see [`belongs_to`].
#[must_use]
pub fn unwanted(gateway: &ObjectKey, plane: &DataPlane) -> Vec<DynamicObject> {
    let site = Site::new(gateway, plane);
    if !site.listens() {
        return Vec::new();
    }
    let budget = scaling::disruption_budget(&site).is_none().then(|| named::<PodDisruptionBudget>(&site));
    let scaler = scaling::autoscaler(&site).is_none().then(|| named::<HorizontalPodAutoscaler>(&site));
    budget.into_iter().chain(scaler).collect()
}

/// Whether an object is part of the data plane of the Gateway with that uid, so that it may be deleted.
#[must_use]
pub fn belongs_to(object: &ObjectMeta, gateway_uid: &str) -> bool {
    let mut owners = object.owner_references.iter().flatten();
    !gateway_uid.is_empty() && owners.any(|owner| owner.uid == gateway_uid)
}

/// The metadata that all objects of a data plane have in common, without a name.
#[must_use]
pub fn metadata(gateway: &ObjectKey, plane: &DataPlane) -> ObjectMeta {
    let mut labels = plane.labels.clone();
    labels.extend(common_labels(gateway, plane));
    let mut annotations = plane.annotations.clone();
    annotations.extend(whole_name(gateway));
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
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// A data plane and what its objects are called.
struct Site<'a> {
    gateway: &'a ObjectKey,
    plane: &'a DataPlane,
    name: String,
}

impl<'a> Site<'a> {
    fn new(gateway: &'a ObjectKey, plane: &'a DataPlane) -> Self {
        Self { gateway, plane, name: names::name(&gateway.name, &plane.class) }
    }

    fn listens(&self) -> bool {
        !(self.plane.http_ports.is_empty() && self.plane.tls_ports.is_empty())
    }

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

/// What the label has no room for.
fn whole_name(gateway: &ObjectKey) -> Option<(String, String)> {
    let is_cut = names::label_value(&gateway.name) != gateway.name;
    is_cut.then(|| (names::GATEWAY.to_owned(), gateway.name.clone()))
}

/// The type and the name of an object.
fn named<T: Resource>(site: &Site<'_>) -> DynamicObject {
    let metadata = ObjectMeta {
        name: Some(site.name.clone()),
        namespace: Some(site.gateway.namespace.clone()),
        ..ObjectMeta::default()
    };
    DynamicObject { types: Some(types::<T>()), metadata, data: serde_json::Value::Null }
}

fn types<T: Resource>() -> TypeMeta {
    TypeMeta { api_version: T::API_VERSION.to_owned(), kind: T::KIND.to_owned() }
}

/// An object whose kind is told at run time. A value of the API's types always has a JSON form.
#[must_use]
pub fn dynamic<T: Resource + Serialize>(object: &T) -> DynamicObject {
    let value = serde_json::to_value(object).unwrap_or_default();
    let object: DynamicObject = serde_json::from_value(value).unwrap_or_else(|_| DynamicObject {
        types: None,
        metadata: ObjectMeta::default(),
        data: serde_json::Value::Null,
    });
    DynamicObject { types: Some(types::<T>()), ..object }
}
