//! The relay, a process of ours that ends TLS: what it has to do is handed over in a folder, how it is asked on a
//! socket there.
//!
//! It is started when a bundle first has a part for it, or an HTTP port that varnishd has no socket for, and kept from then on. What it logs goes to our standard
//! error, in our format.

mod client;
mod process;
mod supervisor;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tracing::debug;

pub use supervisor::supervise;

/// What the other parts know of the relay.
#[derive(Debug)]
pub struct Relay {
    folder: PathBuf,
    /// Whether there is a process, or will be again.
    runs: watch::Sender<bool>,
    /// HTTP ports, before any offset, that it listens on for varnishd.
    http: watch::Sender<BTreeSet<u16>>,
    /// Whether its last client has gone. It goes on for varnishd, which may need it for its own clients.
    drained: watch::Sender<bool>,
    /// Whether varnishd needs it no more.
    released: watch::Sender<bool>,
}

impl Relay {
    /// For the relay with that folder, which does not run yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let no = || watch::Sender::new(false);
        let http = watch::Sender::default();
        Self { folder: folder.to_owned(), runs: no(), http, drained: no(), released: no() }
    }

    /// The HTTP ports that it is to listen on for varnishd.
    #[must_use]
    pub fn http(&self) -> BTreeSet<u16> {
        self.http.borrow().clone()
    }

    /// Has it listen on these HTTP ports for varnishd, and on no others.
    pub fn listen(&self, ports: BTreeSet<u16>) {
        self.http.send_if_modified(|http| {
            let is_news = *http != ports;
            *http = ports;
            is_news
        });
    }

    /// Whether it may still have clients.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        self.runs() && !*self.drained.borrow()
    }

    /// Lets it end once its last client has gone: there is no varnishd any more.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Whether there is one to wait for.
    #[must_use]
    pub fn runs(&self) -> bool {
        *self.runs.borrow()
    }

    /// Waits until there is none any more.
    pub async fn ended(&self) {
        // The sender is ours.
        let _ = self.runs.subscribe().wait_for(|runs| !runs).await;
    }

    /// Its metrics page; none if it does not run or does not answer.
    pub async fn metrics(&self) -> Option<String> {
        if !self.runs() {
            return None;
        }
        match client::get(&self.folder, "/metrics").await {
            Ok(page) => String::from_utf8(page.into()).ok(),
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "no metrics from the relay");
                None
            }
        }
    }
}
