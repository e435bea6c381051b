//! What listeners terminate TLS with (Gateway API, `Listener.tls`).

use gateway_api::experimental::gateways::{GatewayListenersTls, GatewayListenersTlsMode, GatewayTlsFrontend};

use super::certificates::Certificates;
use super::listeners::{Listener, Parent};
use super::report::ListenerProblem;

/// Finds the certificates of all listeners that terminate TLS, and listeners whose `tls` is not as it must be.
pub(super) fn find(parents: &mut [Parent], certificates: &mut Certificates) {
    for parent in parents {
        let gateway = certificates.snapshot.gateways.get(&parent.gateway);
        let frontend = gateway.and_then(|it| it.spec.tls.as_ref()?.frontend.as_ref());
        for listener in &mut parent.listeners {
            let problem = problem(listener, frontend);
            let problem = problem.map(|message| ListenerProblem::Invalid(format!("tls: {message}")));
            listener.report.problem = listener.report.problem.take().or(problem);
            if listener.terminates_tls() {
                resolve(listener, (parent.kind, &parent.key.namespace), certificates);
            }
        }
    }
}

fn resolve(listener: &mut Listener, from: (&str, &str), certificates: &mut Certificates) {
    let references = listener.tls.as_ref().and_then(|it| it.certificate_refs.as_deref()).unwrap_or_default();
    (listener.certificates, listener.report.unresolved) = certificates.resolve(from, references);
    listener.report.lacks_certificate = listener.certificates.is_empty();
}

/// What is asked of TLS and cannot be done. Nothing is ever ignored: it would be less safe than was meant.
fn problem(listener: &Listener, frontend: Option<&GatewayTlsFrontend>) -> Option<String> {
    match (listener.protocol.as_str(), &listener.tls) {
        ("HTTP", Some(_)) => Some("protocol HTTP has none; expected protocol HTTPS".into()),
        ("HTTPS", None) => Some("protocol HTTPS needs certificateRefs".into()),
        ("HTTPS", Some(tls)) => {
            let validated = frontend.is_some_and(|it| validates(it, listener.port));
            let validation = "spec.tls.frontend: client certificates are not validated";
            unsupported(tls).or_else(|| validated.then(|| validation.into()))
        }
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

/// Whether clients are to show a certificate on a port. What is given for the port counts, else the default.
fn validates(it: &GatewayTlsFrontend, port: i32) -> bool {
    let own = it.per_port.iter().flatten().find(|it| it.port == port);
    own.map_or(it.default.validation.is_some(), |own| own.tls.validation.is_some())
}
