//! Writes to the API server: server-side apply, and statuses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;

use super::outbox::Job;
use super::watches::resource;
use crate::infra::names::FIELD_MANAGER;
use crate::snapshot::ObjectKey;

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refuses it, or cannot be reached.
    #[error("cannot apply or delete {kind} {key}")]
    Apply {
        /// Its kind.
        kind: String,
        /// Namespace and name.
        key: ObjectKey,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Applies an object; what others set in fields that we do not name stays.
///
/// # Errors
/// When the API server refuses it, or cannot be reached.
pub async fn apply(client: &Client, object: &DynamicObject) -> Result<(), ApplyError> {
    let api = api(client, object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(name, &parameters, &Patch::Apply(object)).await;
    applied.map(drop).map_err(|source| failed(object, source))
}

/// Replaces an object as a whole, or makes it: cheaper than [`apply`] where all of it is ours.
///
/// # Errors
/// When the API server refuses it, or cannot be reached.
pub async fn replace(client: &Client, object: &DynamicObject) -> Result<(), ApplyError> {
    let api = api(client, object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let replaced = match api.replace(name, &parameters, object).await {
        Err(kube::Error::Api(status)) if status.code == 404 => api.create(&parameters, object).await,
        other => other,
    };
    replaced.map(drop).map_err(|source| failed(object, source))
}

/// Deletes an object if it is there and `is_ours`.
///
/// # Errors
/// When the API server refuses it, or cannot be reached.
pub async fn delete(
    client: &Client,
    object: &DynamicObject,
    is_ours: impl Fn(&ObjectMeta) -> bool,
) -> Result<(), ApplyError> {
    let api = api(client, object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let found = api.get_opt(name).await.map_err(|source| failed(object, source))?;
    let Some(found) = found.filter(|it| is_ours(&it.metadata)) else { return Ok(()) };
    let exactly = Preconditions { uid: found.metadata.uid, resource_version: None };
    let parameters = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    match api.delete(name, &parameters).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        deleted => deleted.map(drop).map_err(|source| failed(object, source)),
    }
}

/// Writes a status, unless there is a newer version of the object than it builds on.
///
/// # Errors
/// What the API server says.
pub async fn write_status(client: Client, job: &Job) -> kube::Result<DynamicObject> {
    let resource = resource(job.id.kind);
    let ObjectKey { namespace, name } = &job.id.key;
    let api: Api<DynamicObject> = if namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, namespace, &resource)
    };
    let patch = json!({"metadata": {"resourceVersion": job.resource_version}, "status": job.status});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch_status(name, &parameters, &Patch::Merge(patch)).await
}

fn api(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.rsplit_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn failed(object: &DynamicObject, source: kube::Error) -> ApplyError {
    let kind = object.types.as_ref().map(|it| it.kind.clone()).unwrap_or_default();
    let metadata = &object.metadata;
    let key = ObjectKey::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    );
    ApplyError::Apply { kind, key, source: Box::new(source) }
}
