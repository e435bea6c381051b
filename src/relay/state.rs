//! What the relay tells about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::configuration::Configuration;

/// Something of the task that cannot be done; the rest is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file in the folder that it is about.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

/// The content of `/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Revision of the task that is in force.
    pub revision: Option<String>,
    /// Addresses that it listens on.
    pub listen: Vec<SocketAddr>,
    /// The listeners' ports of those that speak HTTP without TLS.
    #[serde(default)]
    pub http: BTreeSet<u16>,
    /// How many certificates it can present.
    pub certificates: usize,
    /// What of the task cannot be done.
    pub problems: BTreeSet<Problem>,
    /// Whether the last client has gone, after we were asked to drain.
    #[serde(default)]
    pub drained: bool,
}

/// Where the parts put what they know.
#[derive(Debug)]
pub struct Board(watch::Sender<Parts>);

#[derive(Debug, Default)]
struct Parts {
    /// Of the last configuration.
    configuration: Status,
    /// Listeners' ports: an address, or why not.
    sockets: BTreeMap<u16, Result<SocketAddr, Problem>>,
    /// Sockets of endpoints that cannot be had.
    upstreams: BTreeSet<Problem>,
    /// Those of the ports that are there for HTTP without TLS.
    http: BTreeSet<u16>,
    /// The revision whose ports have been tried.
    revision: Option<String>,
    /// Why the newest task cannot be read.
    task: Option<Problem>,
    drained: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self(watch::Sender::new(Parts::default()))
    }
}

impl Board {
    /// The state of this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let parts = self.0.borrow();
        let mut status = parts.configuration.clone();
        status.revision.clone_from(&parts.revision);
        status.http.clone_from(&parts.http);
        status.listen = parts.sockets.values().filter_map(|it| it.as_ref().ok().copied()).collect();
        let refused = parts.sockets.values().filter_map(|it| it.as_ref().err().cloned());
        status.problems.extend(refused.chain(parts.task.clone()).chain(parts.upstreams.clone()));
        status.drained = parts.drained;
        status
    }

    /// Notes what a configuration has.
    pub fn configured(&self, certificates: usize, problems: BTreeSet<Problem>) {
        self.0.send_modify(|parts| {
            parts.configuration = Status { certificates, problems, ..Status::default() };
        });
    }

    /// Notes why the newest task cannot be read, or that it can; says whether that is news.
    #[must_use]
    pub fn task(&self, problem: Option<Problem>) -> bool {
        self.0.send_if_modified(|parts| {
            let is_news = parts.task != problem;
            parts.task = problem;
            is_news
        })
    }

    /// Notes which sockets of endpoints cannot be had.
    pub fn upstreams(&self, problems: BTreeSet<Problem>) {
        self.0.send_modify(|parts| parts.upstreams = problems);
    }

    /// Notes that the last client has gone.
    pub fn drained(&self) {
        self.0.send_modify(|parts| parts.drained = true);
    }

    /// Notes which sockets a configuration has got.
    pub fn listening(
        &self,
        configuration: &Configuration,
        sockets: BTreeMap<u16, Result<SocketAddr, Problem>>,
    ) {
        let is_open = |port: &&u16| sockets.get(port).is_some_and(Result::is_ok);
        let http = configuration.http.iter().filter(is_open).copied().collect();
        self.0.send_modify(|parts| {
            parts.revision.clone_from(&configuration.revision);
            parts.http = http;
            parts.sockets = sockets;
        });
    }
}
