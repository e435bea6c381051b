//! What clients of TLS ports have to show (Gateway API, `GatewaySpec.tls.frontend`, GEP-91).

use std::borrow::Cow;
use std::sync::Arc;

use gateway_api::experimental::gateways::{
    GatewayTlsFrontend, GatewayTlsFrontendDefaultValidation as Validation,
    GatewayTlsFrontendDefaultValidationCaCertificateRefs as Reference,
    GatewayTlsFrontendDefaultValidationMode as Mode, GatewayTlsFrontendPerPortTlsValidation as PerPort,
    GatewayTlsFrontendPerPortTlsValidationMode as PerPortMode,
};

use super::certificates::Certificates;
use super::grants;
use super::report::{AuthorityProblem, CertificateProblem};
use crate::model::{Certificate, ClientValidation, ObjectKey};

/// What clients of a port have to show, and what is wrong with the first reference that does not resolve. Without
/// any authority nobody could show anything: then there is no such validation, and the port must not be served.
pub(super) struct Found {
    pub validation: Option<ClientValidation>,
    pub unresolved: Option<CertificateProblem>,
}

/// What clients of a port of a Gateway in `namespace` have to show; none if nothing.
pub(super) fn of_port(
    frontend: &GatewayTlsFrontend,
    port: i32,
    namespace: &str,
    certificates: &mut Certificates,
) -> Option<Found> {
    let validation = validation(frontend, port)?;
    let mut authorities = Vec::new();
    let mut unresolved = None;
    for reference in &validation.ca_certificate_refs {
        match resolve(reference, namespace, certificates) {
            Ok(authority) => authorities.push(authority),
            Err(problem) => unresolved = unresolved.or(Some(problem)),
        }
    }
    let insecure_fallback = validation.mode == Some(Mode::AllowInsecureFallback);
    let found = (!authorities.is_empty()).then_some(ClientValidation { authorities, insecure_fallback });
    Some(Found { validation: found, unresolved })
}

/// Whether clients are let in on some port that show nothing valid.
pub(super) fn is_insecure(frontend: &GatewayTlsFrontend) -> bool {
    let default = frontend.default.validation.as_ref();
    let ports = frontend.per_port.iter().flatten().filter_map(|it| it.tls.validation.as_ref());
    default.is_some_and(|it| it.mode == Some(Mode::AllowInsecureFallback))
        || ports.into_iter().any(|it| it.mode == Some(PerPortMode::AllowInsecureFallback))
}

/// What is given for the port counts, else the default.
fn validation(frontend: &GatewayTlsFrontend, port: i32) -> Option<Cow<'_, Validation>> {
    match frontend.per_port.iter().flatten().find(|it| it.port == port) {
        Some(own) => own.tls.validation.as_ref().map(|it| Cow::Owned(as_default(it))),
        None => frontend.default.validation.as_ref().map(Cow::Borrowed),
    }
}

/// The same, in the type that the default has.
fn as_default(it: &PerPort) -> Validation {
    let references = it.ca_certificate_refs.iter().cloned().map(|it| Reference {
        group: it.group,
        kind: it.kind,
        name: it.name,
        namespace: it.namespace,
    });
    let mode = it.mode.as_ref().map(|it| match it {
        PerPortMode::AllowValidOnly => Mode::AllowValidOnly,
        PerPortMode::AllowInsecureFallback => Mode::AllowInsecureFallback,
    });
    Validation { ca_certificate_refs: references.collect(), mode }
}

fn resolve(
    it: &Reference,
    namespace: &str,
    certificates: &mut Certificates,
) -> Result<Arc<Certificate>, CertificateProblem> {
    if !it.group.is_empty() || it.kind != "ConfigMap" {
        return Err(CertificateProblem::Authority(AuthorityProblem::InvalidKind(format!(
            "caCertificateRef {}: kind {} of group {:?} holds no authorities; expected ConfigMap",
            it.name, it.kind, it.group
        ))));
    }
    let key = ObjectKey::new(it.namespace.as_deref().unwrap_or(namespace), it.name.as_str());
    grants::permitted(certificates.snapshot, ("Gateway", namespace), ("ConfigMap", &key))
        .map_err(CertificateProblem::RefNotPermitted)?;
    certificates.authority(&key).map_err(CertificateProblem::Authority)
}
