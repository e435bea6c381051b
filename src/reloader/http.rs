//! The reloader's own endpoints. They only answer; nothing can be changed through them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::debug;

use super::metrics::Metrics;
use super::relay::Relay;
use super::state::{Board, Status};
use super::stats::Varnishstat;
use crate::telemetry::http::OPEN_METRICS;

/// How long `/status?wait=` waits at most, and without `timeout=`, in seconds.
const LONGEST_WAIT: u64 = 60;
const USUAL_WAIT: u64 = 30;

/// What the endpoints answer from.
#[derive(Debug)]
pub struct Sources {
    /// Status and readiness.
    pub board: Arc<Board>,
    /// Our metrics.
    pub metrics: Arc<Metrics>,
    /// varnishd's.
    pub varnishstat: Arc<Varnishstat>,
    /// The relay's.
    pub relay: Arc<Relay>,
}

/// The pages.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(sources)
}

async fn readyz(Extract(sources): Extract<Arc<Sources>>) -> Response {
    match sources.board.status().not_ready() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[derive(Deserialize)]
struct Wait {
    /// Answer once it is known what became of this revision.
    wait: Option<String>,
    /// Seconds.
    timeout: Option<u64>,
}

async fn status(Extract(sources): Extract<Arc<Sources>>, Query(query): Query<Wait>) -> Json<Status> {
    if let Some(revision) = query.wait {
        let limit = Duration::from_secs(query.timeout.unwrap_or(USUAL_WAIT).min(LONGEST_WAIT));
        let mut changes = sources.board.subscribe();
        let settled = changes.wait_for(|status| status.has_settled(&revision));
        // Late or not, the answer is the state of this moment.
        let _ = timeout(limit, settled).await;
    }
    Json(sources.board.status())
}

async fn metrics(Extract(sources): Extract<Arc<Sources>>) -> Response {
    let counters = match sources.varnishstat.page().await {
        Ok(counters) => Some(counters),
        Err(error) => {
            debug!(error = &error as &dyn std::error::Error, "no counters from varnishd");
            None
        }
    };
    let relay = sources.relay.metrics().await;
    match sources.metrics.page(&sources.board.status(), counters, relay.as_deref()) {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
