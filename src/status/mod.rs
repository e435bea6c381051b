//! Report to statuses: the conditions that `kubectl get` shows.
//!
//! `gateway` and `route` decide what is said; `conditions` has the words.

mod conditions;
mod features;
mod gateway;
mod merge;
mod policy;
mod route;

use std::collections::BTreeMap;

use gateway_api::apis::standard::backendtlspolicies::BackendTlsPolicyStatus;
use gateway_api::experimental::gatewayclasses::GatewayClassStatus;
use gateway_api::experimental::gateways::GatewayStatus;
use gateway_api::experimental::httproutes::HttpRouteStatus;
use gateway_api::experimental::listenersets::ListenerSetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use merge::{is_ours, merge};
pub use policy::backend_tls_policy;
pub use route::route;

use crate::api::logging_policy::VarnishLoggingPolicyStatus;
use crate::model::ObjectKey;
use crate::translate::{Report, Settings};

/// Whether what was translated is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programmed {
    /// Varnish serves all of it.
    Yes,
    /// Not yet, or not known; the text says what is awaited.
    Pending(String),
    /// Varnish refused a part of it; the text has the compiler's message.
    Failed(String),
    /// Clients have no address to connect to yet.
    AddressNotAssigned(String),
    /// An address that the Gateway asks for is not to be had.
    AddressNotUsable(String),
}

/// What is known of a data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Whether Varnish serves what was translated.
    pub programmed: Programmed,
    /// IP addresses or host names that clients connect to.
    pub addresses: Vec<String>,
}

/// What statuses depend on besides the report.
#[derive(Clone, Debug)]
pub struct Context {
    /// What is known of each Gateway's data plane.
    pub planes: BTreeMap<ObjectKey, Plane>,
    /// What holds for all other Gateways.
    pub other: Plane,
    /// The time of conditions that are new.
    pub now: Time,
}

impl Context {
    /// A context in which all Gateways share a data plane.
    #[must_use]
    pub fn shared(programmed: Programmed, addresses: Vec<String>, now: Time) -> Self {
        Self { planes: BTreeMap::new(), other: Plane { programmed, addresses }, now }
    }

    fn plane(&self, gateway: &ObjectKey) -> &Plane {
        self.planes.get(gateway).unwrap_or(&self.other)
    }
}

/// The statuses of all objects that are ours to speak about.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each field holds the statuses of the kind of its name")]
pub struct Statuses {
    pub classes: BTreeMap<ObjectKey, GatewayClassStatus>,
    pub gateways: BTreeMap<ObjectKey, GatewayStatus>,
    pub listener_sets: BTreeMap<ObjectKey, ListenerSetStatus>,
    pub routes: BTreeMap<ObjectKey, HttpRouteStatus>,
    pub tls_routes: BTreeMap<ObjectKey, HttpRouteStatus>,
    pub logging_policies: BTreeMap<ObjectKey, VarnishLoggingPolicyStatus>,
    pub backend_tls_policies: BTreeMap<ObjectKey, BackendTlsPolicyStatus>,
}

/// Says what the report means. Pure: the time is an argument.
#[must_use]
pub fn build(report: &Report, settings: &Settings, context: &Context) -> Statuses {
    let routes = |reports: &BTreeMap<_, _>| {
        reports.iter().map(|(key, it)| (ObjectKey::clone(key), route(it, settings, &context.now))).collect()
    };
    let policies = report.backend_tls_policies.iter();
    let policies = policies.map(|(key, it)| (key.clone(), backend_tls_policy(it, settings, &context.now)));
    Statuses {
        routes: routes(&report.routes),
        tls_routes: routes(&report.tls_routes),
        backend_tls_policies: policies.collect(),
        ..parents(report, settings, context)
    }
}

/// Says what the report means for everything but routes and the policies of their backends.
#[must_use]
pub fn parents(report: &Report, settings: &Settings, context: &Context) -> Statuses {
    let now = &context.now;
    let classes = report.classes.iter().map(|(key, it)| (key.clone(), gateway::class(it, now)));
    let gateways = report.gateways.iter();
    let gateways = gateways.map(|(key, it)| (key.clone(), gateway::gateway(it, context.plane(key), now)));
    let sets = report.listener_sets.iter();
    let sets =
        sets.map(|(key, it)| (key.clone(), gateway::listener_set(it, context.plane(&it.gateway), now)));
    let policies = report.logging_policies.iter();
    let policies = policies.map(|(key, it)| (key.clone(), policy::logging_policy(key, it, settings, now)));
    Statuses {
        classes: classes.collect(),
        gateways: gateways.collect(),
        listener_sets: sets.collect(),
        routes: BTreeMap::new(),
        tls_routes: BTreeMap::new(),
        logging_policies: policies.collect(),
        backend_tls_policies: BTreeMap::new(),
    }
}

/// One thing to be said, before it has a time.
struct Said {
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Said {
    fn at(self, generation: Option<i64>, now: &Time) -> Condition {
        Condition {
            type_: self.condition.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: now.clone(),
        }
    }
}
