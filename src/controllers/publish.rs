//! Brings one data plane's objects and its bundle into the cluster, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::apply::{ApplyError, apply, delete, replace};
use crate::bundle::Bundle;
use crate::bundle::packs::{
    Content, Packer, SECRETS, UnpackError, manifest, needed, pack_name, secret_name, secret_of, unpack,
};
use crate::bundle::relay::CertificateId;
use crate::infra::{self, names};
use crate::snapshot::ObjectKey;
use crate::telemetry::chain;

/// The first pause after something could not be written, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is to be in the cluster.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What Varnish is to load.
    pub bundle: Arc<Bundle>,
    /// Everything else.
    pub objects: Arc<PlaneObjects>,
    /// How often something was deleted that has to be made again.
    pub losses: u64,
}

/// What does not change with routes.
#[derive(Debug, Default)]
pub struct PlaneObjects {
    /// Deployment, Service and so on.
    pub wanted: Vec<DynamicObject>,
    /// What earlier parameters may have led to, and is not wanted now.
    pub unwanted: Vec<DynamicObject>,
    /// The metadata that all objects have in common.
    pub metadata: ObjectMeta,
    /// The Gateway's `metadata.uid`.
    pub uid: String,
}

/// Why it could not be brought there.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot read what was published before")]
    Read(#[source] Box<kube::Error>),
    #[error("cannot pack the bundle")]
    Pack(#[from] io::Error),
}

/// Publishes what is wanted as it changes, the latest only. `told` hears of each attempt: nothing, or what is wrong.
/// Ends when nobody wants anything any more.
pub async fn publish(
    client: Client,
    gateway: ObjectKey,
    name: String,
    mut wanted: watch::Receiver<Option<Wanted>>,
    published: watch::Sender<Option<Arc<Bundle>>>,
    told: impl Fn(Option<String>),
) {
    let mut worker = Publisher { client, namespace: gateway.namespace.clone(), name, known: None };
    let mut pause = FIRST_PAUSE;
    loop {
        let now = wanted.borrow_and_update().clone();
        let Some(now) = now else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let trouble = match worker.bring(&now).await {
            Ok(trouble) => {
                published.send_replace(Some(Arc::clone(&now.bundle)));
                trouble.map(PublishError::Apply)
            }
            Err(error) => Some(error),
        };
        told(trouble.as_ref().map(|error| chain(error)));
        let retry = trouble.map(|error| {
            warn!(%gateway, error = &error as &dyn Error, "cannot publish all of a data plane; trying again");
            worker.known = None;
            pause
        });
        pause = retry.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        tokio::select! {
            () = sleep(retry.unwrap_or_default()), if retry.is_some() => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

struct Publisher {
    client: Client,
    namespace: String,
    name: String,
    /// None when it is not certain what is in the cluster.
    known: Option<Known>,
}

/// The certificates in each Secret that there is, by its number; none where that is not known.
type Secrets = BTreeMap<usize, Option<Vec<CertificateId>>>;

/// What was written.
#[derive(Default)]
struct Known {
    objects: Arc<PlaneObjects>,
    packer: Packer,
    revision: String,
    secrets: Secrets,
    losses: u64,
}

impl Publisher {
    /// Pods need their ServiceAccount to be made and their bundle to start: the Deployment and what is about it comes
    /// last. An object that the API server refuses holds up nothing else, and is returned.
    async fn bring(&mut self, wanted: &Wanted) -> Result<Option<ApplyError>, PublishError> {
        let known = self.known.take().filter(|known| known.losses == wanted.losses);
        let mut known = match known {
            Some(known) => known,
            None => Known { losses: wanted.losses, ..self.resume(wanted).await? },
        };
        let (is, objects) = (Arc::clone(&known.objects), Arc::clone(&wanted.objects));
        if Arc::ptr_eq(&is, &objects) {
            self.bundle(&mut known, wanted).await?;
            self.known = Some(known);
            return Ok(None);
        }
        let new = || objects.wanted.iter().filter(|it| !is.wanted.contains(it));
        let before = self.apply(new().filter(|it| !is_about_pods(it))).await;
        self.bundle(&mut known, wanted).await?;
        let after = self.apply(new().filter(|it| is_about_pods(it))).await;
        let deleted = self.delete(&is, &objects).await;
        self.known = Some(Known { objects, ..known });
        Ok([before, after, deleted].into_iter().find_map(Result::err))
    }

    /// All are tried, and the first that is refused is returned.
    async fn apply(&self, objects: impl Iterator<Item = &DynamicObject>) -> Result<(), ApplyError> {
        let mut outcome = Ok(());
        for object in objects {
            outcome = outcome.and(apply(&self.client, object).await);
        }
        outcome
    }

    async fn delete(&self, is: &PlaneObjects, objects: &PlaneObjects) -> Result<(), ApplyError> {
        for object in objects.unwanted.iter().filter(|it| !is.unwanted.contains(it)) {
            delete(&self.client, object, |found| infra::belongs_to(found, &objects.uid)).await?;
        }
        Ok(())
    }

    async fn bundle(&self, known: &mut Known, wanted: &Wanted) -> Result<(), PublishError> {
        let (bundle, metadata) = (&wanted.bundle, &wanted.objects.metadata);
        if known.revision == bundle.manifest.revision {
            return Ok(());
        }
        self.certificates(known, wanted).await?;
        let writes = known.packer.pack(bundle)?;
        let packs = writes.packs.iter().map(|(pack, content)| {
            config_map(metadata, &self.namespace, &pack_name(&self.name, *pack), content)
        });
        try_join_all(packs.map(|pack| async move { replace(&self.client, &pack).await })).await?;
        replace(&self.client, &config_map(metadata, &self.namespace, &self.name, &writes.index)).await?;
        known.revision.clone_from(&bundle.manifest.revision);
        Ok(())
    }

    /// Writes the Secrets that differ. One that is not needed any more is emptied.
    async fn certificates(&self, known: &mut Known, wanted: &Wanted) -> Result<(), PublishError> {
        let mut secrets: BTreeMap<usize, Vec<CertificateId>> =
            known.secrets.keys().map(|secret| (*secret, Vec::new())).collect();
        for id in wanted.bundle.certificates.keys() {
            secrets.entry(secret_of(id)).or_default().push(id.clone());
        }
        for (secret, ids) in secrets {
            let ids = Some(ids);
            if known.secrets.get(&secret) != Some(&ids) {
                replace(&self.client, &self.secret(wanted, secret)).await?;
                known.secrets.insert(secret, ids);
            }
        }
        Ok(())
    }

    /// What another operator has published before.
    async fn resume(&self, wanted: &Wanted) -> Result<Known, PublishError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let index = api.get_opt(&self.name).await.map_err(|error| PublishError::Read(Box::new(error)))?;
        let Some(index) = index.as_ref().map(content) else { return Ok(Known::default()) };
        let Ok((packs, found)) = self.read(&api, &index).await? else { return Ok(Known::default()) };
        // Certificates are written again: reading them back would tell no more.
        let secrets = match &found.manifest.relay {
            Some(_) => self.secrets().await?,
            None => Secrets::new(),
        };
        let same = found.manifest == wanted.bundle.manifest && found.manifest.relay.is_none();
        let packer = Packer::resume(&index, &packs);
        let revision = if same { found.manifest.revision } else { String::new() };
        Ok(Known { packer, revision, secrets, ..Known::default() })
    }

    /// The Secrets that another operator has made.
    async fn secrets(&self) -> Result<Secrets, PublishError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let labelled = ListParams::default().labels(&format!("{}=true", names::BUNDLE_LABEL));
        let found =
            api.list_metadata(&labelled).await.map_err(|error| PublishError::Read(Box::new(error)))?;
        let found: BTreeSet<_> = found.items.into_iter().filter_map(|it| it.metadata.name).collect();
        let there = (0..SECRETS).filter(|secret| found.contains(&secret_name(&self.name, *secret)));
        Ok(there.map(|secret| (secret, None)).collect())
    }

    async fn read(
        &self,
        api: &Api<ConfigMap>,
        index: &Content,
    ) -> Result<Result<(BTreeMap<usize, Content>, Bundle), UnpackError>, PublishError> {
        let manifest = match manifest(index) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Err(error)),
        };
        let mut packs = BTreeMap::new();
        for pack in needed(&manifest, index, None) {
            let found = api.get_opt(&pack_name(&self.name, pack)).await;
            let found = found.map_err(|error| PublishError::Read(Box::new(error)))?;
            packs.extend(found.map(|it| (pack, content(&it))));
        }
        Ok(unpack(manifest, index, &packs, None).map(|bundle| (packs, bundle)))
    }

    fn secret(&self, wanted: &Wanted, secret: usize) -> DynamicObject {
        let certificates = wanted.bundle.certificates.iter().filter(|(id, _)| secret_of(id) == secret);
        let files = certificates
            .flat_map(|(id, it)| [(format!("{id}.crt"), &it.chain), (format!("{id}.key"), &it.key)]);
        let data = files.map(|(name, bytes)| (name, ByteString(bytes.clone()))).collect();
        let metadata =
            bundle_part(&wanted.objects.metadata, &self.namespace, &secret_name(&self.name, secret));
        infra::dynamic(&Secret { metadata, data: Some(data), ..Secret::default() })
    }
}

/// Kinds that come after the bundle.
fn is_about_pods(object: &DynamicObject) -> bool {
    let kind = object.types.as_ref().map(|it| it.kind.as_str());
    matches!(kind, Some("Deployment" | "PodDisruptionBudget" | "HorizontalPodAutoscaler"))
}

fn bundle_part(metadata: &ObjectMeta, namespace: &str, name: &str) -> ObjectMeta {
    let mut metadata = named(metadata, namespace, name);
    let label = (names::BUNDLE_LABEL.to_owned(), "true".to_owned());
    metadata.labels.get_or_insert_default().extend([label]);
    metadata
}

fn config_map(metadata: &ObjectMeta, namespace: &str, name: &str, content: &Content) -> DynamicObject {
    let data = content.iter().map(|(name, bytes)| (name.clone(), ByteString(bytes.to_vec())));
    let metadata = bundle_part(metadata, namespace, name);
    infra::dynamic(&ConfigMap { metadata, binary_data: Some(data.collect()), ..ConfigMap::default() })
}

fn named(metadata: &ObjectMeta, namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..metadata.clone() }
}

fn content(object: &ConfigMap) -> Content {
    let data = object.binary_data.iter().flatten();
    data.map(|(name, bytes)| (name.clone(), Arc::from(bytes.0.as_slice()))).collect()
}
