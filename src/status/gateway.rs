//! What is said of classes, Gateways, ListenerSets and their listeners.

use std::net::IpAddr;

use gateway_api::experimental::gatewayclasses::{GatewayClassStatus, GatewayClassStatusSupportedFeatures};
use gateway_api::experimental::gateways::{
    GatewayStatus, GatewayStatusAddresses, GatewayStatusListeners, GatewayStatusListenersSupportedKinds,
};
use gateway_api::experimental::listenersets::{
    ListenerSetStatus, ListenerSetStatusListeners, ListenerSetStatusListenersSupportedKinds,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Plane;
use super::conditions::{
    Valid, class_accepted, conflicted, gateway_accepted, gateway_refs, insecure_frontend, listener_accepted,
    listener_refs, listener_set_accepted, not_programmed, owner_not_accepted, part_programmed, programmed,
    shadowed,
};
use super::features::FEATURES;
use crate::snapshot::GATEWAY_GROUP;
use crate::translate::report::{ClassReport, GatewayReport, ListenerReport, ListenerSetReport};

pub(super) fn class(it: &ClassReport, now: &Time) -> GatewayClassStatus {
    let accepted = class_accepted(it.invalid_parameters.as_ref()).at(it.generation, now);
    let features =
        FEATURES.iter().map(|name| GatewayClassStatusSupportedFeatures { name: (*name).to_owned() });
    GatewayClassStatus { conditions: Some(vec![accepted]), supported_features: Some(features.collect()) }
}

pub(super) fn gateway(it: &GatewayReport, plane: &Plane, now: &Time) -> GatewayStatus {
    let accepted = gateway_accepted(it.problem.as_ref(), valid(&it.listeners));
    let is_accepted = accepted.status == "True";
    let programmed = match all_shadowed(&it.listeners) {
        _ if !is_accepted => not_programmed(&accepted),
        Some(message) => shadowed("AddressNotUsable", message),
        None => programmed(&plane.programmed),
    };
    let addresses = is_accepted.then(|| plane.addresses.iter().map(|it| address(it)).collect());
    let insecure = it.insecure_frontend.then(insecure_frontend);
    let refs = it.client_certificate.as_ref().map(gateway_refs);
    let said = [accepted, programmed].into_iter().chain(insecure).chain(refs);
    let listeners = it.listeners.iter().map(|listener| GatewayStatusListeners {
        attached_routes: listener.attached_routes,
        conditions: listener_conditions(listener, it.generation, it.problem.is_none(), plane, now),
        name: listener.name.clone(),
        supported_kinds: Some(listener.supported_kinds.iter().map(|kind| supported_kind(kind)).collect()),
    });
    GatewayStatus {
        addresses,
        attached_listener_sets: Some(it.attached_listener_sets),
        conditions: Some(said.map(|condition| condition.at(it.generation, now)).collect()),
        listeners: Some(listeners.collect()),
    }
}

/// Why none of the valid listeners is served.
fn all_shadowed(listeners: &[ListenerReport]) -> Option<&String> {
    let mut valid = listeners.iter().filter(|it| it.is_usable());
    let first = valid.next()?.shadowed.as_ref()?;
    valid.all(|it| it.shadowed.is_some()).then_some(first)
}

fn address(value: &str) -> GatewayStatusAddresses {
    let kind = if value.parse::<IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
    GatewayStatusAddresses { r#type: Some(kind.into()), value: value.to_owned() }
}

fn supported_kind(kind: &str) -> GatewayStatusListenersSupportedKinds {
    GatewayStatusListenersSupportedKinds { group: Some(GATEWAY_GROUP.into()), kind: kind.to_owned() }
}

pub(super) fn listener_set(it: &ListenerSetReport, plane: &Plane, now: &Time) -> ListenerSetStatus {
    let accepted = listener_set_accepted(it.problem.as_ref(), valid(&it.listeners));
    let is_accepted = accepted.status == "True";
    let programmed = if is_accepted { part_programmed(&plane.programmed) } else { not_programmed(&accepted) };
    let kind = |kind: &&str| ListenerSetStatusListenersSupportedKinds {
        group: Some(GATEWAY_GROUP.into()),
        kind: (*kind).to_owned(),
    };
    let listeners = it.listeners.iter().map(|listener| ListenerSetStatusListeners {
        attached_routes: listener.attached_routes,
        conditions: listener_conditions(listener, it.generation, it.problem.is_none(), plane, now),
        name: listener.name.clone(),
        supported_kinds: Some(listener.supported_kinds.iter().map(kind).collect()),
    });
    ListenerSetStatus {
        conditions: Some(vec![accepted.at(it.generation, now), programmed.at(it.generation, now)]),
        listeners: Some(listeners.collect()),
    }
}

/// How many listeners are valid and have the certificates that they need; a Gateway without any of its own has ListenerSets, or waits for them.
fn valid(listeners: &[ListenerReport]) -> Valid {
    let invalid: Vec<_> = listeners.iter().filter(|it| !it.is_usable()).map(|it| it.name.as_str()).collect();
    match invalid.len() {
        0 => Valid::All,
        count if count == listeners.len() => Valid::None(invalid.join(", ")),
        _ => Valid::Some(invalid.join(", ")),
    }
}

fn listener_conditions(
    it: &ListenerReport,
    generation: Option<i64>,
    served: bool,
    plane: &Plane,
    now: &Time,
) -> Vec<Condition> {
    let accepted = listener_accepted(it.problem.as_ref());
    let refs = listener_refs(it.unresolved.as_ref(), it.invalid_kinds.as_ref());
    let programmed = if !it.is_valid() {
        not_programmed(&accepted)
    } else if !served {
        owner_not_accepted()
    } else if it.supported_kinds.is_empty() || it.lacks_certificate {
        not_programmed(&refs)
    } else if let Some(message) = &it.shadowed {
        shadowed("Invalid", message)
    } else {
        part_programmed(&plane.programmed)
    };
    let said = [accepted, conflicted(it.problem.as_ref()), refs, programmed];
    said.into_iter().map(|it| it.at(generation, now)).collect()
}
