//! Watches of everything that the operator reads. They tell what they see, and decide nothing.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta, TypeMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;
use tracing::warn;

use super::engine::Input;
use super::world::{Owned, Source};
use crate::api;
use crate::infra::names::{BUNDLE_LABEL, MANAGED_BY, MANAGER};
use crate::snapshot::{GATEWAY_GROUP, Kind};

/// How long the API server may be unreachable before that is told again.
const QUIET: Duration = Duration::from_mins(1);
/// For how long the API server has to deny knowing a kind.
const ABSENT: Duration = Duration::from_secs(30);

/// What a watch has seen.
#[derive(Debug)]
pub enum Seen {
    /// An object is there, or is another.
    Applied(Source, Box<DynamicObject>),
    /// An object is gone.
    Deleted(Source, Box<DynamicObject>),
    /// All objects are going to be listed.
    Restarted(Source),
    /// All objects have been listed.
    Listed(Source),
}

/// Everything that is watched.
pub fn sources() -> Vec<Source> {
    let inputs = Kind::ALL.into_iter().map(Source::Input);
    inputs.chain([Source::Pods]).chain(Owned::ALL.into_iter().map(Source::Owned)).collect()
}

/// Watches a source until nobody listens any more.
pub async fn follow(client: Client, source: Source, seen: UnboundedSender<Input>) {
    match source {
        Source::Input(kind) => {
            let (resource, types) = input_resource(kind);
            let api = Api::<DynamicObject>::all_with(client, &resource);
            let stream = watcher::watcher(api, config(source))
                .map(|event| event.map(|event| event.modify(|it| it.types = Some(types.clone()))));
            forward(source, stream.default_backoff(), seen).await;
        }
        Source::Pods => {
            let resource = ApiResource::erase::<Pod>(&());
            let api = Api::<DynamicObject>::all_with(client, &resource);
            forward(source, watcher::watcher(api, config(source)).default_backoff(), seen).await;
        }
        Source::Owned(kind) => {
            let resource = owned(kind);
            let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &resource);
            let stream = watcher::watcher(api, config(source)).map(|event| event.map(bare));
            forward(source, stream.default_backoff(), seen).await;
        }
    }
}

async fn forward(
    source: Source,
    stream: impl futures_util::Stream<Item = watcher::Result<Event<DynamicObject>>>,
    seen: UnboundedSender<Input>,
) {
    pin_mut!(stream);
    let mut failing = false;
    let mut absence = Absence::default();
    loop {
        let next = if failing { timeout(QUIET, stream.next()).await } else { Ok(stream.next().await) };
        let told = match next {
            Err(_) => {
                warn!(?source, "the API server still cannot be watched");
                continue;
            }
            Ok(None) => return,
            Ok(Some(Err(error))) => {
                if !failing {
                    warn!(
                        ?source,
                        error = &error as &dyn std::error::Error,
                        "a watch has failed; trying again"
                    );
                }
                failing = true;
                if !absence.is_told(&error) {
                    continue;
                }
                warn!(?source, "this kind is not installed in the cluster; taking it for empty");
                Seen::Listed(source)
            }
            Ok(Some(Ok(event))) => {
                failing = false;
                absence.end(&event);
                tell(source, event)
            }
        };
        if seen.send(Input::Seen(told)).is_err() {
            return;
        }
    }
}

/// Whether a kind is not installed. An API server that has just started does not know installed kinds either for a
/// moment, so it has to say so for a while, and a kind that was there once is never taken for absent.
#[derive(Default)]
struct Absence {
    since: Option<Instant>,
    over: bool,
}

impl Absence {
    /// True once, when the kind has been absent for long enough.
    fn is_told(&mut self, error: &watcher::Error) -> bool {
        let absent = matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404);
        if self.over || !absent {
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.over = since.elapsed() > ABSENT;
        self.over
    }

    fn end<K>(&mut self, event: &Event<K>) {
        self.over |= matches!(event, Event::InitDone);
    }
}

fn tell(source: Source, event: Event<DynamicObject>) -> Seen {
    match event {
        Event::Apply(it) | Event::InitApply(it) => Seen::Applied(source, Box::new(it)),
        Event::Delete(it) => Seen::Deleted(source, Box::new(it)),
        Event::Init => Seen::Restarted(source),
        Event::InitDone => Seen::Listed(source),
    }
}

fn config(source: Source) -> watcher::Config {
    let (label_selector, field_selector) = config_selectors(source);
    watcher::Config { label_selector, field_selector, ..watcher::Config::default() }
}

/// Only what is needed is asked for: by label, and by field.
pub(super) fn config_selectors(source: Source) -> (Option<String>, Option<String>) {
    match source {
        // Bundles are not inputs, and large.
        Source::Input(Kind::ConfigMap) => (Some(format!("!{BUNDLE_LABEL}")), None),
        Source::Input(Kind::Secret) => (None, Some("type=kubernetes.io/tls".to_owned())),
        Source::Input(_) => (None, None),
        Source::Pods | Source::Owned(_) => (Some(format!("{MANAGED_BY}={MANAGER}")), None),
    }
}

/// The API resource of a kind that the translation reads, and what its objects are called.
pub(super) fn input_resource(kind: Kind) -> (ApiResource, TypeMeta) {
    let resource = resource(kind);
    let types = types(&resource);
    (resource, types)
}

pub(super) fn resource(kind: Kind) -> ApiResource {
    let gateway = |version: &str| GroupVersionKind::gvk(GATEWAY_GROUP, version, &kind.to_string());
    let core = || GroupVersionKind::gvk("", "v1", &kind.to_string());
    let copal = || GroupVersionKind::gvk(api::GROUP, api::VERSION, &kind.to_string());
    match kind {
        Kind::GatewayClass => ApiResource::from_gvk_with_plural(&gateway("v1"), "gatewayclasses"),
        Kind::Gateway => ApiResource::from_gvk_with_plural(&gateway("v1"), "gateways"),
        Kind::ListenerSet => ApiResource::from_gvk_with_plural(&gateway("v1"), "listenersets"),
        Kind::HttpRoute => ApiResource::from_gvk_with_plural(&gateway("v1"), "httproutes"),
        Kind::TlsRoute => ApiResource::from_gvk_with_plural(&gateway("v1"), "tlsroutes"),
        Kind::ReferenceGrant => ApiResource::from_gvk_with_plural(&gateway("v1beta1"), "referencegrants"),
        Kind::BackendTlsPolicy => ApiResource::from_gvk_with_plural(&gateway("v1"), "backendtlspolicies"),
        Kind::Service => ApiResource::from_gvk_with_plural(&core(), "services"),
        Kind::Namespace => ApiResource::from_gvk_with_plural(&core(), "namespaces"),
        Kind::Secret => ApiResource::from_gvk_with_plural(&core(), "secrets"),
        Kind::ConfigMap => ApiResource::from_gvk_with_plural(&core(), "configmaps"),
        Kind::GatewayClassParameters => ApiResource::from_gvk_with_plural(&copal(), "gatewayclassparameters"),
        Kind::VarnishLoggingPolicy => ApiResource::from_gvk_with_plural(&copal(), "varnishloggingpolicies"),
        Kind::EndpointSlice => {
            let gvk = GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice");
            ApiResource::from_gvk_with_plural(&gvk, "endpointslices")
        }
    }
}

fn owned(kind: Owned) -> ApiResource {
    fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }
    match kind {
        Owned::ConfigMap => of::<ConfigMap>(),
        Owned::Secret => of::<Secret>(),
        Owned::Deployment => of::<Deployment>(),
        Owned::ServiceAccount => of::<ServiceAccount>(),
        Owned::Role => of::<Role>(),
        Owned::RoleBinding => of::<RoleBinding>(),
        Owned::PodDisruptionBudget => of::<PodDisruptionBudget>(),
        Owned::HorizontalPodAutoscaler => of::<HorizontalPodAutoscaler>(),
    }
}

fn types(resource: &ApiResource) -> TypeMeta {
    TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() }
}

/// An object of which only the metadata is known.
fn bare(event: Event<PartialObjectMeta<DynamicObject>>) -> Event<DynamicObject> {
    let bare = |it: PartialObjectMeta<DynamicObject>| DynamicObject {
        types: it.types,
        metadata: it.metadata,
        data: serde_json::Value::Null,
    };
    match event {
        Event::Apply(it) => Event::Apply(bare(it)),
        Event::InitApply(it) => Event::InitApply(bare(it)),
        Event::Delete(it) => Event::Delete(bare(it)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}
