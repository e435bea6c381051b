//! The reloader's own endpoints. They only answer; nothing can be changed through them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::metrics::Metrics;
use super::state::{Board, Status};
use super::stats::Varnishstat;

/// How long a client may take to send a request's header.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// How many connections are served at once; more wait.
const CONNECTIONS: usize = 256;
/// How long `/status?wait=` waits at most, and without `timeout=`, in seconds.
const LONGEST_WAIT: u64 = 60;
const USUAL_WAIT: u64 = 30;
/// The pause after accept has failed, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The page's format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the endpoints answer from.
#[derive(Debug)]
pub struct Sources {
    /// Status and readiness.
    pub board: Arc<Board>,
    /// Our metrics.
    pub metrics: Arc<Metrics>,
    /// varnishd's.
    pub varnishstat: Arc<Varnishstat>,
}

/// Binds the admin address.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the task is dropped.
pub async fn serve(listener: TcpListener, sources: Arc<Sources>) {
    let router = router(sources);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, router).await;
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection on the admin address");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection to the admin address ended early");
    }
}

fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(sources)
}

async fn readyz(Extract(sources): Extract<Arc<Sources>>) -> Response {
    match sources.board.status().not_ready {
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
    match sources.metrics.page(&sources.board.status(), counters) {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
