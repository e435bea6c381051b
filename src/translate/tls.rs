//! What listeners terminate TLS with (Gateway API, `Listener.tls`), and what their clients have to show.

use gateway_api::experimental::gateways::{GatewayListenersTls, GatewayListenersTlsMode, GatewayTlsFrontend};

use super::certificates::Certificates;
use super::clients;
use super::listeners::{Listener, Parent};
use super::report::{CertificateProblem, ListenerProblem};

/// Finds the certificates of all listeners that terminate TLS and what clients have to show there, and listeners whose
/// `tls` is not as it must be.
pub(super) fn find(parents: &mut [Parent], certificates: &mut Certificates) {
    let snapshot = certificates.snapshot;
    for parent in parents {
        let gateway = snapshot.gateways.get(&parent.gateway);
        let frontend = gateway.and_then(|it| it.spec.tls.as_ref()?.frontend.as_ref());
        for listener in &mut parent.listeners {
            let problem = problem(listener).map(|message| format!("tls: {message}"));
            let problem = problem.map(ListenerProblem::Invalid);
            listener.report.problem = listener.report.problem.take().or(problem);
            if listener.terminates_tls() {
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
    certificates: &mut Certificates,
) {
    let found = frontend.and_then(|(it, home)| clients::of_port(it, listener.port, home, certificates));
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
        ("TLS", None) => Some("protocol TLS needs a mode; expected Passthrough or Terminate".into()),
        ("TLS", Some(tls)) if listener.terminates_tls() => option(tls).or_else(|| no_references(tls)),
        // References to certificates have no meaning here (Gateway API, `ListenerTLSConfig.mode`).
        ("TLS", Some(tls)) => option(tls),
        _ => None,
    }
}

fn option(tls: &GatewayListenersTls) -> Option<String> {
    let (name, _) = tls.options.iter().flatten().next()?;
    Some(format!("option {name:?} is not supported"))
}

fn unsupported(tls: &GatewayListenersTls) -> Option<String> {
    if tls.mode == Some(GatewayListenersTlsMode::Passthrough) {
        return Some("mode Passthrough is not possible with protocol HTTPS; expected Terminate".into());
    }
    option(tls).or_else(|| no_references(tls))
}

fn no_references(tls: &GatewayListenersTls) -> Option<String> {
    tls.certificate_refs.as_ref().is_none_or(Vec::is_empty).then(|| "certificateRefs are missing".into())
}
