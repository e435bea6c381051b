//! What the reloader tells about itself: the content of `/status`, and whether it is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::bundle::{Manifest, NAME_PREFIX};

use super::compiler::VclError;
use super::failures::Failures;
use super::listing::{Kind, LoadedVcl};

/// What the reloader is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is no bundle with a socket to listen on, so varnishd does not run.
    #[default]
    Waiting,
    /// varnishd does not serve yet, or not at the moment.
    Starting,
    /// varnishd serves.
    Serving,
    /// Connections are being finished before the end.
    Draining,
}

/// What a VCL is to varnishd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VclState {
    /// The root in use.
    Active,
    /// A label points to it.
    Labelled,
    /// It is wanted and cannot be loaded.
    Failed,
    /// It is of no use any more; requests in flight may still hold it.
    Old,
}

impl VclState {
    /// As in `/status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Labelled => "labelled",
            Self::Failed => "failed",
            Self::Old => "old",
        }
    }
}

/// One VCL of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VclStatus {
    /// Its name.
    pub name: String,
    /// The label that points to it, or that should.
    pub label: Option<String>,
    /// What it is to varnishd.
    pub state: VclState,
    /// Why it cannot be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<VclError>,
}

/// The last thing that went wrong; it stays after it is mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// What it is about.
    #[serde(flatten)]
    pub error: VclError,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// What is known of the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayStatus {
    /// Revision that it serves; none while it does not run.
    pub revision: Option<String>,
    /// Addresses that it listens on.
    pub listen: Vec<SocketAddr>,
    /// The listeners' ports of those that speak HTTP without TLS.
    pub http: BTreeSet<u16>,
    /// How many certificates it can present.
    pub certificates: usize,
    /// What of its part cannot be done.
    pub errors: Vec<VclError>,
}

/// The content of `/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What the reloader is doing.
    pub state: State,
    /// Revision of the bundle that it was given last.
    pub wanted: Option<String>,
    /// Revision that is entirely in force: every label and the root, and the relay's part.
    pub loaded: Option<String>,
    /// Addresses that varnishd listens on.
    pub listen: Vec<String>,
    /// varnishd's release.
    pub varnish_version: Option<String>,
    /// How often varnishd's child was started, over all varnishds of this reloader.
    pub child_starts: u64,
    /// Our VCLs.
    pub vcls: Vec<VclStatus>,
    /// The relay; none if there is no need of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayStatus>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Revision that varnishd serves entirely, whatever the relay does.
    #[serde(skip)]
    pub in_force: Option<String>,
    /// HTTP ports that the relay is to listen on for varnishd.
    #[serde(skip)]
    pub relayed: BTreeSet<u16>,
    /// Why varnishd is not ready; none if it is. [`Status::not_ready`] has the relay in it as well.
    #[serde(skip)]
    pub varnish_not_ready: Option<String>,
    /// The revision that was tried and not all of which could be brought into force.
    #[serde(skip)]
    pub failed_revision: Option<String>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: State::Waiting,
            wanted: None,
            loaded: None,
            listen: Vec::new(),
            varnish_version: None,
            child_starts: 0,
            vcls: Vec::new(),
            relay: None,
            last_error: None,
            in_force: None,
            relayed: BTreeSet::new(),
            varnish_not_ready: Some("starting".to_owned()),
            failed_revision: None,
        }
    }
}

impl Status {
    /// Why `/readyz` answers 503; none if it answers 200.
    #[must_use]
    pub fn not_ready(&self) -> Option<&str> {
        let waits = self.relay.as_ref().is_some_and(|relay| relay.revision.is_none());
        self.varnish_not_ready.as_deref().or(waits.then_some("the relay does not serve"))
    }

    /// A revision is loaded once both varnishd and the relay have it, with all its HTTP ports. Until then the one before is: its parts stay
    /// in force until they are replaced.
    fn settle(&mut self) {
        let relay_has_it = match &self.relay {
            Some(relay) => relay.revision == self.in_force && self.relayed.is_subset(&relay.http),
            None => self.relayed.is_empty(),
        };
        if self.in_force.is_none() || relay_has_it {
            self.loaded.clone_from(&self.in_force);
        }
    }

    /// Whether it is known what became of `revision`: it is in force, or something of it failed.
    #[must_use]
    pub fn has_settled(&self, revision: &str) -> bool {
        let is = |found: &Option<String>| found.as_deref() == Some(revision);
        is(&self.loaded) || (is(&self.wanted) && is(&self.failed_revision))
    }
}

/// Our VCLs as `/status` lists them: those that are loaded, then those that should be and cannot.
#[must_use]
pub fn vcls(loaded: &[LoadedVcl], wanted: &Manifest, failures: &Failures) -> Vec<VclStatus> {
    let labels: BTreeMap<&str, &str> = loaded.iter().filter_map(target_and_label).collect();
    let programs = loaded.iter().filter(|vcl| vcl.kind == Kind::Program && vcl.name.starts_with(NAME_PREFIX));
    let present = programs.filter(|vcl| failures.of_program(&vcl.name).is_none()).map(|vcl| {
        let label = labels.get(vcl.name.as_str()).filter(|_| !vcl.discarded);
        let state = match label {
            _ if vcl.active => VclState::Active,
            Some(_) => VclState::Labelled,
            None => VclState::Old,
        };
        VclStatus { name: vcl.name.clone(), label: label.map(ToString::to_string), state, error: None }
    });
    present.chain(failed(wanted, failures)).collect()
}

fn failed(wanted: &Manifest, failures: &Failures) -> Vec<VclStatus> {
    let shards = wanted.labels.iter().map(|(label, name)| (Some(label), name));
    let all = shards.chain(wanted.root.iter().map(|root| (None, root)));
    all.filter_map(|(label, name)| {
        let error = failures.of_program(name)?.clone();
        Some(VclStatus {
            name: name.clone(),
            label: label.cloned(),
            state: VclState::Failed,
            error: Some(error),
        })
    })
    .collect()
}

fn target_and_label(vcl: &LoadedVcl) -> Option<(&str, &str)> {
    match &vcl.kind {
        Kind::Program => None,
        Kind::Label { target, .. } => Some((target, &vcl.name)),
    }
}

/// Where the reloader's parts put what they know, and `/status` and `/readyz` look it up.
#[derive(Debug)]
pub struct Board {
    status: watch::Sender<Status>,
}

impl Default for Board {
    fn default() -> Self {
        Self { status: watch::Sender::new(Status::default()) }
    }
}

impl Board {
    /// Follows all changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The state of this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Changes something. Draining is final: nothing changes it back.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| {
            let draining = status.state == State::Draining;
            change(status);
            status.settle();
            if draining || status.state == State::Draining {
                status.state = State::Draining;
                status.varnish_not_ready = Some("draining".to_owned());
            }
        });
    }

    /// Notes what went wrong.
    pub fn error(&self, error: VclError) {
        let last = LastError { error, at: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string() };
        self.update(|status| status.last_error = Some(last));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::plan::Command;
    use super::*;

    fn program(name: &str) -> LoadedVcl {
        LoadedVcl { name: name.into(), kind: Kind::Program, active: false, cold: false, discarded: false }
    }

    fn error() -> VclError {
        VclError { file: "copal_b_2.vcl".into(), line: Some(12), message: "no".into() }
    }

    #[test]
    fn vcls_are_listed_with_label_state_and_error() {
        let label = Kind::Label { target: "copal_a_1".into(), refs: 1 };
        let loaded = [
            LoadedVcl { active: true, ..program("copal_root_1") },
            program("copal_a_1"),
            LoadedVcl { kind: label, ..program("copal_a") },
            LoadedVcl { discarded: true, ..program("copal_a_1") },
            program("boot"),
        ];
        let labels = [("copal_a", "copal_a_1"), ("copal_b", "copal_b_2")];
        let wanted = Manifest {
            root: Some("copal_root_1".into()),
            labels: labels.map(|(label, name)| (label.into(), name.into())).into(),
            ..Manifest::default()
        };
        let mut failures = Failures::default();
        failures.record(Command::Load("copal_b_2".into()), error(), Instant::now());
        let found = serde_json::to_value(vcls(&loaded, &wanted, &failures)).unwrap();
        let expected = serde_json::json!([
            {"name": "copal_root_1", "label": null, "state": "active"},
            {"name": "copal_a_1", "label": "copal_a", "state": "labelled"},
            {"name": "copal_a_1", "label": null, "state": "old"},
            {"name": "copal_b_2", "label": "copal_b", "state": "failed",
             "error": {"file": "copal_b_2.vcl", "line": 12, "message": "no"}},
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_revision_has_settled_when_it_is_in_force_or_failed() {
        let status = |loaded: &str, wanted: &str, failed: Option<&str>| Status {
            loaded: Some(loaded.into()),
            wanted: Some(wanted.into()),
            failed_revision: failed.map(Into::into),
            ..Status::default()
        };
        assert!(status("b", "b", None).has_settled("b"));
        assert!(!status("a", "b", None).has_settled("b"));
        assert!(status("a", "b", Some("b")).has_settled("b"));
        assert!(!status("a", "c", Some("b")).has_settled("b"));
    }

    #[test]
    fn draining_is_final() {
        let board = Board::default();
        board.update(|status| status.varnish_not_ready = None);
        board.update(|status| status.state = State::Draining);
        board.update(|status| (status.state, status.varnish_not_ready) = (State::Serving, None));
        let status = board.status();
        assert_eq!((status.state, status.not_ready()), (State::Draining, Some("draining")));
    }

    #[test]
    fn a_revision_is_loaded_once_varnishd_and_the_relay_have_it() {
        let board = Board::default();
        let varnishd = |revision: Option<&str>| {
            board.update(|status| {
                status.in_force = revision.map(Into::into);
                status.varnish_not_ready = None;
            });
        };
        let relay = |revision: Option<&str>| {
            let relay = RelayStatus { revision: revision.map(Into::into), ..RelayStatus::default() };
            board.update(|status| status.relay = Some(relay));
        };
        let found = || (board.status().loaded.unwrap_or_default(), board.status().not_ready().is_none());
        varnishd(Some("1"));
        assert_eq!(found(), ("1".to_owned(), true));
        relay(None);
        varnishd(Some("2"));
        assert_eq!(found(), ("1".to_owned(), false));
        relay(Some("2"));
        assert_eq!(found(), ("2".to_owned(), true));
        relay(Some("3"));
        assert_eq!(found(), ("2".to_owned(), true), "what is loaded stays so while the next one is");
        varnishd(Some("3"));
        assert_eq!(found(), ("3".to_owned(), true));
        varnishd(None);
        assert_eq!(found(), (String::new(), true));
    }

    #[test]
    fn a_revision_with_a_port_of_the_relays_is_loaded_once_that_is_open() {
        let board = Board::default();
        let loaded = || board.status().loaded.unwrap_or_default();
        let varnishd = |revision: &str, relayed: &[u16]| {
            board.update(|status| {
                status.in_force = Some(revision.into());
                status.relayed = relayed.iter().copied().collect();
            });
        };
        let relay = |revision: &str, http: &[u16]| {
            let http = http.iter().copied().collect();
            let relay = RelayStatus { revision: Some(revision.into()), http, ..RelayStatus::default() };
            board.update(|status| status.relay = Some(relay));
        };
        varnishd("1", &[]);
        varnishd("2", &[81]);
        assert_eq!(loaded(), "1", "no relay runs yet");
        relay("2", &[]);
        assert_eq!(loaded(), "1");
        relay("2", &[81]);
        assert_eq!(loaded(), "2");
        varnishd("3", &[]);
        relay("3", &[81]);
        assert_eq!(loaded(), "3", "nobody waits for a port to close");
    }

    #[test]
    fn the_last_error_is_flat() {
        let board = Board::default();
        board.error(error());
        let json = serde_json::to_value(board.status()).unwrap();
        assert_eq!(json["last_error"]["line"], 12);
        assert!(json["last_error"]["at"].as_str().unwrap().ends_with('Z'));
        assert!(json.get("not_ready").is_none());
    }
}
