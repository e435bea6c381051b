//! Statuses that are to be written: one write at a time an object, and not too often. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::world::Live;
use crate::snapshot::{Kind, ObjectId};
use crate::status::merge;

/// Writes under way at most.
const IN_FLIGHT: usize = 8;
/// The same while changes come in numbers: statuses of a thousand routes must not hold up whoever creates them, as the API
/// server works as much for a status as for a new object.
const IN_FLIGHT_WHILE_BUSY: usize = 2;
/// How long a parent's status may lag: the counts of attached routes change with each route.
const PARENT_PAUSE: Duration = Duration::from_millis(800);
/// The pause after a write that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A status to be written now.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The object.
    pub id: ObjectId,
    /// The version that the write builds on; it fails if there is a newer one.
    pub resource_version: Option<String>,
    /// The status before.
    pub before: Option<Value>,
    /// The status to write.
    pub status: Value,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the cluster.
    Done,
    /// The object is gone.
    Gone,
    /// Someone else wrote first, or the API server could not be reached: it is tried again.
    Failed,
}

/// The statuses that are wanted, and how far each is.
#[derive(Debug)]
pub struct Outbox {
    controller: String,
    wanted: BTreeMap<ObjectId, Value>,
    due: BTreeSet<ObjectId>,
    in_flight: BTreeSet<ObjectId>,
    /// How many writes may be under way.
    limit: usize,
    not_before: BTreeMap<ObjectId, Duration>,
    /// What was written last and the version that came of it: the API server may have dropped a field.
    written: BTreeMap<ObjectId, (Value, Option<String>)>,
}

impl Outbox {
    /// An outbox that nothing is in. `controller` is the name of our entries in shared statuses.
    #[must_use]
    pub fn new(controller: impl Into<String>) -> Self {
        Self {
            controller: controller.into(),
            wanted: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            limit: IN_FLIGHT,
            not_before: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// An object's status is to be this one.
    pub fn want(&mut self, id: ObjectId, status: Value) {
        if self.wanted.get(&id) != Some(&status) {
            self.due.insert(id.clone());
            self.wanted.insert(id, status);
        }
    }

    /// Nothing is wanted of an object any more.
    pub fn forget(&mut self, id: &ObjectId) {
        self.wanted.remove(id);
        self.due.remove(id);
        self.written.remove(id);
        self.not_before.remove(id);
    }

    /// An object's live status is another, or its write has to be looked at again.
    pub fn look_again(&mut self, id: &ObjectId) {
        if self.wanted.contains_key(id) {
            self.due.insert(id.clone());
        }
    }

    /// The writes to begin now, fewer while changes come in numbers (`busy`). An object that is not there (yet) is left
    /// alone.
    pub fn take<'a>(
        &mut self,
        now: Duration,
        busy: bool,
        live: impl Fn(&ObjectId) -> Option<&'a Live>,
    ) -> Vec<Job> {
        let mut jobs = Vec::new();
        self.limit = if busy { IN_FLIGHT_WHILE_BUSY } else { IN_FLIGHT };
        while self.in_flight.len() < self.limit {
            let Some(id) = self.due.iter().find(|id| self.may_begin(id, now)).cloned() else { break };
            self.due.remove(&id);
            if let Some(job) = live(&id).and_then(|live| self.job(&id, live)) {
                self.in_flight.insert(id);
                jobs.push(job);
            }
        }
        jobs
    }

    /// When to look again, if nothing else happens: not before a write has ended where no other may begin.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        if self.in_flight.len() >= self.limit {
            return None;
        }
        let waiting = self.due.iter().filter(|id| !self.in_flight.contains(*id));
        waiting.map(|id| self.not_before.get(id).copied().unwrap_or_default()).min()
    }

    /// A write has ended; `version` is the object's after it.
    pub fn ended(&mut self, job: &Job, outcome: Written, version: Option<String>, now: Duration) {
        self.in_flight.remove(&job.id);
        match outcome {
            Written::Done => {
                self.written.insert(job.id.clone(), (job.status.clone(), version));
                if matches!(job.id.kind, Kind::Gateway | Kind::ListenerSet) {
                    self.not_before.insert(job.id.clone(), now + PARENT_PAUSE);
                }
            }
            Written::Gone => self.forget(&job.id),
            Written::Failed => {
                self.not_before.insert(job.id.clone(), now + RETRY_PAUSE);
                self.look_again(&job.id);
            }
        }
    }

    fn may_begin(&self, id: &ObjectId, now: Duration) -> bool {
        !self.in_flight.contains(id) && self.not_before.get(id).is_none_or(|time| *time <= now)
    }

    fn job(&self, id: &ObjectId, live: &Live) -> Option<Job> {
        let status = merge(live.status.as_ref(), self.wanted.get(id)?, &self.controller)?;
        let stands = |(last, version): &(Value, Option<String>)| {
            *last == status && version.is_some() && *version == live.resource_version
        };
        if self.written.get(id).is_some_and(stands) {
            return None;
        }
        let (resource_version, before) = (live.resource_version.clone(), live.status.clone());
        Some(Job { id: id.clone(), resource_version, before, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectKey;
    use serde_json::json;

    fn id(kind: Kind, name: &str) -> ObjectId {
        ObjectId { kind, key: ObjectKey::new("default", name) }
    }

    fn live(version: &str, status: Value) -> Live {
        Live { resource_version: Some(version.into()), status: Some(status) }
    }

    const NOW: Duration = Duration::from_secs(100);

    fn outbox(id: &ObjectId, status: Value) -> Outbox {
        let mut outbox = Outbox::new("us");
        outbox.want(id.clone(), status);
        outbox
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let route = id(Kind::HttpRoute, "r");
        let there = live("1", json!({"a": 1}));
        let mut outbox = outbox(&route, json!({"a": 1}));
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)), []);
        assert_eq!(outbox.next_due(), None);
    }

    #[test]
    fn one_write_at_a_time_and_the_latest_wins() {
        let route = id(Kind::HttpRoute, "r");
        let there = live("1", json!({}));
        let mut outbox = outbox(&route, json!({"a": 1}));
        let job = outbox.take(NOW, false, |_| Some(&there)).remove(0);
        outbox.want(route.clone(), json!({"a": 2}));
        outbox.want(route.clone(), json!({"a": 3}));
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)), []);
        outbox.ended(&job, Written::Done, Some("2".into()), NOW);
        let next = live("2", json!({"a": 1}));
        let job = outbox.take(NOW, false, |_| Some(&next)).remove(0);
        assert_eq!((job.status, job.resource_version.as_deref()), (json!({"a": 3}), Some("2")));
    }

    #[test]
    fn a_gateway_is_written_at_once_and_then_not_too_often() {
        let gateway = id(Kind::Gateway, "g");
        let there = live("1", json!({}));
        let mut outbox = outbox(&gateway, json!({"a": 1}));
        let job = outbox.take(NOW, false, |_| Some(&there)).remove(0);
        outbox.ended(&job, Written::Done, Some("2".into()), NOW);
        outbox.want(gateway.clone(), json!({"a": 2}));
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)), []);
        let due = outbox.next_due().unwrap();
        assert_eq!(due, NOW + PARENT_PAUSE);
        assert_eq!(outbox.take(due, false, |_| Some(&there)).len(), 1);
    }

    #[test]
    fn a_field_that_the_api_server_drops_is_not_written_for_ever() {
        let route = id(Kind::HttpRoute, "r");
        let there = live("1", json!({}));
        let mut outbox = outbox(&route, json!({"unknown": 1}));
        let job = outbox.take(NOW, false, |_| Some(&there)).remove(0);
        outbox.ended(&job, Written::Done, Some("2".into()), NOW);
        outbox.look_again(&route);
        let pruned = live("2", json!({}));
        assert_eq!(outbox.take(NOW, false, |_| Some(&pruned)), []);
        outbox.look_again(&route);
        let others = live("3", json!({}));
        assert_eq!(outbox.take(NOW, false, |_| Some(&others)).len(), 1);
    }

    #[test]
    fn a_failed_write_is_tried_again_after_a_pause_and_a_gone_object_is_forgotten() {
        let route = id(Kind::HttpRoute, "r");
        let there = live("1", json!({}));
        let mut outbox = outbox(&route, json!({"a": 1}));
        let job = outbox.take(NOW, false, |_| Some(&there)).remove(0);
        outbox.ended(&job, Written::Failed, None, NOW);
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)), []);
        let job = outbox.take(NOW + RETRY_PAUSE, false, |_| Some(&there)).remove(0);
        outbox.ended(&job, Written::Gone, None, NOW);
        outbox.look_again(&route);
        assert_eq!(outbox.take(NOW + RETRY_PAUSE, false, |_| Some(&there)), []);
    }

    #[test]
    fn only_so_many_writes_are_under_way() {
        let there = live("1", json!({}));
        let mut outbox = Outbox::new("us");
        for number in 0..100 {
            outbox.want(id(Kind::HttpRoute, &number.to_string()), json!({"a": 1}));
        }
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)).len(), IN_FLIGHT);
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)).len(), 0);
        assert_eq!(outbox.next_due(), None, "the next one begins when one has ended");
    }

    #[test]
    fn fewer_writes_are_under_way_while_changes_come_in_numbers_and_parents_come_first() {
        let there = live("1", json!({}));
        let mut outbox = Outbox::new("us");
        for number in 0..100 {
            outbox.want(id(Kind::HttpRoute, &number.to_string()), json!({"a": 1}));
        }
        assert_eq!(outbox.take(NOW, true, |_| Some(&there)).len(), IN_FLIGHT_WHILE_BUSY);
        assert_eq!(outbox.next_due(), None);
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)).len(), IN_FLIGHT - IN_FLIGHT_WHILE_BUSY);
        outbox.want(id(Kind::Gateway, "g"), json!({"a": 1}));
        let job =
            Job { id: id(Kind::HttpRoute, "0"), resource_version: None, before: None, status: json!({}) };
        outbox.ended(&job, Written::Done, None, NOW);
        assert_eq!(outbox.take(NOW, false, |_| Some(&there)).remove(0).id.kind, Kind::Gateway);
    }
}
