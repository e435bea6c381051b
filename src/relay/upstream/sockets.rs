//! The sockets that varnishd finds endpoints at: made and removed as the task says, by name, so that what stays is not
//! touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use crate::bundle::relay::{UpstreamId, upstream_socket};
use crate::bundle_folder::relay::TASK;
use crate::bundle_folder::worker;
use crate::relay::Context;
use crate::relay::metrics::UpstreamFailure;
use crate::relay::state::Problem;

use super::Upstreams;
use super::endpoint::Endpoint;

/// How long an endpoint is served that is not wanted any more: requests of the VCL before still go there.
const GRACE: Duration = Duration::from_mins(1);
/// The pause after accept has failed, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All sockets of endpoints.
#[derive(Debug)]
pub struct Sockets {
    context: Arc<Context>,
    open: BTreeMap<UpstreamId, Open>,
}

/// One socket. Dropping it closes the socket, and leaves its connections alone.
#[derive(Debug)]
struct Open {
    endpoint: watch::Sender<Arc<Endpoint>>,
    unwanted: Option<Instant>,
}

impl Sockets {
    /// None are open yet; what an earlier relay has left is removed.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        let sockets = Self { context, open: BTreeMap::new() };
        if let Err(error) = fs::remove_dir_all(sockets.path(""))
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(%error, "cannot remove the sockets of an earlier relay");
        }
        sockets
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Opens what is wanted and closes what has not been wanted for long enough; tells what cannot be opened.
    pub fn adjust(&mut self, upstreams: &Upstreams) -> BTreeSet<Problem> {
        self.close(upstreams);
        let mut problems = BTreeSet::new();
        for (id, endpoint) in &upstreams.endpoints {
            if let Some(open) = self.open.get_mut(id) {
                open.unwanted = None;
                open.endpoint.send_if_modified(|current| {
                    let is_new = !Arc::ptr_eq(current, endpoint);
                    current.clone_from(endpoint);
                    is_new
                });
            } else if let Err(error) = self.open(id, endpoint) {
                let message =
                    format!("cannot listen on {} for {}: {error}", upstream_socket(id), endpoint.address);
                problems.insert(Problem { file: TASK.to_owned(), message });
            }
        }
        self.say(&problems);
        problems
    }

    /// How long until one is to be closed.
    #[must_use]
    pub fn next_close(&self) -> Option<Duration> {
        let oldest = self.open.values().filter_map(|open| open.unwanted).min()?;
        Some(GRACE.saturating_sub(oldest.elapsed()))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.context.options.folder.join(upstream_socket(id))
    }

    /// Says what is new of it, however often it is tried.
    fn say(&self, problems: &BTreeSet<Problem>) {
        if problems.is_empty() {
            return;
        }
        let known = self.context.board.status().problems;
        for problem in problems.difference(&known) {
            error!(problem = problem.message, "a backend's socket cannot be had; trying again every second");
        }
    }

    fn close(&mut self, upstreams: &Upstreams) {
        let now = Instant::now();
        for (id, open) in &mut self.open {
            if !upstreams.endpoints.contains_key(id) {
                open.unwanted.get_or_insert(now);
            }
        }
        let is_over = |open: &Open| open.unwanted.is_some_and(|since| now.duration_since(since) >= GRACE);
        let over: Vec<UpstreamId> =
            self.open.iter().filter(|(_, open)| is_over(open)).map(|(id, _)| id.clone()).collect();
        for id in over {
            self.open.remove(&id);
            if let Err(error) = fs::remove_file(self.path(&id)) {
                debug!(%error, upstream = id, "a socket was gone already");
            }
        }
    }

    fn open(&mut self, id: &str, endpoint: &Arc<Endpoint>) -> io::Result<()> {
        let listener = self.listen(id)?;
        let (sender, receiver) = watch::channel(Arc::clone(endpoint));
        tokio::spawn(accept(listener, receiver, Arc::clone(&self.context)));
        self.open.insert(id.to_owned(), Open { endpoint: sender, unwanted: None });
        Ok(())
    }

    fn listen(&self, id: &str) -> io::Result<UnixListener> {
        DirBuilder::new().mode(0o700).recursive(true).create(self.path(""))?;
        worker::hand_over(&self.path(""))?;
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The standard library's queue is as long as the system allows; varnishd does not wait where it is full.
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        worker::hand_over(&path)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }
}

/// Accepts until the socket is not wanted any more.
async fn accept(listener: UnixListener, mut endpoint: watch::Receiver<Arc<Endpoint>>, context: Arc<Context>) {
    loop {
        tokio::select! {
            biased;
            changed = endpoint.changed() => if changed.is_err() { return },
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(stream, &endpoint.borrow(), &context),
                Err(error) => {
                    warn!(%error, "cannot accept a connection of varnishd's");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

fn serve(stream: UnixStream, endpoint: &Arc<Endpoint>, context: &Arc<Context>) {
    let Some(slot) = context.limits.upstream() else {
        // varnishd's fetch fails at once, which is better than one that waits for nothing.
        return endpoint.failed(&context.metrics, UpstreamFailure::Limit, &"too many connections");
    };
    let (endpoint, context) = (Arc::clone(endpoint), Arc::clone(context));
    tokio::spawn(async move {
        let active = context.metrics.upstream_connection();
        endpoint.serve(stream, Arc::clone(&context)).await;
        drop((active, slot));
    });
}
