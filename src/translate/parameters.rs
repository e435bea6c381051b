//! `parametersRef` of GatewayClasses and Gateways, to the parameters that hold for a data plane.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use k8s_openapi::api::core::v1::ConfigMap;

use super::Settings;
use super::merge;
use super::remembered::Remembered;
use crate::api::GROUP;
use crate::api::parameters::{ConfigMapRef, GatewayClassParameters, GatewayClassParametersSpec};
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

/// What was checked for the last translation, which takes longer than all else that is done with parameters.
#[derive(Debug, Default)]
pub(super) struct KnownParameters {
    objects: Remembered<ObjectKey, Arc<GatewayClassParameters>, Result<(), String>>,
    /// By Gateway, its own together with those of its class.
    merged: Remembered<ObjectKey, GatewayClassParametersSpec, Result<(), String>>,
    /// By ConfigMap and key in it.
    user_vcl: Remembered<(ObjectKey, String), Arc<ConfigMap>, Result<UserVcl, String>>,
}

impl KnownParameters {
    /// For the next translation.
    pub(super) fn turned(self) -> Self {
        let Self { objects, merged, user_vcl } = self;
        Self { objects: objects.turned(), merged: merged.turned(), user_vcl: user_vcl.turned() }
    }
}

/// The parameters of our classes and their Gateways, or why they cannot be used.
pub(super) struct Parameters {
    classes: BTreeMap<ObjectKey, Result<Resolved, String>>,
    gateways: BTreeMap<ObjectKey, Result<Resolved, String>>,
}

impl Parameters {
    pub(super) fn new(snapshot: &Snapshot, settings: &Settings, known: &mut KnownParameters) -> Self {
        let mut loader = Loader { snapshot, known };
        let ours = snapshot.gateway_classes.iter();
        let ours = ours.filter(|(_, it)| it.spec.controller_name == settings.controller_name);
        let classes: BTreeMap<_, _> = ours.map(|(key, it)| (key.clone(), loader.of_class(it))).collect();
        let gateways = snapshot.gateways.iter().filter_map(|(key, it)| {
            let class = classes.get(&ObjectKey::new("", it.spec.gateway_class_name.as_str()))?;
            Some((key.clone(), loader.of_gateway(key, it, class)))
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

/// Reads parameters for one translation.
struct Loader<'a> {
    snapshot: &'a Snapshot,
    known: &'a mut KnownParameters,
}

impl Loader<'_> {
    fn of_class(&mut self, class: &GatewayClass) -> Result<Resolved, String> {
        let Some(it) = &class.spec.parameters_ref else { return Ok(Resolved::default()) };
        let namespace = it.namespace.as_deref();
        self.load(&it.group, &it.kind, namespace, &it.name).map_err(|it| format!("parametersRef: {it}"))
    }

    /// The Gateway's own parameters over those of its class.
    fn of_gateway(
        &mut self,
        key: &ObjectKey,
        gateway: &Gateway,
        class: &Result<Resolved, String>,
    ) -> Result<Resolved, String> {
        let failed = |it: String| format!("infrastructure.parametersRef: {it}");
        let reference = gateway.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref());
        let own = reference.map(|it| self.load(&it.group, &it.kind, Some(&key.namespace), &it.name));
        let own = own.transpose().map_err(failed)?;
        let class = class.as_ref().map_err(|it| format!("GatewayClass: {it}"))?.clone();
        let Some(own) = own else { return Ok(class) };
        let user_vcl = own.user_vcl.or(class.user_vcl);
        let spec = merge::parameters(class.spec, own.spec);
        let valid = self.known.merged.of(key, &spec, PartialEq::eq, GatewayClassParametersSpec::validate);
        valid.map_err(|it| failed(format!("together with those of the GatewayClass: {it}")))?;
        Ok(Resolved { spec, user_vcl })
    }

    fn load(
        &mut self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Resolved, String> {
        let expected = Kind::GatewayClassParameters;
        if group != GROUP || kind != expected.to_string() {
            return Err(format!(
                "kind {kind} of group {group:?} is not supported; expected kind {expected} of group {GROUP}"
            ));
        }
        let namespace = namespace.ok_or("namespace is missing")?;
        let key = ObjectKey::new(namespace, name);
        let it = self.snapshot.parameters.get(&key);
        let it = it.ok_or_else(|| format!("{expected} {key} does not exist"))?;
        let failed = |message: String| format!("{expected} {key}: {message}");
        self.known.objects.of(&key, it, Arc::ptr_eq, |it| it.spec.validate()).map_err(failed)?;
        let reference = it.spec.vcl.as_ref().map(|it| &it.config_map_ref);
        let user_vcl = reference.map(|it| self.user_vcl(it, namespace)).transpose();
        let user_vcl = user_vcl.map_err(|it| failed(format!("spec.vcl.configMapRef: {it}")))?;
        Ok(Resolved { spec: it.spec.clone(), user_vcl })
    }

    fn user_vcl(&mut self, reference: &ConfigMapRef, namespace: &str) -> Result<UserVcl, String> {
        let config_map = ObjectKey::new(namespace, reference.name.as_str());
        let object = self.snapshot.config_maps.get(&config_map);
        let object = object.ok_or_else(|| format!("ConfigMap {config_map} does not exist"))?;
        let place = (config_map, reference.key().to_owned());
        self.known.user_vcl.of(&place, object, Arc::ptr_eq, |it| user_vcl(&place.0, &place.1, it))
    }
}

fn user_vcl(config_map: &ObjectKey, key: &str, object: &ConfigMap) -> Result<UserVcl, String> {
    let text = object.data.as_ref().and_then(|it| it.get(key));
    let text = text.ok_or_else(|| format!("ConfigMap {config_map} has no key {key}"))?;
    let problem = match text {
        text if text.len() > MAX_USER_VCL => Some(format!("is longer than {} KiB", MAX_USER_VCL >> 10)),
        text if text.contains('\0') => Some("has a NUL character".to_owned()),
        _ => None,
    };
    match problem {
        Some(problem) => Err(format!("ConfigMap {config_map}, key {key}: {problem}")),
        None => {
            Ok(UserVcl { config_map: config_map.clone(), key: key.to_owned(), text: text.as_str().into() })
        }
    }
}
