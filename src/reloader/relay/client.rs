//! Asks the relay, by HTTP on its socket.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::reloader::compiler::VclError;
use crate::reloader::state::RelayStatus;

/// The relay's socket, in its folder.
const SOCKET: &str = "admin";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Above any answer: one line a port, and one for each certificate that is broken.
const MAX_ANSWER: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// It is not there, or not yet.
    #[error("cannot reach the relay")]
    Connect(#[source] io::Error),
    /// The exchange failed.
    #[error("the relay broke off its answer")]
    Http(#[from] hyper::Error),
    /// The answer failed, or is endless.
    #[error("the relay broke off its answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another answer than 200.
    #[error("the relay answers {0}")]
    Refused(StatusCode),
    /// It accepts connections and says nothing.
    #[error("the relay does not answer")]
    Timeout,
    /// The answer is not what is expected.
    #[error("cannot read the relay's answer")]
    Json(#[from] serde_json::Error),
}

/// The relay's `/status`.
#[derive(Deserialize)]
struct Answer {
    revision: Option<String>,
    listen: Vec<std::net::SocketAddr>,
    #[serde(default)]
    http: BTreeSet<u16>,
    certificates: usize,
    problems: Vec<Problem>,
    drained: bool,
}

#[derive(Deserialize)]
struct Problem {
    file: String,
    message: String,
}

/// Whether the last client of the relay with that folder has gone.
///
/// # Errors
/// When it does not run or does not answer.
pub async fn has_drained(folder: &Path) -> Result<bool, AskError> {
    let answer: Answer = serde_json::from_slice(&get(folder, "/status").await?)?;
    Ok(answer.drained)
}

/// How the relay with that folder is.
///
/// # Errors
/// When it does not run or does not answer.
pub async fn status(folder: &Path) -> Result<RelayStatus, AskError> {
    let Answer { revision, listen, http, certificates, problems, drained: _ } =
        serde_json::from_slice(&get(folder, "/status").await?)?;
    let error = |Problem { file, message }| VclError { file, line: None, message };
    let errors = problems.into_iter().map(error).collect();
    Ok(RelayStatus { revision, listen, http, certificates, errors })
}

/// One of its pages.
///
/// # Errors
/// When it does not run or does not answer.
pub async fn get(folder: &Path, page: &str) -> Result<Bytes, AskError> {
    timeout(LIMIT, ask(folder, page)).await.map_err(|_| AskError::Timeout)?
}

async fn ask(folder: &Path, page: &str) -> Result<Bytes, AskError> {
    let stream = UnixStream::connect(folder.join(SOCKET)).await.map_err(AskError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = async {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = page.parse().unwrap_or_default();
        request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("relay"));
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Refused(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(AskError::Body)
    };
    tokio::pin!(request);
    tokio::select! {
        answer = &mut request => answer,
        ended = connection => { ended?; request.await }
    }
}
