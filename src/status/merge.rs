//! A status that is wanted, and the one that is there: what is to be written.
//!
//! What others wrote survives: conditions of other types, and other controllers' entries in a route's
//! `status.parents`, which is one atomic list (Gateway API, `RouteStatus.parents`). A condition whose status stays
//! the same keeps its `lastTransitionTime` (Kubernetes API conventions, "Typical status properties").

use serde_json::{Map, Value};

use crate::translate::report::MAX_ANCESTORS;

/// The fields of the entries that routes and policies have one of for each parent and controller.
const ENTRIES: [&str; 2] = ["parents", "ancestors"];

/// Conditions that are ours and that there are only while there is something to be said.
const PASSING: [&str; 2] = ["InsecureFrontendValidationMode", "ResolvedRefs"];

/// The status to be written; `None` if it is there already. `controller` is the name under which entries of
/// `parents` and `ancestors` are ours.
#[must_use]
pub fn merge(current: Option<&Value>, wanted: &Value, controller: &str) -> Option<Value> {
    let nothing = Value::Object(Map::new());
    let current = current.unwrap_or(&nothing);
    let mut merged = wanted.clone();
    keep_conditions(current, &mut merged, true);
    keep_listeners(current, &mut merged);
    for field in ENTRIES {
        keep_entries(current, &mut merged, field, controller);
    }
    let fields = merged.as_object().into_iter().flatten();
    let same = fields.into_iter().all(|(field, value)| current.get(field).unwrap_or(&Value::Null) == value);
    (!same).then_some(merged)
}

/// Whether a status has entries of ours.
#[must_use]
pub fn is_ours(current: &Value, controller: &str) -> bool {
    let entries = ENTRIES.iter().filter_map(|field| current.get(field)?.as_array()).flatten();
    entries.into_iter().any(|entry| has_controller(entry, controller))
}

fn has_controller(entry: &Value, controller: &str) -> bool {
    entry.get("controllerName").and_then(Value::as_str) == Some(controller)
}

/// Keeps the times of conditions that did not turn, and conditions of other types if they are `shared`.
fn keep_conditions(current: &Value, wanted: &mut Value, shared: bool) {
    let Some(old) = current.get("conditions").and_then(Value::as_array) else { return };
    let Some(new) = wanted.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    for condition in new.iter_mut() {
        let before = old.iter().find(|it| same(it, condition, "type") && same(it, condition, "status"));
        if let Some(time) = before.and_then(|it| it.get("lastTransitionTime")) {
            set(condition, "lastTransitionTime", time.clone());
        }
    }
    if shared {
        let is_passing = |it: &&Value| PASSING.iter().any(|kind| it.get("type").is_some_and(|it| it == kind));
        let others = old.iter().filter(|it| !new.iter().any(|new| same(it, new, "type")));
        let others: Vec<_> = others.filter(|it| !is_passing(it)).cloned().collect();
        new.extend(others);
    }
    // The same set in another order is no reason to write.
    new.sort_by_key(|it| old.iter().position(|old| same(old, it, "type")).unwrap_or(usize::MAX));
}

fn keep_listeners(current: &Value, wanted: &mut Value) {
    let old = current.get("listeners").and_then(Value::as_array);
    let new = wanted.get_mut("listeners").and_then(Value::as_array_mut);
    let (Some(old), Some(new)) = (old, new) else { return };
    for listener in new {
        if let Some(before) = old.iter().find(|it| same(it, listener, "name")) {
            keep_conditions(before, listener, false);
        }
    }
}

/// Puts our entries where ours were, after all of the others'. What is too much for the list is left out of ours.
fn keep_entries(current: &Value, wanted: &mut Value, field: &str, controller: &str) {
    let Some(new) = wanted.get_mut(field).and_then(Value::as_array_mut) else { return };
    let old = current.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let reference = if field == "parents" { "parentRef" } else { "ancestorRef" };
    let (ours, others): (Vec<_>, Vec<_>) = old.iter().partition(|it| has_controller(it, controller));
    for entry in new.iter_mut() {
        if let Some(before) = ours.iter().find(|it| same(it, entry, reference)) {
            keep_conditions(before, entry, false);
        }
    }
    let place = |entry: &Value| {
        old.iter().position(|it| same(it, entry, reference) && same(it, entry, "controllerName"))
    };
    if field == "ancestors" {
        new.truncate(MAX_ANCESTORS.saturating_sub(others.len()));
    }
    new.extend(others.into_iter().cloned());
    new.sort_by_key(|entry| place(entry).unwrap_or(usize::MAX));
}

fn same(a: &Value, b: &Value, field: &str) -> bool {
    a.get(field) == b.get(field)
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const US: &str = "copal.dev/gateway-controller";

    fn condition(kind: &str, status: &str, time: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": time})
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let current = json!({"conditions": [condition("A", "True", "1"), condition("B", "True", "1")]});
        let wanted = json!({"conditions": [condition("A", "True", "2"), condition("B", "False", "2")]});
        let merged = merge(Some(&current), &wanted, US).unwrap();
        assert_eq!(merged["conditions"], json!([condition("A", "True", "1"), condition("B", "False", "2")]));
    }

    #[test]
    fn what_is_there_is_not_written_again() {
        let current =
            json!({"conditions": [condition("B", "True", "1"), condition("A", "True", "1")], "x": 1});
        let wanted = json!({"conditions": [condition("A", "True", "2"), condition("B", "True", "2")]});
        assert_eq!(merge(Some(&current), &wanted, US), None);
        let mut generation = wanted.clone();
        generation["conditions"][0]["observedGeneration"] = 2.into();
        assert!(merge(Some(&current), &generation, US).is_some());
        assert_eq!(merge(None, &wanted, US), Some(wanted));
    }

    #[test]
    fn conditions_of_other_types_survive() {
        let current = json!({"conditions": [condition("Theirs", "True", "1")]});
        let wanted = json!({"conditions": [condition("A", "True", "2")]});
        let merged = merge(Some(&current), &wanted, US).unwrap();
        assert_eq!(
            merged["conditions"],
            json!([condition("Theirs", "True", "1"), condition("A", "True", "2")])
        );
    }

    #[test]
    fn a_condition_that_passed_does_not_survive() {
        let passing = |time| condition("InsecureFrontendValidationMode", "True", time);
        let wanted = json!({"conditions": [condition("A", "True", "2")]});
        let with = json!({"conditions": [condition("A", "True", "1"), passing("1")]});
        let merged = merge(Some(&with), &wanted, US).unwrap();
        assert_eq!(merged["conditions"], json!([condition("A", "True", "1")]));
        let again = json!({"conditions": [condition("A", "True", "2"), passing("2")]});
        assert_eq!(merge(Some(&with), &again, US), None);
    }

    #[test]
    fn listeners_conditions_keep_their_times_and_no_others() {
        let listener = |conditions: Value| json!({"listeners": [{"name": "http", "conditions": conditions}]});
        let current = listener(json!([condition("Old", "True", "1"), condition("A", "True", "1")]));
        let wanted = listener(json!([condition("A", "True", "2")]));
        let merged = merge(Some(&current), &wanted, US).unwrap();
        assert_eq!(merged, listener(json!([condition("A", "True", "1")])));
    }

    fn parent(controller: &str, name: &str, time: &str) -> Value {
        json!({
            "controllerName": controller, "parentRef": {"name": name},
            "conditions": [condition("Accepted", "True", time)],
        })
    }

    #[test]
    fn other_controllers_entries_survive_and_old_ones_of_ours_do_not() {
        let current =
            json!({"parents": [parent(US, "gone", "1"), parent("other", "x", "1"), parent(US, "a", "1")]});
        let wanted = json!({"parents": [parent(US, "new", "2"), parent(US, "a", "2")]});
        let merged = merge(Some(&current), &wanted, US).unwrap();
        let expected = [parent("other", "x", "1"), parent(US, "a", "1"), parent(US, "new", "2")];
        assert_eq!(merged["parents"], json!(expected));
        assert_eq!(merge(Some(&merged), &wanted, US), None);
        assert!(is_ours(&merged, US) && !is_ours(&merged, "nobody"));
    }

    fn ancestor(controller: &str, name: &str, time: &str) -> Value {
        json!({
            "controllerName": controller, "ancestorRef": {"name": name},
            "conditions": [condition("Accepted", "True", time)],
        })
    }

    #[test]
    fn a_policy_has_so_many_entries_of_which_others_are_not_taken() {
        let theirs: Vec<_> = (0..14).map(|it| ancestor("other", &it.to_string(), "1")).collect();
        let mut current = theirs.clone();
        current.insert(3, ancestor(US, "a", "1"));
        let ours = ["a", "b", "c"].map(|it| ancestor(US, it, "2"));
        let wanted = json!({"ancestors": ours});
        let merged = merge(Some(&json!({"ancestors": current})), &wanted, US).unwrap();
        let mut expected = current;
        expected.push(ancestor(US, "b", "2"));
        assert_eq!(merged["ancestors"], json!(expected));
        assert_eq!(merge(Some(&merged), &wanted, US), None);
        let gone = merge(Some(&merged), &json!({"ancestors": []}), US).unwrap();
        assert_eq!(gone["ancestors"], json!(theirs));
    }

    #[test]
    fn resolved_refs_of_a_gateway_goes_when_there_are_no_references() {
        let current =
            json!({"conditions": [condition("ResolvedRefs", "False", "1"), condition("A", "True", "1")]});
        let wanted = json!({"conditions": [condition("A", "True", "2")]});
        let merged = merge(Some(&current), &wanted, US).unwrap();
        assert_eq!(merged["conditions"], json!([condition("A", "True", "1")]));
        assert_eq!(merge(Some(&merged), &wanted, US), None);
    }

    #[test]
    fn a_route_that_is_not_ours_any_more_loses_our_entries_only() {
        let current = json!({"parents": [parent(US, "a", "1"), parent("other", "a", "1")]});
        let merged = merge(Some(&current), &json!({"parents": []}), US).unwrap();
        assert_eq!(merged, json!({"parents": [parent("other", "a", "1")]}));
    }
}
