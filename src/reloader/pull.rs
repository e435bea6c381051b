//! Pulls the bundle from the API server: watches its index, and gets the packs that it needs besides.
//!
//! Mounted volumes would lag behind by the kubelet's sync period; a watch tells within milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::bundle::Bundle;
use crate::bundle::packs::{self, Content, UnpackError};
use crate::bundle::relay::{Certificate, CertificateId, Certificates, Relay, certificate_id};
use crate::telemetry::chain;

use super::compiler::VclError;
use super::state::Board;
use super::watch::Bundles;

/// The pause before an index is read again that could not be turned into a bundle.
const AGAIN: Duration = Duration::from_secs(1);

/// The ConfigMap that has the index, as `NAMESPACE/NAME`. Its packs are named after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    namespace: String,
    name: String,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected NAMESPACE/NAME".to_owned()),
        }
    }
}

/// Why an index could not be turned into a bundle.
#[derive(Debug, Error)]
enum PullError {
    /// The API server does not give a pack, or the certificates.
    #[error("cannot get {kind} {name}")]
    Get {
        kind: &'static str,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// The manifest names a certificate that is not in its Secret (yet).
    #[error("certificate {id} is not in Secret {name}")]
    Certificate { id: CertificateId, name: String },
    /// What is stored is not a bundle.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Follows the index from now on. `first` is what has been read from disk.
///
/// # Errors
/// When there is no API server to ask: we are not in a cluster.
pub async fn follow(
    source: Source,
    first: Option<Arc<Bundle>>,
    board: Arc<Board>,
) -> Result<Bundles, kube::Error> {
    let config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    let client = Client::try_from(config)?;
    let (sender, receiver) = watch::channel(first);
    let api = Api::namespaced(client.clone(), &source.namespace);
    let secrets = Api::namespaced(client, &source.namespace);
    tokio::spawn(Puller { api, secrets, name: source.name, sender, board, told: None }.run());
    Ok(receiver)
}

struct Puller {
    api: Api<ConfigMap>,
    secrets: Api<Secret>,
    name: String,
    sender: watch::Sender<Option<Arc<Bundle>>>,
    board: Arc<Board>,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

impl Puller {
    async fn run(mut self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let indexes = watcher::watcher(self.api.clone(), config).default_backoff().touched_objects();
        pin_mut!(indexes);
        let mut failed: Option<ConfigMap> = None;
        while !self.sender.is_closed() {
            let next = tokio::select! {
                next = indexes.next() => next,
                () = sleep(AGAIN), if failed.is_some() => failed.take().map(Ok),
            };
            match next {
                Some(Ok(index)) => {
                    failed = self.take(&index).await.is_err().then_some(index);
                }
                Some(Err(problem)) => self.tell("cannot watch the bundle", &problem),
                None => return,
            }
        }
    }

    async fn take(&mut self, index: &ConfigMap) -> Result<(), ()> {
        match self.pull(&content(index)).await {
            Ok(None) => {}
            Ok(Some(bundle)) => {
                info!(revision = bundle.manifest.revision, vcls = bundle.files.len(), "found a new bundle");
                self.sender.send_replace(Some(Arc::new(bundle)));
            }
            Err(problem) => {
                self.tell("the bundle in the cluster is unusable", &problem);
                return Err(());
            }
        }
        self.told = None;
        Ok(())
    }

    /// The bundle of an index, unless it is the one that is known.
    async fn pull(&self, index: &Content) -> Result<Option<Bundle>, PullError> {
        let known = self.sender.borrow().clone();
        let manifest = packs::manifest(index)?;
        if known.as_ref().is_some_and(|known| known.manifest == manifest) {
            return Ok(None);
        }
        let found = self.packs(packs::needed(&manifest, index, known.as_deref())).await?;
        let certificates = self.certificates(manifest.relay.as_ref(), known.as_deref()).await?;
        let bundle = packs::unpack(manifest, index, &found, known.as_deref())?;
        Ok(Some(Bundle { certificates, ..bundle }))
    }

    /// The certificates that the relay takes; only Secrets with new ones are read.
    async fn certificates(
        &self,
        relay: Option<&Relay>,
        known: Option<&Bundle>,
    ) -> Result<Certificates, PullError> {
        let mut found = Certificates::new();
        let mut missing: BTreeMap<usize, Vec<&CertificateId>> = BTreeMap::new();
        for id in relay.map(Relay::certificates).unwrap_or_default() {
            match known.and_then(|known| known.certificates.get(id)) {
                Some(it) => drop(found.insert(id.clone(), Arc::clone(it))),
                None => missing.entry(packs::secret_of(id)).or_default().push(id),
            }
        }
        for (secret, ids) in missing {
            let name = packs::secret_name(&self.name, secret);
            let secret = self.secrets.get_opt(&name).await;
            let secret = secret.map_err(|source| get("Secret", &name, source))?.unwrap_or_default();
            for id in ids {
                let missing = || PullError::Certificate { id: id.clone(), name: name.clone() };
                found.insert(id.clone(), Arc::new(certificate(&secret, id).ok_or_else(missing)?));
            }
        }
        Ok(found)
    }

    async fn packs(&self, needed: BTreeSet<usize>) -> Result<BTreeMap<usize, Content>, PullError> {
        let mut found = BTreeMap::new();
        for pack in needed {
            let name = packs::pack_name(&self.name, pack);
            let object = self.api.get_opt(&name).await;
            let object = object.map_err(|source| get("ConfigMap", &name, source))?;
            found.extend(object.map(|object| (pack, content(&object))));
        }
        Ok(found)
    }

    fn tell(&mut self, what: &'static str, problem: &dyn Error) {
        let message = chain(problem);
        if self.told.as_ref() == Some(&message) {
            return;
        }
        // The API server may be away for a while; a bundle that cannot be used is someone's mistake.
        if what.starts_with("cannot watch") {
            warn!(problem = message, "{what}; going on with the one before");
        } else {
            error!(problem = message, "{what}; going on with the one before");
            self.board.error(VclError { file: self.name.clone(), line: None, message: message.clone() });
        }
        self.told = Some(message);
    }
}

fn get(kind: &'static str, name: &str, source: kube::Error) -> PullError {
    PullError::Get { kind, name: name.to_owned(), source: Box::new(source) }
}

/// A certificate of a Secret, if it is what its name says.
fn certificate(secret: &Secret, id: &CertificateId) -> Option<Certificate> {
    let data = secret.data.as_ref()?;
    let part = |ending| data.get(&format!("{id}.{ending}")).map(|it| it.0.clone());
    let certificate = Certificate { chain: part("crt")?, key: part("key")? };
    (certificate_id(&certificate) == *id).then_some(certificate)
}

fn content(object: &ConfigMap) -> Content {
    let data = object.binary_data.iter().flatten();
    data.map(|(name, bytes)| (name.clone(), Arc::from(bytes.0.as_slice()))).collect()
}
