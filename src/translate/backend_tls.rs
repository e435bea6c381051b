//! BackendTLSPolicies: which of them holds for a port of a Service, and what TLS comes of it.
//!
//! A policy that cannot be honoured still holds: its Services are not spoken to without TLS, but not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_api::apis::standard::backendtlspolicies::{
    BackendTlsPolicyTargetRefs, BackendTlsPolicyValidation, BackendTlsPolicyValidationCaCertificateRefs,
    BackendTlsPolicyValidationSubjectAltNames, BackendTlsPolicyValidationSubjectAltNamesType,
};

use super::authorities::{self, KnownAuthorities};
use super::listeners::by_age;
use super::report::{AuthorityProblem, BackendTlsPolicyReport, MAX_ANCESTORS, PolicyAccepted};
use crate::model::{BackendTls, Certificate, Hostname, ObjectKey, SubjectAltName};
use crate::snapshot::{BackendTlsPolicy, Snapshot};

/// The one set of well-known authorities.
const SYSTEM: &str = "System";

/// A target: a Service, and the name of its port, or the empty text for all that no other policy has.
type Target = (ObjectKey, String);

/// By Service with a policy, the Gateways that have a route to it.
pub(super) type Ancestors = BTreeMap<ObjectKey, BTreeSet<ObjectKey>>;

/// All policies, read once for as long as they and all ConfigMaps stay the same.
#[derive(Debug, Default)]
pub(super) struct BackendTlsPolicies {
    /// By Service and port, the policies that want it: the first has it.
    by_service: BTreeMap<ObjectKey, BTreeMap<String, Vec<ObjectKey>>>,
    policies: BTreeMap<ObjectKey, Policy>,
    authorities: KnownAuthorities,
}

/// What a policy says.
#[derive(Debug)]
struct Policy {
    generation: Option<i64>,
    targets: Vec<Target>,
    tls: Result<Arc<BackendTls>, PolicyAccepted>,
    unresolved: Option<AuthorityProblem>,
}

impl BackendTlsPolicies {
    /// Those of a snapshot, given those of the snapshot before.
    pub(super) fn renewed(self, before: &Snapshot, now: &Snapshot) -> Self {
        let same_policies = Arc::ptr_eq(&before.backend_tls_policies, &now.backend_tls_policies);
        if same_policies && Arc::ptr_eq(&before.config_maps, &now.config_maps) {
            return self;
        }
        let mut all = Self { authorities: self.authorities, ..Self::default() };
        let objects = now.backend_tls_policies.iter().map(|(key, it)| (key, it.as_ref(), &it.metadata));
        for (key, object) in by_age(objects) {
            let policy = Policy::read(key, object, now, &mut all.authorities);
            for (service, port) in &policy.targets {
                let ports = all.by_service.entry(service.clone()).or_default();
                ports.entry(port.clone()).or_default().push(key.clone());
            }
            all.policies.insert(key.clone(), policy);
        }
        Self { authorities: all.authorities.turned(), ..all }
    }

    /// Whether there is a policy for a Service, or for one of its ports.
    pub(super) fn concern(&self, service: &ObjectKey) -> bool {
        self.by_service.contains_key(service)
    }

    /// The TLS that a port of a Service is to be spoken to with; `None` if with none.
    ///
    /// # Errors
    /// When the policy that holds cannot be honoured: then the port must not be spoken to at all.
    pub(super) fn of(&self, service: &ObjectKey, port: &str) -> Result<Option<Arc<BackendTls>>, String> {
        let Some(ports) = self.by_service.get(service) else { return Ok(None) };
        let owner = ports.get(port).or_else(|| ports.get("")).and_then(|all| all.first());
        let Some((key, policy)) = owner.and_then(|key| self.policies.get_key_value(key)) else {
            return Ok(None);
        };
        let failed = |it: &PolicyAccepted| format!("BackendTLSPolicy {key}: {}", it.message());
        policy.tls.as_ref().map(|it| Some(it.clone())).map_err(failed)
    }

    /// What is to be said of the policies whose Services some route goes to.
    pub(super) fn report(
        &self,
        snapshot: &Snapshot,
        ancestors: &Ancestors,
    ) -> BTreeMap<ObjectKey, BackendTlsPolicyReport> {
        let concerned =
            |service: &ObjectKey| self.by_service.get(service).into_iter().flat_map(BTreeMap::values);
        let keys: BTreeSet<_> = ancestors.keys().flat_map(concerned).flatten().collect();
        let policies = keys.into_iter().filter_map(|key| self.policies.get_key_value(key));
        let reports = policies.map(|(key, it)| (key.clone(), self.report_of(key, it, snapshot, ancestors)));
        reports.filter(|(_, it)| !it.ancestors.is_empty()).collect()
    }

    fn report_of(
        &self,
        key: &ObjectKey,
        policy: &Policy,
        snapshot: &Snapshot,
        ancestors: &Ancestors,
    ) -> BackendTlsPolicyReport {
        let mut accepted: BTreeMap<&ObjectKey, PolicyAccepted> = BTreeMap::new();
        for target in &policy.targets {
            let here = self.accepted(key, policy, target, snapshot);
            for gateway in ancestors.get(&target.0).into_iter().flatten() {
                let known = accepted.entry(gateway).or_insert(PolicyAccepted::Yes);
                // Of several targets the first with a problem is told.
                if *known == PolicyAccepted::Yes {
                    *known = here.clone();
                }
            }
        }
        let ancestors = accepted.into_iter().take(MAX_ANCESTORS);
        BackendTlsPolicyReport {
            generation: policy.generation,
            ancestors: ancestors.map(|(gateway, it)| (gateway.clone(), it)).collect(),
            unresolved: policy.unresolved.clone(),
        }
    }

    fn accepted(
        &self,
        key: &ObjectKey,
        policy: &Policy,
        (service, port): &Target,
        snapshot: &Snapshot,
    ) -> PolicyAccepted {
        if let Err(problem) = &policy.tls {
            return problem.clone();
        }
        let spec = snapshot.services.get(service).and_then(|it| it.spec.as_ref());
        let Some(spec) = spec else {
            return PolicyAccepted::TargetNotFound(format!("Service {service} does not exist"));
        };
        let named = |it: &Option<String>| it.as_deref() == Some(port);
        if !port.is_empty() && !spec.ports.iter().flatten().any(|it| named(&it.name)) {
            return PolicyAccepted::TargetNotFound(format!("Service {service} has no port named {port}"));
        }
        let owner = self.by_service.get(service).and_then(|ports| ports.get(port)?.first());
        match owner.filter(|owner| *owner != key) {
            None => PolicyAccepted::Yes,
            Some(owner) => {
                let port = if port.is_empty() { String::new() } else { format!("port {port} of ") };
                PolicyAccepted::Conflicted(format!(
                    "BackendTLSPolicy {owner} has {port}Service {service}: it is older, or first by name"
                ))
            }
        }
    }
}

impl Policy {
    fn read(
        key: &ObjectKey,
        object: &BackendTlsPolicy,
        snapshot: &Snapshot,
        known: &mut KnownAuthorities,
    ) -> Self {
        let (authorities, unresolved) = match &object.spec.validation.0 {
            Ok(validation) => resolve(&key.namespace, validation, snapshot, known),
            Err(_) => (Vec::new(), None),
        };
        let tls = tls(object, authorities, unresolved.as_ref()).map(Arc::new);
        Self { generation: object.metadata.generation, targets: targets(key, object), tls, unresolved }
    }
}

/// The Services that a policy is for, and their ports, each once. Other kinds cannot be backends.
pub(super) fn targets(key: &ObjectKey, policy: &BackendTlsPolicy) -> Vec<Target> {
    let services = policy.spec.target_refs.iter().filter(|it| it.group.is_empty() && it.kind == "Service");
    let target = |it: &BackendTlsPolicyTargetRefs| {
        let service = ObjectKey::new(key.namespace.as_str(), it.name.as_str());
        (service, it.section_name.clone().unwrap_or_default())
    };
    let distinct: BTreeSet<Target> = services.map(target).collect();
    distinct.into_iter().collect()
}

/// Whether a policy names one of these ConfigMaps.
pub(super) fn names_any(
    key: &ObjectKey,
    policy: &BackendTlsPolicy,
    config_maps: &BTreeSet<&ObjectKey>,
) -> bool {
    let validation = policy.spec.validation.0.as_ref();
    let references = validation.map(|it| it.ca_certificate_refs.as_deref().unwrap_or_default());
    let mut references = references.unwrap_or_default().iter();
    references.any(|it| config_maps.contains(&ObjectKey::new(key.namespace.as_str(), it.name.as_str())))
}

/// The authorities that references name, and what is wrong with the first of the other references.
fn resolve(
    namespace: &str,
    validation: &BackendTlsPolicyValidation,
    snapshot: &Snapshot,
    known: &mut KnownAuthorities,
) -> (Vec<Arc<Certificate>>, Option<AuthorityProblem>) {
    let mut found = Vec::new();
    let mut problem = None;
    for it in validation.ca_certificate_refs.iter().flatten() {
        match authority(namespace, it, snapshot, known) {
            Ok(certificates) => found.push(certificates),
            Err(error) => {
                problem.get_or_insert(error);
            }
        }
    }
    (found, problem)
}

fn authority(
    namespace: &str,
    it: &BackendTlsPolicyValidationCaCertificateRefs,
    snapshot: &Snapshot,
    known: &mut KnownAuthorities,
) -> Result<Arc<Certificate>, AuthorityProblem> {
    let BackendTlsPolicyValidationCaCertificateRefs { group, kind, name } = it;
    if !group.is_empty() || kind != "ConfigMap" {
        return Err(AuthorityProblem::InvalidKind(format!(
            "kind {kind} of group {group:?} is not supported for {name}; expected kind ConfigMap of the core group"
        )));
    }
    let key = ObjectKey::new(namespace, name.as_str());
    authorities::of(&key, snapshot, known)
}

/// What is asked of TLS, if all of it can be done. Nothing is ever left out: it would be less safe than was meant.
fn tls(
    object: &BackendTlsPolicy,
    authorities: Vec<Arc<Certificate>>,
    unresolved: Option<&AuthorityProblem>,
) -> Result<BackendTls, PolicyAccepted> {
    let invalid = |it: String| PolicyAccepted::Invalid(it);
    if let Some((name, _)) = object.spec.options.iter().next() {
        return Err(invalid(format!("options: {name:?} is not supported")));
    }
    let validation = object.spec.validation.0.as_ref();
    let validation = validation.map_err(|error| invalid(format!("validation: {error}")))?;
    let hostname = Hostname::new(&validation.hostname);
    let hostname = hostname.map_err(|error| invalid(format!("validation.hostname: {error}")))?;
    let names = validation.subject_alt_names.iter().flatten().enumerate().map(|(index, it)| {
        name(it).map_err(|error| invalid(format!("validation.subjectAltNames[{index}]: {error}")))
    });
    let names = names.collect::<Result<_, _>>()?;
    let authorities = trusted(validation, authorities, unresolved)?;
    Ok(BackendTls { hostname, names, authorities })
}

fn name(it: &BackendTlsPolicyValidationSubjectAltNames) -> Result<SubjectAltName, String> {
    match it.r#type {
        BackendTlsPolicyValidationSubjectAltNamesType::Hostname => {
            let hostname = it.hostname.as_deref().unwrap_or_default();
            Hostname::new(hostname).map(SubjectAltName::Dns).map_err(|error| error.to_string())
        }
        BackendTlsPolicyValidationSubjectAltNamesType::Uri => {
            let uri = it.uri.as_deref().filter(|uri| !uri.is_empty());
            uri.map(|uri| SubjectAltName::Uri(uri.to_owned())).ok_or_else(|| "uri is missing".to_owned())
        }
    }
}

/// Who may have issued certificates; `None` stands for those that the system trusts.
fn trusted(
    validation: &BackendTlsPolicyValidation,
    authorities: Vec<Arc<Certificate>>,
    unresolved: Option<&AuthorityProblem>,
) -> Result<Option<Vec<Arc<Certificate>>>, PolicyAccepted> {
    let references = validation.ca_certificate_refs.as_ref().is_some_and(|it| !it.is_empty());
    let well_known = validation.well_known_ca_certificates.as_deref().filter(|it| !it.is_empty());
    let invalid = |it: &str| Err(PolicyAccepted::Invalid(format!("validation: {it}")));
    match (references, well_known) {
        (true, Some(_)) => invalid("caCertificateRefs and wellKnownCACertificates exclude each other"),
        (false, None) => invalid("expected caCertificateRefs or wellKnownCACertificates"),
        (false, Some(SYSTEM)) => Ok(None),
        (false, Some(other)) => {
            invalid(&format!("wellKnownCACertificates {other:?} is not supported; expected {SYSTEM}"))
        }
        (true, None) if authorities.is_empty() => {
            let message = unresolved.map(|it| it.message().to_owned()).unwrap_or_default();
            Err(PolicyAccepted::NoValidAuthority(format!("no caCertificateRef is valid: {message}")))
        }
        (true, None) => Ok(Some(authorities)),
    }
}

#[cfg(test)]
mod tests;
