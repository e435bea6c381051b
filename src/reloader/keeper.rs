//! The reloader's life: wait for a bundle, serve it and its successors, drain, end.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use crate::bundle::Bundle;
use crate::bundle::relay::Relay;

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
/// How long the relay may take to close ports that are varnishd's from its next start.
const RELAY_LIMIT: Duration = Duration::from_secs(5);

/// Why a varnishd is to be ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// For good.
    Drain,
    /// The next bundle cannot do with its sockets.
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
        wait_for_relay(context, &bundle).await;
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

/// Waits until the relay has closed what varnishd is to listen on by itself.
async fn wait_for_relay(context: &Context, bundle: &Bundle) {
    let wanted = sockets::addresses(&context.options, &bundle.manifest.listen).unwrap_or_default();
    let mut statuses = context.board.subscribe();
    let closed = statuses.wait_for(|status| {
        !status.relay.iter().flat_map(|relay| &relay.listen).any(|address| wanted.contains(address))
    });
    // What is still taken then is told with its address.
    let _ = timeout(RELAY_LIMIT, closed).await;
}

/// varnishd's sockets are fixed when it starts: it is in the way where one of them is the relay's now.
async fn restart(context: &Context, serving: &mut Serving<'_>) -> Result<(), ServingError> {
    warn!("a port of varnishd's own is none of HTTP any more: restarting varnishd, which empties its cache");
    serving.listen(|_| BTreeSet::new());
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
        if let Err(error) = self.try_out(&bundle) {
            self.refuse(&bundle, &error);
            return Ok(None);
        }
        if !sockets::suit(&self.serving.own, &bundle.manifest) {
            bundles.mark_changed();
            return Ok(Some(Outcome::OtherSockets));
        }
        let from = &self.serving.bundle.manifest;
        upstreams::wait(self.serving.context, Some(from), &bundle, bundles).await;
        self.serving.adopt(bundle);
        self.serving.converge().await?;
        Ok(None)
    }

    /// Tries out the bundle's addresses but those that varnishd has, and those that the relay has or has been told to
    /// take: one that was started again may be about to say so.
    fn try_out(&self, bundle: &Bundle) -> Result<(), SocketError> {
        let Serving { context, own, bundle: before, .. } = &self.serving;
        let told = before.manifest.relay.iter().flat_map(Relay::ports).chain(context.relay.http());
        let told: BTreeSet<u16> = told.chain(own.iter().map(|socket| socket.port)).collect();
        let new = bundle.manifest.listen.iter().filter(|socket| !told.contains(&socket.port));
        let new = sockets::addresses(&context.options, &new.cloned().collect::<Vec<_>>())?;
        let relay = context.board.status().relay.unwrap_or_default();
        sockets::try_out(new.iter().filter(|address| !relay.listen.contains(address)))
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
