//! Events: what a person should notice when a status turns.

use std::error::Error;

use kube::Client;
use kube::Resource as _;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tracing::debug;

use super::watches::resource;
use crate::snapshot::Kind;

/// Who publishes Events.
const REPORTER: &str = "copal.dev/operator";
/// The longest note that the API server takes, in bytes.
const NOTE: usize = 1024;

/// Something that a person should notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub note: String,
}

/// What of a status is another than before: conditions that turned bad, and `Programmed` that turned good.
#[must_use]
pub fn notable(before: Option<&Value>, after: &Value) -> Vec<Notice> {
    let known = before.map(conditions).unwrap_or_default();
    let mut notices: Vec<Notice> = Vec::new();
    for condition in conditions(after) {
        let notice = notice(condition);
        let was = known.iter().any(|it| self::notice(it) == notice);
        if let Some(notice) = notice.filter(|it| !was && !notices.contains(it)) {
            notices.push(notice);
        }
    }
    notices
}

/// The conditions of the object itself, and of its parents.
fn conditions(status: &Value) -> Vec<&Value> {
    let parents = list(status, "parents").chain(list(status, "ancestors"));
    std::iter::once(status).chain(parents).flat_map(|it| list(it, "conditions")).collect()
}

fn list<'a>(it: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    it.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn notice(condition: &Value) -> Option<Notice> {
    let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
    let (reason, note) = (text("reason").to_owned(), text("message").to_owned());
    let warning = match (text("type"), text("status"), text("reason")) {
        // It is on its way.
        ("Programmed", "False", "Pending") => return None,
        ("Accepted" | "ResolvedRefs" | "Programmed", "False", _) | ("PartiallyInvalid", "True", _) => true,
        ("Programmed", "True", _) => false,
        _ => return None,
    };
    Some(Notice { warning, reason, note })
}

/// Publishes Events.
pub struct Announcer(Recorder);

impl Announcer {
    /// Publishes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter { controller: REPORTER.into(), instance: None }))
    }

    /// Publishes notices of an object. An Event that is lost is no harm: the status says it too.
    pub async fn announce(&self, object: &DynamicObject, kind: Kind, notices: Vec<Notice>) {
        let reference = object.object_ref(&resource(kind));
        for notice in notices {
            let event = Event {
                type_: if notice.warning { EventType::Warning } else { EventType::Normal },
                reason: notice.reason,
                note: Some(shortened(notice.note)),
                action: "UpdateStatus".into(),
                secondary: None,
            };
            if let Err(error) = self.0.publish(&event, &reference).await {
                debug!(%kind, object = reference.name, error = &error as &dyn Error, "cannot publish an Event");
            }
        }
    }
}

fn shortened(mut note: String) -> String {
    if note.len() > NOTE {
        let end = (0..=NOTE - 3).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
        note.truncate(end);
        note.push_str("...");
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(conditions: &[(&str, &str, &str)]) -> Value {
        let conditions = conditions.iter().map(|(kind, status, reason)| {
            json!({"type": kind, "status": status, "reason": reason, "message": format!("{kind} is {status}")})
        });
        json!({"conditions": conditions.collect::<Vec<_>>()})
    }

    fn reasons(before: Option<&Value>, after: &Value) -> Vec<(bool, String)> {
        notable(before, after).into_iter().map(|it| (it.warning, it.reason)).collect()
    }

    #[test]
    fn what_turns_bad_and_what_is_served_is_told_once() {
        let good = status(&[("Accepted", "True", "Accepted"), ("Programmed", "True", "Programmed")]);
        let bad = status(&[("Accepted", "True", "Accepted"), ("Programmed", "False", "Invalid")]);
        let waiting = status(&[("Accepted", "True", "Accepted"), ("Programmed", "False", "Pending")]);
        assert_eq!(reasons(None, &good), [(false, "Programmed".to_owned())]);
        assert_eq!(reasons(Some(&good), &good), []);
        assert_eq!(reasons(Some(&good), &bad), [(true, "Invalid".to_owned())]);
        assert_eq!(reasons(Some(&good), &waiting), []);
    }

    #[test]
    fn routes_say_it_of_their_parents() {
        let refused =
            status(&[("Accepted", "True", "Accepted"), ("ResolvedRefs", "False", "BackendNotFound")]);
        let route = json!({"parents": [refused.clone(), refused]});
        assert_eq!(reasons(None, &route), [(true, "BackendNotFound".to_owned())]);
    }

    #[test]
    fn a_note_is_cut_at_a_character() {
        let note = shortened("é".repeat(1000));
        assert!(note.len() <= NOTE && note.ends_with("é..."));
        assert_eq!(shortened("short".into()), "short");
    }
}
