//! `parametersRef` of GatewayClasses and Gateways, to the parameters that hold for a data plane.

use std::collections::BTreeMap;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;

use super::Settings;
use super::merge;
use crate::api::GROUP;
use crate::api::parameters::{ConfigMapRef, GatewayClassParametersSpec};
use crate::model::{ObjectKey, UserVcl};
use crate::snapshot::{Kind, Snapshot};

/// The most VCL of a user's own. Each of a Gateway's VCLs has all of it, and is compiled with it.
const MAX_USER_VCL: usize = 128 << 10;

/// Parameters, and what they refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolved {
    pub spec: GatewayClassParametersSpec,
    pub user_vcl: Option<UserVcl>,
}

/// The parameters of our classes and their Gateways, or why they cannot be used.
pub(super) struct Parameters {
    classes: BTreeMap<ObjectKey, Result<Resolved, String>>,
    gateways: BTreeMap<ObjectKey, Result<Resolved, String>>,
}

impl Parameters {
    pub(super) fn new(snapshot: &Snapshot, settings: &Settings) -> Self {
        let ours = snapshot.gateway_classes.iter();
        let ours = ours.filter(|(_, it)| it.spec.controller_name == settings.controller_name);
        let classes: BTreeMap<_, _> = ours.map(|(key, it)| (key.clone(), of_class(it, snapshot))).collect();
        let gateways = snapshot.gateways.iter().filter_map(|(key, it)| {
            let class = classes.get(&ObjectKey::new("", it.spec.gateway_class_name.as_str()))?;
            Some((key.clone(), of_gateway(key, it, class, snapshot)))
        });
        let gateways = gateways.collect();
        Self { classes, gateways }
    }

    /// Those of a class; `None` if it is not ours.
    pub(super) fn of_class(&self, key: &ObjectKey) -> Option<&Result<Resolved, String>> {
        self.classes.get(key)
    }

    /// Those of a Gateway, its class's included; `None` if it is not of a class of ours.
    pub(super) fn of_gateway(&self, key: &ObjectKey) -> Option<&Result<Resolved, String>> {
        self.gateways.get(key)
    }
}

fn of_class(class: &GatewayClass, snapshot: &Snapshot) -> Result<Resolved, String> {
    let Some(it) = &class.spec.parameters_ref else { return Ok(Resolved::default()) };
    let namespace = it.namespace.as_deref();
    load(&it.group, &it.kind, namespace, &it.name, snapshot).map_err(|it| format!("parametersRef: {it}"))
}

/// The Gateway's own parameters over those of its class.
fn of_gateway(
    key: &ObjectKey,
    gateway: &Gateway,
    class: &Result<Resolved, String>,
    snapshot: &Snapshot,
) -> Result<Resolved, String> {
    let failed = |it: String| format!("infrastructure.parametersRef: {it}");
    let reference = gateway.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref());
    let own = reference.map(|it| load(&it.group, &it.kind, Some(&key.namespace), &it.name, snapshot));
    let own = own.transpose().map_err(failed)?;
    let class = class.as_ref().map_err(|it| format!("GatewayClass: {it}"))?.clone();
    let Some(own) = own else { return Ok(class) };
    let user_vcl = own.user_vcl.or(class.user_vcl);
    let spec = merge::parameters(class.spec, own.spec);
    spec.validate().map_err(|it| failed(format!("together with those of the GatewayClass: {it}")))?;
    Ok(Resolved { spec, user_vcl })
}

fn load(
    group: &str,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    snapshot: &Snapshot,
) -> Result<Resolved, String> {
    let expected = Kind::GatewayClassParameters;
    if group != GROUP || kind != expected.to_string() {
        return Err(format!(
            "kind {kind} of group {group:?} is not supported; expected kind {expected} of group {GROUP}"
        ));
    }
    let namespace = namespace.ok_or("namespace is missing")?;
    let key = ObjectKey::new(namespace, name);
    let it = snapshot.parameters.get(&key).ok_or_else(|| format!("{expected} {key} does not exist"))?;
    let failed = |message: String| format!("{expected} {key}: {message}");
    it.spec.validate().map_err(failed)?;
    let reference = it.spec.vcl.as_ref().map(|it| &it.config_map_ref);
    let user_vcl = reference.map(|it| user_vcl(it, namespace, snapshot)).transpose();
    let user_vcl = user_vcl.map_err(|it| failed(format!("spec.vcl.configMapRef: {it}")))?;
    Ok(Resolved { spec: it.spec.clone(), user_vcl })
}

fn user_vcl(reference: &ConfigMapRef, namespace: &str, snapshot: &Snapshot) -> Result<UserVcl, String> {
    let config_map = ObjectKey::new(namespace, reference.name.as_str());
    let key = reference.key();
    let object = snapshot.config_maps.get(&config_map);
    let object = object.ok_or_else(|| format!("ConfigMap {config_map} does not exist"))?;
    let text = object.data.as_ref().and_then(|it| it.get(key));
    let text = text.ok_or_else(|| format!("ConfigMap {config_map} has no key {key}"))?;
    let problem = match text {
        text if text.len() > MAX_USER_VCL => Some(format!("is longer than {} KiB", MAX_USER_VCL >> 10)),
        text if text.contains('\0') => Some("has a NUL character".to_owned()),
        _ => None,
    };
    match problem {
        Some(problem) => Err(format!("ConfigMap {config_map}, key {key}: {problem}")),
        None => Ok(UserVcl { config_map, key: key.to_owned(), text: text.as_str().into() }),
    }
}
