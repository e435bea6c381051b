//! The end of a varnishd: let every connection finish, then stop.
//!
//! `timeout_idle` below two seconds is the switch. It closes connections that become idle (those that are keep the
//! limit that they had), and generated VCL, which reads it as `sess.timeout_idle`, answers every further request
//! with `Connection: close`. It acts at once, on open sessions and in every VCL. Only at zero sessions, and when
//! the relay's last client has gone, varnishd is stopped: `stop` cuts off what is in flight. The relay's way to
//! backends stays open until then.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::serving::{COMMAND_LIMIT, Serving, ServingError};

/// How often the sessions are counted.
const POLL: Duration = Duration::from_secs(1);
/// How often their number is logged.
const REPORT: Duration = Duration::from_secs(10);
/// How long varnishd may take to end once its child is stopped.
const EXIT_LIMIT: Duration = Duration::from_mins(1);
const SWITCH: &str = "param.set timeout_idle 1";

/// Drains without a limit of our own (whoever sent SIGTERM has one), then ends varnishd.
///
/// # Errors
/// When varnishd ends before, or not cleanly.
pub async fn to_the_end(serving: &mut Serving<'_>) -> Result<(), ServingError> {
    let delay = serving.context.options.drain_delay;
    switch(serving).await?;
    wait_for_zero(serving, Instant::now() + delay, None).await?;
    info!("Drain complete, stopping varnishd");
    stop(serving).await
}

/// Drains for `limit` at most, then ends varnishd.
///
/// # Errors
/// When varnishd ends before, or not cleanly.
pub async fn within(serving: &mut Serving<'_>, limit: Duration) -> Result<(), ServingError> {
    switch(serving).await?;
    let now = Instant::now();
    wait_for_zero(serving, now, Some(now + limit)).await?;
    stop(serving).await
}

async fn switch(serving: &mut Serving<'_>) -> Result<(), ServingError> {
    loop {
        match serving.request(SWITCH, COMMAND_LIMIT).await {
            Ok(_) => return Ok(()),
            Err(ServingError::Link(error)) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot tell varnishd that we drain; trying again"
                );
                pause(serving, POLL).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until there are no sessions, not before `earliest` and not after `latest`.
async fn wait_for_zero(
    serving: &mut Serving<'_>,
    earliest: Instant,
    latest: Option<Instant>,
) -> Result<(), ServingError> {
    let mut reported = Instant::now();
    loop {
        let live = live_sessions(serving).await?;
        let now = Instant::now();
        // A restart ends varnishd alone, and the relay goes on.
        let relay_ended = latest.is_some() || !serving.context.relay.has_clients();
        if now >= earliest && live == Some(0) && relay_ended {
            return Ok(());
        }
        if latest.is_some_and(|latest| now >= latest) {
            warn!(live, "connections are cut off");
            return Ok(());
        }
        if now.duration_since(reported) >= REPORT {
            info!(live, relay_ended, "Draining, waiting for connections to finish");
            reported = now;
        }
        pause(serving, POLL).await?;
    }
}

/// The sessions that are live; none if that cannot be told, which must not be taken for zero.
async fn live_sessions(serving: &mut Serving<'_>) -> Result<Option<u64>, ServingError> {
    match serving.context.varnishstat.live_sessions().await {
        Ok(Some(live)) => Ok(Some(live)),
        Ok(None) => match serving.request("status", COMMAND_LIMIT).await {
            Ok(answer) => Ok(if answer.contains("running") { None } else { Some(0) }),
            Err(ServingError::Link(_)) => Ok(None),
            Err(error) => Err(error),
        },
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot count the live sessions; going on draining"
            );
            Ok(None)
        }
    }
}

async fn pause(serving: &mut Serving<'_>, pause: Duration) -> Result<(), ServingError> {
    let waited = sleep(pause);
    tokio::pin!(waited);
    loop {
        tokio::select! {
            () = &mut waited => return Ok(()),
            happening = serving.happening() => drop(happening?),
        }
    }
}

async fn stop(serving: &mut Serving<'_>) -> Result<(), ServingError> {
    match serving.request("stop", COMMAND_LIMIT).await {
        Ok(_) => {}
        Err(ServingError::Link(error)) => {
            // Stopped already, or out of reach; SIGTERM is next in any case.
            info!(%error, "varnishd did not take `stop`");
        }
        Err(error) => return Err(error),
    }
    serving.process.terminate();
    serving.ended_within(EXIT_LIMIT).await
}
