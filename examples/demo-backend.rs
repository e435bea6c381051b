//! Small HTTP servers to route to: `demo-backend NAME=PORT NAME=PORT…`, each on 127.0.0.1.
//!
//! Each answers with what it saw, as JSON. `/cached/…` may be cached for a minute, `/slow?ms=N` takes its time,
//! and `/echo` with `Upgrade: echo` sends back whatever it gets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The longest that `/slow` takes.
const SLOWEST: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> ExitCode {
    match serve(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("demo-backend: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all backends until one of them fails.
async fn serve(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut servers = JoinSet::new();
    for argument in arguments {
        let (name, port) = argument
            .split_once('=')
            .and_then(|(name, port)| Some((name.to_owned(), port.parse::<u16>().ok()?)))
            .ok_or_else(|| format!("expected NAME=PORT, not {argument}"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener =
            listener.map_err(|error| format!("{name}: cannot listen on 127.0.0.1:{port}: {error}"))?;
        let app = Router::new().fallback(move |request| answer(name.clone(), request));
        servers.spawn(async move { axum::serve(listener, app).await });
    }
    match servers.join_next().await {
        None => Err("expected NAME=PORT NAME=PORT…".to_owned()),
        Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error.to_string()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

async fn answer(name: String, request: Request) -> Response {
    let path = request.uri().path();
    if path == "/slow" {
        tokio::time::sleep(delay(request.uri().query())).await;
    }
    if path == "/echo" && request.headers().get(header::UPGRADE).is_some_and(|it| it == "echo") {
        return echo(request);
    }
    let caching = if path.starts_with("/cached/") { "max-age=60" } else { "no-store" };
    let body = json!({
        "backend": name,
        "method": request.method().as_str(),
        "path": path,
        "query": request.uri().query(),
        "headers": headers(request.headers()),
    });
    let headers: [(HeaderName, &str); 2] =
        [(header::CACHE_CONTROL, caching), (header::CONTENT_TYPE, "application/json")];
    (headers, format!("{body:#}\n")).into_response()
}

/// Of `ms=N`, at most `SLOWEST`.
fn delay(query: Option<&str>) -> Duration {
    let number = query.and_then(|it| it.split('&').find_map(|pair| pair.strip_prefix("ms=")));
    Duration::from_millis(number.and_then(|it| it.parse().ok()).unwrap_or(0)).min(SLOWEST)
}

/// Lines of one header are joined by commas, as HTTP allows.
fn headers(map: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<String, String>::new();
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        let all = joined.entry(name.to_string()).or_default();
        *all = if all.is_empty() { value.into_owned() } else { format!("{all}, {value}") };
    }
    joined
}

fn echo(request: Request) -> Response {
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            // The client may leave at any time.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}
