//! How many connections are served at once.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

/// The most connections. One takes some 100 KiB in here and a session of varnishd's, so that memory is the limit long
/// before.
const CONNECTIONS: usize = 50_000;
/// The most connections in handshake: those cost strangers nothing. Two seconds' worth of full handshakes of one
/// CPU, and twice that; with the time limit of a handshake, 400 silent clients a second fill it.
const HANDSHAKES: usize = 4_000;
/// File descriptors of one connection: the client's and varnishd's. As many are for connections to endpoints:
/// varnishd's and the endpoint's.
const DESCRIPTORS: u64 = 4;
/// File descriptors for all else: listeners, files, the admin socket. Sockets of endpoints come out of what such
/// connections leave, which is most of the usual limits.
const RESERVED: u64 = 256;
/// The most copies of requests in flight: with what may wait for each (128 KiB), 128 MB at worst.
const MIRRORED: usize = 1_000;

/// Slots for connections. Clients beyond them wait in the sockets' queues.
#[derive(Debug)]
pub struct Limits {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    upstreams: Arc<Semaphore>,
    mirrored: Arc<Semaphore>,
}

impl Limits {
    /// What this process can have: raises its limit of open files as far as it may.
    #[must_use]
    pub fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            debug!(%error, "cannot raise the limit of open files");
        }
        let files = getrlimit(Resource::Nofile).current;
        let connections = files.map_or(CONNECTIONS, connections);
        debug!(connections, "limit of connections");
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            upstreams: Arc::new(Semaphore::new(connections)),
            mirrored: Arc::new(Semaphore::new(MIRRORED)),
        }
    }

    /// A slot for one connection; none when this process has ended, which is never.
    pub async fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).acquire_owned().await.ok()
    }

    /// A slot for one handshake, as above.
    pub async fn handshake(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes).acquire_owned().await.ok()
    }

    /// A slot for one connection to an endpoint, if there is one now.
    #[must_use]
    pub fn upstream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.upstreams).try_acquire_owned().ok()
    }

    /// A slot for the copy of one request, if there is one now.
    #[must_use]
    pub fn mirrored(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.mirrored).try_acquire_owned().ok()
    }
}

/// How many connections so many file descriptors are enough for.
fn connections(files: u64) -> usize {
    let connections = files.saturating_sub(RESERVED) / DESCRIPTORS;
    usize::try_from(connections).unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_open_files() {
        assert_eq!([0, 1024, 1 << 20].map(connections), [1, 192, CONNECTIONS]);
    }
}
