//! Speaks with clients and with backends what varnishd does not: TLS, and HTTP/2 with backends.
//!
//! ```text
//! STATE/relay → watch → configuration ─┐ (swapped whole)
//!                                      ▼
//! client ⇄ listeners → handshake → connection ⇄ varnishd's socket (PROXY v2, then plain bytes)
//!                          └─────→ passthrough ⇄ an endpoint (TLS as it comes in)
//! varnishd ⇄ upstream ⇄ endpoints, mirrors
//! ```
//!
//! What decides is pure: [`names`] (which certificate), [`proxy`] (the header), [`hello`] and [`shares`] (who gets what is
//! passed on). The reloader starts it, hands it
//! its task in a folder, and asks it on a socket in that folder how it is ([`admin`]).

pub mod admin;
pub mod certificates;
pub mod clients;
pub mod configuration;
mod connection;
mod copy;
mod handshake;
pub mod hello;
mod limits;
mod listeners;
pub mod metrics;
pub mod names;
pub mod options;
mod passthrough;
pub mod proxy;
pub mod shares;
mod shutdown;
pub mod state;
mod upstream;
mod varnish;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::time::sleep;
use tracing::info;

use limits::Limits;
use listeners::Listeners;
use metrics::Metrics;
use options::Options;
use shutdown::{Patience, Shutdown};
use state::Board;

/// Why the relay ended otherwise than by draining.
#[derive(Debug, Error)]
pub enum RelayError {
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The socket for status and metrics is not to be had.
    #[error("cannot listen on {}", path.display())]
    Admin {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What all parts of a running relay share.
#[derive(Debug)]
pub struct Context {
    options: Options,
    board: Board,
    metrics: Metrics,
    limits: Limits,
}

/// Runs until it has drained, which is `Ok`.
///
/// # Errors
/// When it cannot start. That something of its task cannot be done is told by its status.
pub async fn run(options: Options) -> Result<(), RelayError> {
    let mut shutdown = Shutdown::listen().map_err(RelayError::Signals)?;
    let context = Arc::new(Context {
        limits: Limits::of_this_process(),
        board: Board::default(),
        metrics: Metrics::default(),
        options,
    });
    let path = context.options.folder.join(admin::SOCKET);
    let admin = admin::bind(&path).map_err(|source| RelayError::Admin { path, source })?;
    tokio::spawn(admin::serve(admin, Arc::clone(&context)));
    let configurations = watch::follow(Arc::clone(&context));
    let mut listeners = Listeners::new(Arc::clone(&context), configurations);
    let patience = tokio::select! {
        () = listeners.run() => None,
        patience = shutdown.begins() => Some(patience),
    };
    let delay = patience.map_or(context.options.drain_delay, |it| it.limit(context.options.drain_delay));
    info!(delay_s = delay.as_secs_f64(), "draining: new connections are accepted until the delay is over");
    tokio::select! {
        () = listeners.run() => {}
        () = sleep(delay) => {}
    }
    let upstreams = listeners.drain().await;
    context.board.drained();
    info!("drained");
    if !upstreams.is_empty() && patience != Some(Patience::None) {
        // Clients that are varnishd's own still need their backends. The reloader knows when varnishd is gone.
        shutdown.released().await;
    }
    Ok(())
}
