//! Follows one bundle until Varnish serves it, and says in the log how that went.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::chain;
use crate::bundle::Bundle;
use crate::reloader_client::{Progress, ReloaderClient, ReloaderStatus, VclError};

/// Between questions while the reloader is starting.
const RETRY: Duration = Duration::from_millis(50);

/// Between questions once there is an answer. The reloader holds it back until it has tried, and its next attempt may
/// take long.
const NEXT_ATTEMPT: Duration = Duration::from_secs(2);

/// A reloader that has not answered for this long is worth a warning.
const SILENCE: Duration = Duration::from_secs(10);

/// A bundle on its way.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is to be served.
    pub bundle: Bundle,
    /// When the change that led to it was noticed.
    pub since: Instant,
    /// When it was written.
    pub written: Instant,
}

/// Asks until the bundle is served. To be dropped when a newer one is written.
pub async fn follow(reloader: ReloaderClient, delivery: Delivery) {
    let mut told = BTreeSet::new();
    let mut silent_since = Some(Instant::now());
    loop {
        let pause = match reloader.wait_for(&delivery.bundle.manifest.revision).await {
            Ok(status) => {
                silent_since = Some(Instant::now());
                match status.progress(&delivery.bundle.manifest) {
                    // What the relay cannot do it says itself.
                    Progress::Served | Progress::Partly(_) => return log_served(&delivery, &status),
                    Progress::Refused(errors) => log_refused(&delivery, errors, &mut told),
                    Progress::Pending => {}
                }
                NEXT_ATTEMPT
            }
            Err(error) => {
                debug!(error = chain(&error), "reloader does not answer");
                if silent_since.is_some_and(|since| since.elapsed() > SILENCE) {
                    warn!(error = chain(&error), "reloader does not answer; asking again");
                    silent_since = None;
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn log_served(delivery: &Delivery, status: &ReloaderStatus) {
    info!(
        revision = delivery.bundle.manifest.revision,
        total_ms = milliseconds(delivery.since.elapsed()),
        load_ms = milliseconds(delivery.written.elapsed()),
        listen = status.listen.join(" "),
        "Varnish serves the change"
    );
}

/// Each error once, however often the reloader tries.
fn log_refused(delivery: &Delivery, errors: BTreeSet<VclError>, told: &mut BTreeSet<VclError>) {
    for it in errors {
        if !told.contains(&it) {
            let revision = &delivery.bundle.manifest.revision;
            let (file, line) = (it.file.as_deref(), it.line);
            let message = "Varnish refuses a VCL; the version before it goes on serving";
            let user_vcl = it.in_user_vcl(&delivery.bundle);
            error!(revision, file, line, user_vcl, error = it.message, "{message}");
            told.insert(it);
        }
    }
}

/// With three decimals, as people and programs read it best.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, routing::get};

    use super::*;
    use crate::telemetry::http::{bind, serve};

    #[tokio::test]
    async fn a_bundle_whose_sockets_cannot_be_had_is_asked_after_seldom() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let status = async move || {
            count.fetch_add(1, Ordering::SeqCst);
            r#"{"wanted": "2", "loaded": "1"}"#
        };
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let reloader = ReloaderClient::new(listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Router::new().route("/status", get(status))));
        let now = Instant::now();
        let delivery = Delivery { bundle: Bundle::default(), since: now, written: now };
        tokio::time::timeout(Duration::from_secs(1), follow(reloader, delivery)).await.unwrap_err();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
