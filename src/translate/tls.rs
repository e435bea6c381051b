//! What HTTPS listeners terminate TLS with (Gateway API, `Listener.tls`), and what their clients have to show.

use gateway_api::experimental::gateways::{GatewayListenersTls, GatewayListenersTlsMode, GatewayTlsFrontend};

use super::certificates::Certificates;
use super::clients;
use super::listeners::{Listener, Parent};
use super::report::{CertificateProblem, ListenerProblem};
use crate::model::Scheme;

/// Finds the certificates of all HTTPS listeners and what clients have to show there, and listeners whose `tls` is
/// not as it must be.
pub(super) fn find(parents: &mut [Parent], certificates: &mut Certificates) {
    let snapshot = certificates.snapshot;
    for parent in parents {
        let gateway = snapshot.gateways.get(&parent.gateway);
        let frontend = gateway.and_then(|it| it.spec.tls.as_ref()?.frontend.as_ref());
        for listener in &mut parent.listeners {
            let problem = problem(listener).map(|message| format!("tls: {message}"));
            let problem = problem.map(ListenerProblem::Invalid);
            listener.report.problem = listener.report.problem.take().or(problem);
            if listener.scheme == Scheme::Https {
                resolve(listener, (parent.kind, &parent.key.namespace), certificates);
                let of_gateway = frontend.map(|it| (it, parent.gateway.namespace.as_str()));
                find_clients(listener, of_gateway, certificates);
            }
        }
    }
}

fn resolve(listener: &mut Listener, from: (&str, &str), certificates: &mut Certificates) {
    let references = listener.tls.as_ref().and_then(|it| it.certificate_refs.as_deref()).unwrap_or_default();
    (listener.certificates, listener.report.unresolved) = certificates.resolve(from, references);
    listener.report.lacks_certificate = listener.certificates.is_empty();
}

/// Where clients are to be validated and cannot be, the listener is not served: never without validation.
fn find_clients(
    listener: &mut Listener,
    frontend: Option<(&GatewayTlsFrontend, &str)>,
    certificates: &Certificates,
) {
    let found =
        frontend.and_then(|(it, home)| clients::of_port(it, listener.port, home, certificates.snapshot));
    let Some(found) = found else { return };
    let report = &mut listener.report;
    if found.validation.is_none() {
        let message = found.unresolved.as_ref().map_or("no caCertificateRefs", CertificateProblem::message);
        let message = format!("clients cannot be validated: {message}");
        report.problem = report.problem.take().or(Some(ListenerProblem::NoValidAuthority(message)));
    }
    report.unresolved = report.unresolved.take().or(found.unresolved);
    listener.clients = found.validation;
}

/// What is asked of TLS and cannot be done. Nothing is ever ignored: it would be less safe than was meant.
fn problem(listener: &Listener) -> Option<String> {
    match (listener.protocol.as_str(), &listener.tls) {
        ("HTTP", Some(_)) => Some("protocol HTTP has none; expected protocol HTTPS".into()),
        ("HTTPS", None) => Some("protocol HTTPS needs certificateRefs".into()),
        ("HTTPS", Some(tls)) => unsupported(tls),
        _ => None,
    }
}

fn unsupported(tls: &GatewayListenersTls) -> Option<String> {
    if tls.mode == Some(GatewayListenersTlsMode::Passthrough) {
        return Some("mode Passthrough is not possible with protocol HTTPS; expected Terminate".into());
    }
    if let Some((name, _)) = tls.options.iter().flatten().next() {
        return Some(format!("option {name:?} is not supported"));
    }
    tls.certificate_refs.as_ref().is_none_or(Vec::is_empty).then(|| "certificateRefs are missing".into())
}
