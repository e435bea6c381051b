//! Reads a cluster once: for `copal status --cluster` and `copal explain --cluster`.

use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};

use super::watches::{config_selectors, input_resource};
use super::world::{Source, World};
use crate::snapshot::Kind;

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no API server that we could talk to.
    #[error("cannot find the API server: neither in a cluster nor with a kubeconfig")]
    Client(#[source] Box<kube::Error>),
    /// Objects of a kind cannot be listed.
    #[error("cannot list objects of kind {kind}")]
    List {
        /// The kind.
        kind: Kind,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What the API server has of all kinds that the translation reads. Secrets that may not be listed are taken for
/// absent, as most people may not; objects that cannot be read are left out, with a word to `refused`.
///
/// # Errors
/// When the API server cannot be reached, or does not allow to list a kind.
pub async fn read(mut refused: impl FnMut(String)) -> Result<World, ReadError> {
    let client = Client::try_default().await.map_err(|error| ReadError::Client(Box::new(error)))?;
    let mut world = World::default();
    for kind in Kind::ALL {
        for object in list(&client, kind).await? {
            if let Err(error) = world.applied(Source::Input(kind), object) {
                refused(error.to_string());
            }
        }
    }
    Ok(world)
}

async fn list(client: &Client, kind: Kind) -> Result<Vec<DynamicObject>, ReadError> {
    let (resource, types) = input_resource(kind);
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let (labels, fields) = config_selectors(Source::Input(kind));
    let parameters = ListParams { label_selector: labels, field_selector: fields, ..ListParams::default() };
    let listed = match api.list(&parameters).await {
        Ok(listed) => listed.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(kube::Error::Api(status)) if status.code == 403 && kind == Kind::Secret => Vec::new(),
        Err(source) => return Err(ReadError::List { kind, source: Box::new(source) }),
    };
    // Items of a list need not say what they are.
    Ok(listed.into_iter().map(|it| DynamicObject { types: Some(types.clone()), ..it }).collect())
}
