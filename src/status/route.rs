//! What is said of a route at each of its parents.

use gateway_api::experimental::httproutes::{
    HttpRouteStatus, HttpRouteStatusParents, HttpRouteStatusParentsParentRef,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::conditions::{partially_invalid, route_accepted, route_refs};
use crate::snapshot::ParentRef;
use crate::translate::Settings;
use crate::translate::report::{ParentReport, RouteAccepted, RouteReport};

/// The status of a route, with an entry for each of its parents that is ours. The API has the same form of it in all
/// kinds of routes.
#[must_use]
pub fn route(it: &RouteReport, settings: &Settings, now: &Time) -> HttpRouteStatus {
    let parents = it.parents.iter().map(|parent| HttpRouteStatusParents {
        conditions: conditions(parent, it.generation, now),
        controller_name: settings.controller_name.clone(),
        parent_ref: parent_ref(&parent.parent),
    });
    HttpRouteStatus { parents: parents.collect() }
}

fn conditions(it: &ParentReport, generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let accepted = route_accepted(&it.accepted, &it.notes);
    let partial = it.accepted == RouteAccepted::Yes && !it.dropped.is_empty();
    let partial = partial.then(|| partially_invalid(&it.dropped));
    let said = [accepted, route_refs(it.unresolved.as_ref())].into_iter().chain(partial);
    said.map(|it| it.at(generation, now)).collect()
}

fn parent_ref(it: &ParentRef) -> HttpRouteStatusParentsParentRef {
    let ParentRef { group, kind, name, namespace, port, section_name } = it.clone();
    HttpRouteStatusParentsParentRef { group, kind, name, namespace, port, section_name }
}
