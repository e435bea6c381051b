//! The relay's own endpoints, on a socket that only the reloader reaches: `/status` and `/metrics`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::UnixListener;

use crate::telemetry::http::{self, OPEN_METRICS};

use super::Context;
use super::state::Status;

/// The socket, in the relay's folder.
pub const SOCKET: &str = "admin";

/// Listens in place of whoever listened before.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Answers until the task is dropped.
pub async fn serve(listener: UnixListener, context: Arc<Context>) {
    let router =
        Router::new().route("/status", get(status)).route("/metrics", get(metrics)).with_state(context);
    http::serve(listener, router).await;
}

async fn status(Extract(context): Extract<Arc<Context>>) -> Json<Status> {
    Json(context.board.status())
}

async fn metrics(Extract(context): Extract<Arc<Context>>) -> Response {
    match context.metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
