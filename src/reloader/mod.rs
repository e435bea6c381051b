//! Keeps a varnishd serving the wanted bundle.
//!
//! ```text
//! bundle folder → watch ─┐                       ┌→ cli ⇄ varnishd (manager ⇄ child)
//!  last-good on disk ────┴→ keeper → serving ────┤
//!                                     │  plan    └→ saver → last-good on disk
//!                                     ├→ state → http: /status /readyz /healthz /metrics ← varnishstat
//!                                     └→ relay → STATE/relay → copal-relay
//! ```
//!
//! What decides is pure: [`plan`], [`failures`], [`listing`], [`compiler`], [`varnishd::args`], [`varnishd::log`],
//! [`varnishd::mask`], [`varnishd::user`]. The rest does as it is told. [`access_log`] follows beside it.

pub mod access_log;
mod child;
pub mod cli;
pub mod compiler;
mod drain;
pub mod failures;
mod http;
mod keeper;
pub mod link;
pub mod listing;
mod masking;
pub mod metrics;
pub mod options;
pub mod plan;
pub mod pull;
mod relay;
mod saver;
pub mod serving;
mod shutdown;
pub mod sockets;
pub mod state;
pub mod stats;
mod upstreams;
pub mod varnishd;
mod watch;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use tracing::{error, info, warn};

use crate::bundle::Bundle;
use crate::bundle_folder::{self, BundleFolderError};
use crate::telemetry::http as endpoints;

use access_log::AccessLog;
use metrics::Metrics;
use options::Options;
use relay::Relay;
use saver::Saver;
use serving::ServingError;
use shutdown::{Phase, Shutdown};
use state::Board;
use stats::Varnishstat;

use varnishd::args::{self, ArgsError};
use varnishd::setup::{Setup, SetupError};
use varnishd::stale::{StaleError, end_stale};

/// Why the reloader ended otherwise than by draining.
#[derive(Debug, Error)]
pub enum ReloaderError {
    /// The admin address is not to be had.
    #[error("cannot listen on the admin address {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The arguments for varnishd cannot be used.
    #[error(transparent)]
    Arguments(#[from] ArgsError),
    /// varnishd or the state directory cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An earlier varnishd is in the way.
    #[error(transparent)]
    Stale(#[from] StaleError),
    /// varnishd failed.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// There is no API server to get the bundle from.
    #[error("cannot reach an API server to get the bundle from")]
    Cluster(#[source] kube::Error),
    /// A second SIGINT.
    #[error("interrupted before draining was complete")]
    Interrupted,
}

/// What all parts of a running reloader share.
#[derive(Debug)]
pub struct Context {
    options: Options,
    setup: Setup,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    varnishstat: Arc<Varnishstat>,
    relay: Arc<Relay>,
    saver: Saver,
    access_log: AccessLog,
    shutdown: Shutdown,
}

/// Runs until it has drained, which is `Ok`.
///
/// # Errors
/// When it cannot start, when varnishd ends unasked, or at a second SIGINT.
pub async fn run(options: Options) -> Result<(), ReloaderError> {
    let board = Arc::new(Board::default());
    let mut shutdown =
        Shutdown::listen(options.exit_with_stdin, Arc::clone(&board)).map_err(ReloaderError::Signals)?;
    let mut interrupted = shutdown.clone();
    tokio::select! {
        ended = serve(options, board, &mut shutdown) => ended,
        () = interrupted.reaches(Phase::Now) => Err(ReloaderError::Interrupted),
    }
}

async fn serve(options: Options, board: Arc<Board>, shutdown: &mut Shutdown) -> Result<(), ReloaderError> {
    let admin = options.admin;
    let listener =
        endpoints::bind(admin).await.map_err(|source| ReloaderError::Admin { address: admin, source })?;
    let context = prepare(options, board, shutdown.clone()).await?;
    let sources = http::Sources {
        board: Arc::clone(&context.board),
        metrics: Arc::clone(&context.metrics),
        varnishstat: Arc::clone(&context.varnishstat),
        relay: Arc::clone(&context.relay),
    };
    tokio::spawn(endpoints::serve(listener, http::router(Arc::new(sources))));
    info!(%admin, "answering /healthz, /readyz, /status and /metrics");
    let bundles = follow(&context).await.map_err(ReloaderError::Cluster)?;
    relay::supervise(&context, bundles.clone());
    let ended = keeper::keep(&context, bundles).await;
    context.relay.release();
    if ended.is_ok() {
        context.relay.ended().await;
    }
    context.access_log.finish().await;
    context.saver.finish().await;
    Ok(ended?)
}

async fn prepare(options: Options, board: Arc<Board>, shutdown: Shutdown) -> Result<Context, ReloaderError> {
    let setup = Setup::prepare(&options.varnishd, &options.state).await?;
    check_arguments(&options, &setup)?;
    end_stale(&setup.workdir).await?;
    board.update(|status| status.varnish_version = setup.version.map(|version| version.to_string()));
    let metrics = Arc::<Metrics>::default();
    let (reader, workdir) = (&setup.varnishncsa, &setup.workdir);
    Ok(Context {
        access_log: AccessLog::start(reader, workdir, Arc::clone(&metrics), Arc::clone(&board)),
        relay: Arc::new(Relay::new(&setup.relay)),
        varnishstat: Arc::new(Varnishstat::new(&setup.varnishstat, &setup.workdir)),
        saver: Saver::start(options.state.join(saver::FOLDER)),
        metrics,
        board,
        shutdown,
        options,
        setup,
    })
}

/// Finds a fault in the user's arguments now, and not when the first bundle comes.
fn check_arguments(options: &Options, setup: &Setup) -> Result<(), ArgsError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    args::arguments(&setup.launch(options, &[], nowhere, None)).map(drop)
}

/// Follows the bundle where it comes from.
async fn follow(context: &Context) -> Result<watch::Bundles, kube::Error> {
    let board = Arc::clone(&context.board);
    match (&context.options.bundle, &context.options.bundle_from_cluster) {
        (None, Some(source)) => pull::follow(source.clone(), last_good(context), board).await,
        (folder, _) => {
            let folder = folder.clone().unwrap_or_default();
            let first = in_folder(context, &folder).or_else(|| last_good(context));
            Ok(watch::follow(folder, first, board))
        }
    }
}

fn in_folder(context: &Context, folder: &Path) -> Option<Arc<Bundle>> {
    match bundle_folder::read(folder, None) {
        Ok(bundle) => return Some(Arc::new(bundle)),
        Err(BundleFolderError::Absent(_)) => {}
        Err(problem) => {
            error!(error = &problem as &dyn std::error::Error, "the bundle in the folder is unusable");
            context.board.error(watch::as_error(&problem));
        }
    }
    None
}

/// The last bundle that was good.
fn last_good(context: &Context) -> Option<Arc<Bundle>> {
    match bundle_folder::read(&context.options.state.join(saver::FOLDER), None) {
        Ok(bundle) => {
            warn!(revision = bundle.manifest.revision, "starting with the last good bundle");
            Some(Arc::new(bundle))
        }
        Err(BundleFolderError::Absent(_)) => None,
        Err(problem) => {
            warn!(error = &problem as &dyn std::error::Error, "the last good bundle is unusable as well");
            None
        }
    }
}
