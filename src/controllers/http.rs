//! The operator's own endpoints: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::metrics::Metrics;
use crate::telemetry::http::OPEN_METRICS;

/// What the endpoints answer from.
#[derive(Clone)]
pub(super) struct Sources {
    /// Whether everything has been listed once.
    pub ready: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
}

/// The pages.
pub(super) fn router(sources: Sources) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(sources)
}

async fn readyz(State(sources): State<Sources>) -> Response {
    if sources.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not everything has been listed yet\n").into_response()
    }
}

async fn metrics(State(sources): State<Sources>) -> Response {
    match sources.metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
