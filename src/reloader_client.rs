//! Asks the reloader, over HTTP, whether Varnish serves a revision.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use crate::bundle::{Bundle, Manifest, VclName};
use crate::status::Programmed;
use crate::vcl::user;

/// The reloader holds an answer back this long at most.
const HOLD: Duration = Duration::from_secs(30);

/// Beyond `HOLD`, for an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(35);

/// Above any `/status`: some 200 bytes a VCL.
const MAX_ANSWER: usize = 64 << 20;

/// Why the reloader did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be reached, or not yet.
    #[error("cannot reach the reloader at {address}")]
    Request {
        /// Its endpoint.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: legacy::Error,
    },
    /// It did not finish its answer.
    #[error("the reloader at {address} broke off its answer")]
    Body {
        /// Its endpoint.
        address: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else listens there.
    #[error("what listens on {address} is not the reloader")]
    Answer {
        /// Its endpoint.
        address: SocketAddr,
        /// What is wrong with its answer.
        #[source]
        source: serde_json::Error,
    },
    /// It accepts connections and says nothing.
    #[error("the reloader at {address} does not answer")]
    Timeout {
        /// Its endpoint.
        address: SocketAddr,
    },
}

/// What of `/status` matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ReloaderStatus {
    /// The revision that it tries to reach.
    pub wanted: Option<String>,
    /// The revision that is entirely in force.
    pub loaded: Option<String>,
    /// Addresses that varnishd accepts connections on.
    #[serde(default)]
    pub listen: Vec<String>,
    #[serde(default)]
    vcls: Vec<VclStatus>,
    relay: Option<RelayStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct RelayStatus {
    revision: Option<String>,
    #[serde(default)]
    errors: Vec<VclError>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct VclStatus {
    name: VclName,
    error: Option<VclError>,
}

/// A VCL that Varnish has refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct VclError {
    /// The VCL file.
    #[serde(default)]
    pub file: Option<String>,
    /// Its line, from 1.
    #[serde(default)]
    pub line: Option<u64>,
    /// Varnish's words.
    #[serde(default)]
    pub message: String,
}

impl VclError {
    /// The compiler's words; for a line of the user's own VCL, where that stands.
    #[must_use]
    pub fn for_people(&self, bundle: &Bundle) -> String {
        self.in_user_vcl(bundle).unwrap_or_else(|| self.message.clone())
    }

    /// What is wrong with the user's own VCL, if this is about a line of it.
    #[must_use]
    pub fn in_user_vcl(&self, bundle: &Bundle) -> Option<String> {
        let text = bundle.files.get(self.file.as_ref()?.strip_suffix(".vcl")?)?;
        user::complaint(text, usize::try_from(self.line?).ok()?, &self.message)
    }
}

/// How far Varnish is with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is entirely in force.
    Served,
    /// Parts of it were refused; what was in force before still is.
    Refused(BTreeSet<VclError>),
    /// It is in force but for these things, which the relay cannot do.
    Partly(BTreeSet<String>),
    /// It is not known yet.
    Pending,
}

impl ReloaderStatus {
    /// What this answer says about a bundle. Errors of VCLs that are not in it are old news.
    #[must_use]
    pub fn progress(&self, bundle: &Manifest) -> Progress {
        let revision = Some(bundle.revision.as_str());
        if self.loaded.as_deref() == revision {
            let relay = self.relay.iter().filter(|relay| relay.revision.as_deref() == revision);
            let undone: BTreeSet<_> = relay.flat_map(|it| &it.errors).map(|it| it.message.clone()).collect();
            return if undone.is_empty() { Progress::Served } else { Progress::Partly(undone) };
        }
        let ours = |name: &VclName| bundle.labels.values().chain(&bundle.root).any(|it| it == name);
        let ours = self.vcls.iter().filter(|it| self.wanted.as_deref() == revision && ours(&it.name));
        let errors: BTreeSet<_> = ours.filter_map(|it| it.error.clone()).collect();
        if errors.is_empty() { Progress::Pending } else { Progress::Refused(errors) }
    }
}

impl ReloaderStatus {
    /// The same as a condition has it.
    #[must_use]
    pub fn programmed(&self, bundle: &Bundle) -> Programmed {
        match self.progress(&bundle.manifest) {
            Progress::Served => Programmed::Yes,
            Progress::Pending => Programmed::Pending("Varnish does not serve this revision yet".into()),
            Progress::Partly(undone) => Programmed::Failed(undone_by_relay(&undone)),
            Progress::Refused(errors) => {
                // Shards have the user's VCL in common, and its faults.
                let errors: BTreeSet<_> = errors.iter().map(|it| it.for_people(bundle)).collect();
                Programmed::Failed(errors.into_iter().collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// What the relay cannot do, and what happens meanwhile.
#[must_use]
pub fn undone_by_relay(undone: &BTreeSet<String>) -> String {
    let undone: Vec<_> = undone.iter().map(String::as_str).collect();
    format!("copal-relay: {}; all else is served", undone.join("; "))
}

/// Talks to one reloader.
#[derive(Clone, Debug)]
pub struct ReloaderClient {
    address: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl ReloaderClient {
    /// For the reloader with that `--admin` address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Asks for the status, which the reloader holds back until it has something to say of `revision`.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    pub async fn wait_for(&self, revision: &str) -> Result<ReloaderStatus, AskError> {
        let address = self.address;
        let answer = tokio::time::timeout(PATIENCE, self.get(revision));
        let bytes = answer.await.map_err(|_| AskError::Timeout { address })??;
        serde_json::from_slice(&bytes).map_err(|source| AskError::Answer { address, source })
    }

    async fn get(&self, revision: &str) -> Result<Bytes, AskError> {
        let address = self.address;
        let path = format!("/status?wait={revision}&timeout={}", HOLD.as_secs());
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(hyper::http::uri::Scheme::HTTP);
        parts.authority = address.to_string().parse().ok();
        parts.path_and_query = path.parse().ok();
        let uri = hyper::Uri::from_parts(parts).unwrap_or_default();
        let answer = self.client.get(uri).await.map_err(|source| AskError::Request { address, source })?;
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|source| AskError::Body { address, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_far_a_bundle_is() {
        let labels = [("copal_s01".to_owned(), "copal_s01_ab".to_owned())].into();
        let bundle = Manifest { revision: "b".into(), labels, ..Manifest::default() };
        let error = r#"{"file":"copal_s01_ab.vcl","line":12,"message":"Unknown token"}"#;
        let refused = Progress::Refused([serde_json::from_str(error).unwrap()].into());
        let failed = |name: &str| {
            format!(
                r#"{{"wanted":"b","loaded":"a","vcls":[{{"name":"x"}},{{"name":"{name}","error":{error}}}]}}"#
            )
        };
        let relay = |revision: &str, errors: &str| {
            format!(r#"{{"wanted":"b","loaded":"b","relay":{{"revision":"{revision}","errors":{errors}}}}}"#)
        };
        let cases = [
            (r#"{"wanted":null,"loaded":null}"#, Progress::Pending),
            (r#"{"wanted":"b","loaded":"b","listen":[],"state":"serving"}"#, Progress::Served),
            (r#"{"wanted":"c","loaded":"b"}"#, Progress::Served),
            (&relay("b", "[]"), Progress::Served),
            (&relay("a", &format!("[{error}]")), Progress::Served),
            (&relay("b", &format!("[{error}]")), Progress::Partly(["Unknown token".to_owned()].into())),
            (r#"{"wanted":"b","loaded":"a"}"#, Progress::Pending),
            (&failed("copal_s01_ab"), refused),
            (&failed("copal_s01_aa"), Progress::Pending),
            (&failed("copal_s01_ab").replace(r#""wanted":"b""#, r#""wanted":"a""#), Progress::Pending),
        ];
        for (answer, expected) in cases {
            let status: ReloaderStatus = serde_json::from_str(answer).unwrap();
            assert_eq!(status.progress(&bundle), expected, "{answer}");
        }
    }
}
