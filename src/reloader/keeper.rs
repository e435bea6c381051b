//! The reloader's life: wait for a bundle, serve it and its successors, drain, end.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, info, warn};

use crate::bundle::Bundle;

use super::Context;
use super::compiler::VclError;
use super::drain;
use super::failures::back_off;
use super::serving::{Serving, ServingError};
use super::shutdown::{Phase, Shutdown};
use super::sockets::{self, SocketError};
use super::state::State;
use super::upstreams;
use super::varnishd::log::Event;
use super::watch::Bundles;

/// How often varnishd is looked at if it says nothing.
const TICK: Duration = Duration::from_secs(1);
/// The pause after varnishd could not be reached.
const LINK_PAUSE: Duration = Duration::from_secs(1);
/// How long connections may take to end before varnishd is restarted for other sockets.
const RESTART_DRAIN: Duration = Duration::from_secs(10);

/// Why a varnishd is to be ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// For good.
    Drain,
    /// The next bundle listens elsewhere.
    OtherSockets,
}

/// What woke us.
enum Wake {
    Shutdown,
    Bundle,
    Event(Event),
    Tick,
}

/// Serves until the end, which is `Ok`.
///
/// # Errors
/// When varnishd cannot be started or ends unasked.
pub async fn keep(context: &Context, mut bundles: Bundles) -> Result<(), ServingError> {
    let mut shutdown = context.shutdown.clone();
    while let Some(bundle) = wait_for_sockets(context, &mut bundles, &mut shutdown).await {
        let serving = Serving::start(context, Arc::clone(&bundle), bundles.clone()).await?;
        upstreams::wait(context, None, &bundle, &bundles).await;
        let mut keeper = Keeper { serving, refused: None };
        match keeper.keep(&mut bundles, &mut shutdown).await? {
            Outcome::Drain => return drain::to_the_end(&mut keeper.serving).await,
            Outcome::OtherSockets => restart(context, &mut keeper.serving).await?,
        }
    }
    info!("Drain complete, varnishd was not running");
    Ok(())
}

/// Waits for a bundle that has something to listen on; none when the end begins first.
async fn wait_for_sockets(
    context: &Context,
    bundles: &mut Bundles,
    shutdown: &mut Shutdown,
) -> Option<Arc<Bundle>> {
    loop {
        let bundle = bundles.borrow_and_update().clone();
        announce(context, bundle.as_deref());
        if let Some(bundle) = bundle.filter(|bundle| bundle.manifest.listens())
            && !shutdown.has_begun()
        {
            return Some(bundle);
        }
        tokio::select! {
            () = shutdown.reaches(Phase::Draining) => return None,
            () = changed(bundles) => {}
        }
    }
}

/// Tells that varnishd does not run, and why.
fn announce(context: &Context, bundle: Option<&Bundle>) {
    let is_empty = bundle.is_some_and(|bundle| !bundle.manifest.listens());
    context.board.update(|status| {
        status.state = if bundle.is_some() && !is_empty { State::Starting } else { State::Waiting };
        status.wanted = bundle.map(|bundle| bundle.manifest.revision.clone());
        // Nothing is all that an empty bundle asks for.
        status.in_force = status.wanted.clone().filter(|_| is_empty);
        status.listen.clear();
        status.vcls.clear();
        status.varnish_not_ready = Some(match bundle {
            None => "there is no usable bundle yet".to_owned(),
            Some(_) if is_empty => "the bundle has no socket to listen on".to_owned(),
            Some(_) => "varnishd is starting".to_owned(),
        });
    });
}

async fn changed(bundles: &mut Bundles) {
    if bundles.changed().await.is_err() {
        // The follower never ends before us.
        pending::<()>().await;
    }
}

/// varnishd's sockets are fixed when it starts.
async fn restart(context: &Context, serving: &mut Serving<'_>) -> Result<(), ServingError> {
    warn!("the sockets to listen on have changed: restarting varnishd, which empties its cache");
    context.board.update(|status| {
        (status.state, status.in_force) = (State::Starting, None);
        status.varnish_not_ready = Some("varnishd is restarted for other sockets".to_owned());
    });
    drain::within(serving, RESTART_DRAIN).await
}

struct Keeper<'a> {
    serving: Serving<'a>,
    /// A bundle whose sockets cannot be had: how often that was tried, and when it is due again.
    refused: Option<(u32, Instant)>,
}

impl Keeper<'_> {
    async fn keep(
        &mut self,
        bundles: &mut Bundles,
        shutdown: &mut Shutdown,
    ) -> Result<Outcome, ServingError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wake = Wake::Tick;
        loop {
            match self.react(wake, bundles).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(error @ (ServingError::Link(_) | ServingError::Listing(_))) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "varnishd cannot be reached; trying again"
                    );
                    sleep(LINK_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
            wake = tokio::select! {
                biased;
                () = shutdown.reaches(Phase::Draining) => Wake::Shutdown,
                event = self.serving.happening() => Wake::Event(event?),
                () = changed(bundles) => Wake::Bundle,
                _ = ticks.tick() => Wake::Tick,
            };
        }
    }

    async fn react(&mut self, wake: Wake, bundles: &mut Bundles) -> Result<Option<Outcome>, ServingError> {
        match wake {
            Wake::Shutdown => return Ok(Some(Outcome::Drain)),
            Wake::Bundle => {
                self.refused = None;
                return self.take(bundles).await;
            }
            Wake::Event(event) => self.serving.on_event(event).await?,
            Wake::Tick => {
                if self.refused.is_some_and(|(_, due)| due <= Instant::now()) {
                    return self.take(bundles).await;
                }
                self.serving.look_at_child().await?;
                if self.serving.is_due(Instant::now()) {
                    self.serving.converge().await?;
                }
            }
        }
        Ok(None)
    }

    /// Takes the latest bundle, unless its sockets cannot be had.
    async fn take(&mut self, bundles: &mut Bundles) -> Result<Option<Outcome>, ServingError> {
        let Some(bundle) = bundles.borrow_and_update().clone() else { return Ok(None) };
        self.serving.see(&bundle);
        let revision = bundle.manifest.revision.clone();
        self.serving.context.board.update(|status| {
            (status.wanted, status.failed_revision) = (Some(revision), None);
        });
        let (from, to) = (&self.serving.bundle.manifest, &bundle.manifest);
        let fixed = self.serving.context.options.bundle_from_cluster.is_some();
        if from.listen == to.listen || fixed {
            upstreams::wait(self.serving.context, Some(from), &bundle, bundles).await;
            self.serving.adopt(bundle);
            self.serving.converge().await?;
            return Ok(None);
        }
        match sockets::can_change(&self.serving.context.options, from, to) {
            Ok(()) => {
                bundles.mark_changed();
                Ok(Some(Outcome::OtherSockets))
            }
            Err(error) => {
                self.refuse(&bundle, &error);
                Ok(None)
            }
        }
    }

    /// Goes on with the bundle before.
    fn refuse(&mut self, bundle: &Bundle, error: &SocketError) {
        let attempts = self.refused.map_or(0, |(attempts, _)| attempts).saturating_add(1);
        self.refused = Some((attempts, Instant::now() + back_off(attempts)));
        if attempts == 1 {
            error!(
                error = error as &dyn std::error::Error,
                "the new bundle's sockets cannot be had; going on with the one before"
            );
        }
        let revision = bundle.manifest.revision.clone();
        let message = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let board = &self.serving.context.board;
        board.error(VclError { file: crate::bundle_folder::MANIFEST.to_owned(), line: None, message });
        board.update(|status| status.failed_revision = Some(revision));
    }
}
