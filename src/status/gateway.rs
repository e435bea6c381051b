//! What is said of classes, Gateways, ListenerSets and their listeners.

use gateway_api::experimental::gateways::{
    GatewayStatus, GatewayStatusAddresses, GatewayStatusListeners, GatewayStatusListenersSupportedKinds,
};
use gateway_api::experimental::listenersets::{
    ListenerSetStatus, ListenerSetStatusListeners, ListenerSetStatusListenersSupportedKinds,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Context;
use super::conditions::{
    Valid, class_accepted, conflicted, gateway_accepted, listener_accepted, listener_refs,
    listener_set_accepted, not_programmed, owner_not_accepted, programmed, shadowed,
};
use crate::snapshot::GATEWAY_GROUP;
use crate::translate::report::{ClassReport, GatewayReport, ListenerReport, ListenerSetReport};

pub(super) fn class(it: &ClassReport, context: &Context) -> Vec<Condition> {
    vec![class_accepted(it.invalid_parameters.as_ref()).at(it.generation, &context.now)]
}

pub(super) fn gateway(it: &GatewayReport, context: &Context) -> GatewayStatus {
    let accepted = gateway_accepted(it.problem.as_ref(), valid(&it.listeners));
    let is_accepted = accepted.status == "True";
    let programmed = match all_shadowed(&it.listeners) {
        _ if !is_accepted => not_programmed(&accepted),
        Some(message) => shadowed("AddressNotUsable", message),
        None => programmed(&context.programmed),
    };
    let listeners = it.listeners.iter().map(|listener| GatewayStatusListeners {
        attached_routes: listener.attached_routes,
        conditions: listener_conditions(listener, it.generation, it.problem.is_none(), context),
        name: listener.name.clone(),
        supported_kinds: Some(listener.supported_kinds.iter().map(|kind| supported_kind(kind)).collect()),
    });
    GatewayStatus {
        addresses: is_accepted.then(|| context.addresses.iter().map(|it| address(it)).collect()),
        attached_listener_sets: Some(it.attached_listener_sets),
        conditions: Some(vec![
            accepted.at(it.generation, &context.now),
            programmed.at(it.generation, &context.now),
        ]),
        listeners: Some(listeners.collect()),
    }
}

/// Why none of the valid listeners is served.
fn all_shadowed(listeners: &[ListenerReport]) -> Option<&String> {
    let mut valid = listeners.iter().filter(|it| it.is_valid());
    let first = valid.next()?.shadowed.as_ref()?;
    valid.all(|it| it.shadowed.is_some()).then_some(first)
}

fn address(value: &str) -> GatewayStatusAddresses {
    GatewayStatusAddresses { r#type: Some("IPAddress".into()), value: value.to_owned() }
}

fn supported_kind(kind: &str) -> GatewayStatusListenersSupportedKinds {
    GatewayStatusListenersSupportedKinds { group: Some(GATEWAY_GROUP.into()), kind: kind.to_owned() }
}

pub(super) fn listener_set(it: &ListenerSetReport, context: &Context) -> ListenerSetStatus {
    let accepted = listener_set_accepted(it.problem.as_ref(), valid(&it.listeners));
    let is_accepted = accepted.status == "True";
    let programmed = if is_accepted { programmed(&context.programmed) } else { not_programmed(&accepted) };
    let kind = |kind: &&str| ListenerSetStatusListenersSupportedKinds {
        group: Some(GATEWAY_GROUP.into()),
        kind: (*kind).to_owned(),
    };
    let listeners = it.listeners.iter().map(|listener| ListenerSetStatusListeners {
        attached_routes: listener.attached_routes,
        conditions: listener_conditions(listener, it.generation, it.problem.is_none(), context),
        name: listener.name.clone(),
        supported_kinds: Some(listener.supported_kinds.iter().map(kind).collect()),
    });
    ListenerSetStatus {
        conditions: Some(vec![
            accepted.at(it.generation, &context.now),
            programmed.at(it.generation, &context.now),
        ]),
        listeners: Some(listeners.collect()),
    }
}

/// How many listeners are valid; a Gateway without any of its own has ListenerSets, or waits for them.
fn valid(listeners: &[ListenerReport]) -> Valid {
    let invalid: Vec<_> = listeners.iter().filter(|it| !it.is_valid()).map(|it| it.name.as_str()).collect();
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
    context: &Context,
) -> Vec<Condition> {
    let accepted = listener_accepted(it.problem.as_ref());
    let refs = listener_refs(it.invalid_kinds.as_ref());
    let programmed = if !it.is_valid() {
        not_programmed(&accepted)
    } else if !served {
        owner_not_accepted()
    } else if it.supported_kinds.is_empty() {
        not_programmed(&refs)
    } else if let Some(message) = &it.shadowed {
        shadowed("Invalid", message)
    } else {
        programmed(&context.programmed)
    };
    let said = [accepted, conflicted(it.problem.as_ref()), refs, programmed];
    said.into_iter().map(|it| it.at(generation, &context.now)).collect()
}
