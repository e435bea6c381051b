//! The conditions' words: types, statuses and reasons of the Gateway API v1.

use super::{Programmed, Said};
use crate::translate::report::{
    AuthorityProblem, CertificateProblem, ClientCertificate, GatewayProblem, ListenerProblem,
    ListenerSetProblem, PolicyAccepted, RefProblem, RouteAccepted,
};

const TRUE: &str = "True";
const FALSE: &str = "False";

fn say(
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
    message: impl Into<String>,
) -> Said {
    Said { condition, status, reason, message: message.into() }
}

/// `Accepted`, of a GatewayClass.
pub(super) fn class_accepted(invalid_parameters: Option<&String>) -> Said {
    match invalid_parameters {
        None => say("Accepted", TRUE, "Accepted", "Copal serves Gateways of this class"),
        Some(message) => say("Accepted", FALSE, "InvalidParameters", message),
    }
}

/// `InsecureFrontendValidationMode`, of a Gateway that lets clients in whatever they show.
pub(super) fn insecure_frontend() -> Said {
    let message = "tls.frontend: AllowInsecureFallback lets clients in without a valid certificate";
    say("InsecureFrontendValidationMode", TRUE, "ConfigurationChanged", message)
}

/// How many listeners of a Gateway or ListenerSet can be served, with the names of the others.
pub(super) enum Valid {
    All,
    Some(String),
    None(String),
}

/// `Accepted`, of a Gateway.
pub(super) fn gateway_accepted(problem: Option<&GatewayProblem>, listeners: Valid) -> Said {
    match (problem, listeners) {
        (Some(GatewayProblem::InvalidParameters(message)), _) => {
            say("Accepted", FALSE, "InvalidParameters", message)
        }
        (Some(GatewayProblem::UnsupportedAddress(message)), _) => {
            say("Accepted", FALSE, "UnsupportedAddress", message)
        }
        (None, Valid::All) => say("Accepted", TRUE, "Accepted", "all listeners are valid"),
        (None, Valid::Some(names)) => {
            let message = format!("listeners that cannot be served: {names}; the others are accepted");
            say("Accepted", TRUE, "ListenersNotValid", message)
        }
        (None, Valid::None(names)) => {
            say("Accepted", FALSE, "ListenersNotValid", format!("no listener can be served: {names}"))
        }
    }
}

/// `ResolvedRefs`, of a Gateway with a certificate for backends.
pub(super) fn gateway_refs(it: &ClientCertificate) -> Said {
    let no = |reason, message: &str| {
        say("ResolvedRefs", FALSE, reason, format!("tls.backend.clientCertificateRef: {message}"))
    };
    match it {
        ClientCertificate::Shown => say("ResolvedRefs", TRUE, "ResolvedRefs", "all references are resolved"),
        ClientCertificate::Shadowed(message) => {
            say("ResolvedRefs", TRUE, "ResolvedRefs", format!("all references are resolved; {message}"))
        }
        ClientCertificate::Unresolved(CertificateProblem::RefNotPermitted(message)) => {
            no("RefNotPermitted", message)
        }
        ClientCertificate::Unresolved(problem) => no("InvalidClientCertificateRef", problem.message()),
    }
}

/// `Programmed`, of a Gateway that is accepted.
pub(super) fn programmed(served: &Programmed) -> Said {
    let no = |reason, message: &String| say("Programmed", FALSE, reason, message);
    match served {
        Programmed::Yes => say("Programmed", TRUE, "Programmed", "Varnish serves this configuration"),
        Programmed::Pending(message) => no("Pending", message),
        Programmed::Failed(message) => no("Invalid", message),
        Programmed::AddressNotAssigned(message) => no("AddressNotAssigned", message),
        Programmed::AddressNotUsable(message) => no("AddressNotUsable", message),
    }
}

/// `Programmed`, of a listener or ListenerSet that is accepted. Addresses are the Gateway's.
pub(super) fn part_programmed(served: &Programmed) -> Said {
    match served {
        Programmed::AddressNotAssigned(message) | Programmed::AddressNotUsable(message) => {
            say("Programmed", FALSE, "Pending", message)
        }
        Programmed::Yes | Programmed::Pending(_) | Programmed::Failed(_) => programmed(served),
    }
}

/// `Programmed`, of what is accepted and yet not served, as another Gateway has its place.
pub(super) fn shadowed(reason: &'static str, message: &str) -> Said {
    say("Programmed", FALSE, reason, message)
}

/// `Programmed`, of what is not accepted.
pub(super) fn not_programmed(accepted: &Said) -> Said {
    let reason = match accepted.reason {
        "HostnameConflict" | "ProtocolConflict" | "NotAllowed" | "ListenersNotValid" | "PortUnavailable" => {
            accepted.reason
        }
        "ParentNotAccepted" => "ParentNotProgrammed",
        _ => "Invalid",
    };
    say("Programmed", FALSE, reason, accepted.message.clone())
}

/// `Programmed`, of a valid listener of a Gateway or ListenerSet that is not accepted.
pub(super) fn owner_not_accepted() -> Said {
    say("Programmed", FALSE, "Invalid", "the listener is valid, but what it belongs to is not accepted")
}

/// `Accepted`, of a ListenerSet.
pub(super) fn listener_set_accepted(problem: Option<&ListenerSetProblem>, listeners: Valid) -> Said {
    match (problem, listeners) {
        (Some(ListenerSetProblem::NotAllowed), _) => say(
            "Accepted",
            FALSE,
            "NotAllowed",
            "the Gateway's allowedListeners does not allow this ListenerSet",
        ),
        (Some(ListenerSetProblem::ParentNotAccepted), _) => {
            say("Accepted", FALSE, "ParentNotAccepted", "the Gateway is not accepted")
        }
        (None, valid) => gateway_accepted(None, valid),
    }
}

/// `Accepted`, of a listener.
pub(super) fn listener_accepted(problem: Option<&ListenerProblem>) -> Said {
    let no = |reason, message: &String| say("Accepted", FALSE, reason, message);
    match problem {
        None => say("Accepted", TRUE, "Accepted", "the listener is valid"),
        Some(ListenerProblem::UnsupportedProtocol(message)) => no("UnsupportedProtocol", message),
        Some(ListenerProblem::PortUnavailable(message)) => no("PortUnavailable", message),
        Some(ListenerProblem::Invalid(message)) => no("UnsupportedValue", message),
        Some(ListenerProblem::NoValidAuthority(message)) => no("NoValidCACertificate", message),
        Some(ListenerProblem::HostnameConflict(message)) => no("HostnameConflict", message),
        Some(ListenerProblem::ProtocolConflict(message)) => no("ProtocolConflict", message),
    }
}

/// `Conflicted`, of a listener.
pub(super) fn conflicted(problem: Option<&ListenerProblem>) -> Said {
    match problem {
        Some(ListenerProblem::HostnameConflict(message)) => {
            say("Conflicted", TRUE, "HostnameConflict", message)
        }
        Some(ListenerProblem::ProtocolConflict(message)) => {
            say("Conflicted", TRUE, "ProtocolConflict", message)
        }
        _ => say("Conflicted", FALSE, "NoConflicts", "no other listener is in its way"),
    }
}

/// `ResolvedRefs`, of a listener.
pub(super) fn listener_refs(unresolved: Option<&CertificateProblem>, invalid_kinds: Option<&String>) -> Said {
    let no = |reason, message: &String| say("ResolvedRefs", FALSE, reason, message);
    match (unresolved, invalid_kinds) {
        (Some(CertificateProblem::RefNotPermitted(message)), _) => no("RefNotPermitted", message),
        (Some(CertificateProblem::Invalid(message)), _) => no("InvalidCertificateRef", message),
        (Some(CertificateProblem::Authority(AuthorityProblem::Invalid(message))), _) => {
            no("InvalidCACertificateRef", message)
        }
        (Some(CertificateProblem::Authority(AuthorityProblem::InvalidKind(message))), _) => {
            no("InvalidCACertificateKind", message)
        }
        (None, Some(message)) => no("InvalidRouteKinds", message),
        (None, None) => say("ResolvedRefs", TRUE, "ResolvedRefs", "all references are resolved"),
    }
}

/// `Accepted`, of a route at a parent. Notes tell what is done otherwise than the route asks for.
pub(super) fn route_accepted(accepted: &RouteAccepted, notes: &[String]) -> Said {
    let no = |reason, message: &str| say("Accepted", FALSE, reason, message);
    match accepted {
        RouteAccepted::Yes if notes.is_empty() => say("Accepted", TRUE, "Accepted", "the route is attached"),
        RouteAccepted::Yes => {
            say("Accepted", TRUE, "Accepted", format!("the route is attached; {}", notes.join("; ")))
        }
        RouteAccepted::NotAllowedByListeners => {
            no("NotAllowedByListeners", "no listener's allowedRoutes allows this route")
        }
        RouteAccepted::NoMatchingParent => {
            no("NoMatchingParent", "no listener has this sectionName and port")
        }
        RouteAccepted::NoMatchingListenerHostname => {
            no("NoMatchingListenerHostname", "no listener has a host in common with the route")
        }
        RouteAccepted::UnsupportedValue(message) => no("UnsupportedValue", message),
        RouteAccepted::IncompatibleFilters(message) => no("IncompatibleFilters", message),
    }
}

/// `Accepted`, of a policy at a target.
pub(super) fn policy_accepted(accepted: &PolicyAccepted) -> Said {
    let no = |reason, message: &String| say("Accepted", FALSE, reason, message);
    match accepted {
        PolicyAccepted::Yes => say("Accepted", TRUE, "Accepted", "the policy is in force"),
        PolicyAccepted::Conflicted(message) => no("Conflicted", message),
        PolicyAccepted::Invalid(message) => no("Invalid", message),
        PolicyAccepted::TargetNotFound(message) => no("TargetNotFound", message),
        PolicyAccepted::NoValidAuthority(message) => no("NoValidCACertificate", message),
    }
}

/// `ResolvedRefs`, of a BackendTLSPolicy.
pub(super) fn backend_tls_refs(unresolved: Option<&AuthorityProblem>) -> Said {
    let reason = match unresolved {
        None => return say("ResolvedRefs", TRUE, "ResolvedRefs", "all references are resolved"),
        Some(AuthorityProblem::InvalidKind(_)) => "InvalidKind",
        Some(AuthorityProblem::Invalid(_)) => "InvalidCACertificateRef",
    };
    let message = unresolved.map(AuthorityProblem::message).unwrap_or_default();
    say("ResolvedRefs", FALSE, reason, format!("validation.caCertificateRefs: {message}"))
}

/// `ResolvedRefs`, of a route.
pub(super) fn route_refs(unresolved: Option<&RefProblem>) -> Said {
    let reason = match unresolved {
        None => return say("ResolvedRefs", TRUE, "ResolvedRefs", "all references are resolved"),
        Some(RefProblem::RefNotPermitted(_)) => "RefNotPermitted",
        Some(RefProblem::InvalidKind(_)) => "InvalidKind",
        Some(RefProblem::BackendNotFound(_)) => "BackendNotFound",
        Some(RefProblem::UnsupportedProtocol(_)) => "UnsupportedProtocol",
        Some(RefProblem::InvalidBackendTls(_)) => "InvalidBackendTLSPolicy",
    };
    say("ResolvedRefs", FALSE, reason, unresolved.map(RefProblem::message).unwrap_or_default())
}

/// `PartiallyInvalid`, of a route that is accepted with some rules that cannot be served. The spec asks for the
/// message's first words.
pub(super) fn partially_invalid(dropped: &[String]) -> Said {
    let message = format!("Dropped Rule: {}; requests that match get status 500", dropped.join("; "));
    say("PartiallyInvalid", TRUE, "UnsupportedValue", message)
}
