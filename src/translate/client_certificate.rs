//! What Gateways show to backends that ask for a certificate (Gateway API, `Gateway.spec.tls.backend`).

use std::sync::Arc;

use super::Addressing;
use super::certificates::Certificates;
use super::listeners::Parent;
use super::report::{ClientCertificate, Report};
use crate::model::{Certificate, ObjectKey};

/// Finds the certificates of all Gateways that name one. Gateways that share a data plane share the oldest one's.
pub(super) fn find(
    parents: &mut [Parent],
    certificates: &mut Certificates,
    addressing: Addressing,
    report: &mut Report,
) {
    let mut first: Option<(ObjectKey, Arc<Certificate>)> = None;
    for parent in parents.iter_mut().filter(|it| it.kind == "Gateway") {
        let gateway = certificates.snapshot.gateways.get(&parent.key);
        let backend = gateway.and_then(|it| it.spec.tls.as_ref()?.backend.as_ref());
        let Some(reference) = backend.and_then(|it| it.client_certificate_ref.as_ref()) else { continue };
        let said = match certificates.client(&parent.key.namespace, reference) {
            Ok(it) => {
                let others = first.as_ref().filter(|_| addressing == Addressing::Shared);
                let said = shown(&it, others);
                if parent.served {
                    first.get_or_insert((parent.key.clone(), it.clone()));
                }
                parent.client_certificate = Some(it);
                said
            }
            Err(problem) => ClientCertificate::Unresolved(problem),
        };
        if let Some(it) = report.gateways.get_mut(&parent.key) {
            it.client_certificate = Some(said);
        }
    }
}

fn shown(own: &Arc<Certificate>, first: Option<&(ObjectKey, Arc<Certificate>)>) -> ClientCertificate {
    match first {
        Some((gateway, it)) if it != own => ClientCertificate::Shadowed(format!(
            "backends are shown that of Gateway {gateway} on the data plane that they share: it is older, or first by name"
        )),
        _ => ClientCertificate::Shown,
    }
}
