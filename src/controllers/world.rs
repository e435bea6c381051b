//! What the watches have told of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use serde_json::Value;

use super::outbox::Job;
use crate::infra::names;
use crate::snapshot::{Kind, Object, ObjectId, ObjectKey, ParseError, Snapshot};
use crate::translate::names_config_map;

/// A kind of which data planes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the kind of its name")]
pub enum Owned {
    ConfigMap,
    Secret,
    Deployment,
    ServiceAccount,
    Role,
    RoleBinding,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
}

impl Owned {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::ConfigMap,
        Self::Secret,
        Self::Deployment,
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::PodDisruptionBudget,
        Self::HorizontalPodAutoscaler,
    ];
}

/// What a watch is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Objects of a kind that the translation reads.
    Input(Kind),
    /// Pods of data planes.
    Pods,
    /// One of the kinds that data planes are made of; only that one is gone is of interest.
    Owned(Owned),
}

/// The status of a live object, which the next write of it builds on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// What the write has to name, so that nobody's write is lost.
    pub resource_version: Option<String>,
    /// As it is in the cluster.
    pub status: Option<Value>,
}

/// A data plane's pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Where its reloader answers.
    pub address: IpAddr,
    /// Whether it gets traffic.
    pub ready: bool,
}

/// What is different after a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The translation may come to something else.
    pub inputs: bool,
    /// Objects whose live status is not what it was.
    pub live: BTreeSet<ObjectId>,
    /// Gateways of which something was deleted that their data planes need.
    pub lost: BTreeSet<ObjectKey>,
    /// Gateways whose pods are others now.
    pub pods: BTreeSet<ObjectKey>,
}

/// Everything that the watches have yielded.
#[derive(Debug, Default)]
pub struct World {
    snapshot: Snapshot,
    live: BTreeMap<ObjectId, Live>,
    pods: BTreeMap<ObjectKey, (ObjectKey, Option<Pod>)>,
    /// While a watch lists anew: what it has not listed yet.
    unlisted: BTreeMap<Source, BTreeSet<ObjectKey>>,
    /// What each watch knows of, and the Gateway whose data plane needs it.
    known: BTreeMap<Source, BTreeMap<ObjectKey, Option<ObjectKey>>>,
}

impl World {
    /// The inputs of the translation.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The live status of an object.
    #[must_use]
    pub fn live(&self, id: &ObjectId) -> Option<&Live> {
        self.live.get(id)
    }

    /// The statuses of all objects whose status the operator writes.
    pub fn statuses(&self) -> impl Iterator<Item = (&ObjectId, &Value)> {
        let ours = self.live.iter().filter(|(id, _)| has_our_status(id.kind));
        ours.filter_map(|(id, live)| Some((id, live.status.as_ref()?)))
    }

    /// A Gateway's pods that have an address.
    pub fn pods<'a>(&'a self, gateway: &'a ObjectKey) -> impl Iterator<Item = &'a Pod> {
        self.pods.values().filter(move |(owner, _)| owner == gateway).filter_map(|(_, pod)| pod.as_ref())
    }

    /// An object is there, or is another.
    ///
    /// # Errors
    /// When it cannot be read: what was known of it stays in force.
    pub fn applied(&mut self, source: Source, object: DynamicObject) -> Result<Effect, ParseError> {
        let key = key(&object);
        // A data plane does without any one of its pods.
        let needed_by = gateway_of(&object).filter(|_| source != Source::Pods);
        self.known.entry(source).or_default().insert(key.clone(), needed_by);
        if let Some(unlisted) = self.unlisted.get_mut(&source) {
            unlisted.remove(&key);
        }
        match source {
            Source::Input(kind) => self.input(kind, object),
            Source::Pods => Ok(self.pod(key, &object)),
            Source::Owned(_) => Ok(Effect::default()),
        }
    }

    /// An object is gone.
    pub fn deleted(&mut self, source: Source, object: &DynamicObject) -> Effect {
        self.gone(source, key(object))
    }

    /// A watch begins to list all its objects.
    pub fn restarted(&mut self, source: Source) {
        let known = self.known.get(&source).into_iter().flat_map(BTreeMap::keys);
        self.unlisted.insert(source, known.cloned().collect());
    }

    /// A watch has listed all its objects: what was not among them is gone.
    pub fn listed(&mut self, source: Source) -> Effect {
        let mut effect = Effect::default();
        for key in self.unlisted.remove(&source).unwrap_or_default() {
            effect.add(self.gone(source, key));
        }
        effect
    }

    /// A status was written: this is what the object is now, unless its watch has told of something newer, or that it
    /// is gone.
    pub fn wrote(&mut self, job: &Job, object: &DynamicObject) {
        if let Some(known) = self.live.get_mut(&job.id)
            && known.resource_version == job.resource_version
        {
            *known = live(object);
        }
    }

    fn input(&mut self, kind: Kind, object: DynamicObject) -> Result<Effect, ParseError> {
        let now = live(&object);
        let id = ObjectId { kind, key: key(&object) };
        let mut effect = Effect::default();
        if has_our_status(kind) && self.live.get(&id).is_none_or(|known| known.status != now.status) {
            effect.live.insert(id.clone());
        }
        if has_our_status(kind) || kind == Kind::Service {
            effect.inputs |=
                kind == Kind::Service && self.live.get(&id).map(|it| &it.status) != Some(&now.status);
            self.live.insert(id, now);
        }
        // A DynamicObject is made of JSON, so it always has a JSON form.
        let value = serde_json::to_value(object).unwrap_or_default();
        if let Some(object) = Object::parse(value)? {
            let id = object.id();
            effect.inputs |= self.snapshot.insert(object) && self.is_input(&id);
        }
        Ok(effect)
    }

    /// Whether an object that is another, or gone, matters to the translation now.
    fn is_input(&self, id: &ObjectId) -> bool {
        id.kind != Kind::ConfigMap || names_config_map(&self.snapshot, &id.key)
    }

    fn pod(&mut self, key: ObjectKey, object: &DynamicObject) -> Effect {
        let Some(gateway) = gateway_of(object) else { return Effect::default() };
        let entry = (gateway.clone(), pod(object));
        let before = self.pods.insert(key, entry.clone());
        let pods = (before.as_ref() != Some(&entry)).then_some(gateway).into_iter().collect();
        Effect { pods, ..Effect::default() }
    }

    fn gone(&mut self, source: Source, key: ObjectKey) -> Effect {
        let needed_by = self.known.get_mut(&source).and_then(|known| known.remove(&key)).flatten();
        let mut effect = Effect { lost: needed_by.into_iter().collect(), ..Effect::default() };
        match source {
            Source::Input(kind) => {
                let id = ObjectId { kind, key };
                self.live.remove(&id);
                effect.inputs = self.snapshot.remove(&id) && self.is_input(&id);
            }
            Source::Pods => effect.pods.extend(self.pods.remove(&key).map(|(gateway, _)| gateway)),
            Source::Owned(_) => {}
        }
        effect
    }
}

impl Effect {
    /// Adds what another change has made different.
    pub fn add(&mut self, other: Self) {
        let Self { inputs, live, lost, pods } = other;
        self.inputs |= inputs;
        self.live.extend(live);
        self.lost.extend(lost);
        self.pods.extend(pods);
    }
}

/// Kinds whose status the operator writes.
fn has_our_status(kind: Kind) -> bool {
    match kind {
        Kind::GatewayClass
        | Kind::Gateway
        | Kind::ListenerSet
        | Kind::HttpRoute
        | Kind::TlsRoute
        | Kind::BackendTlsPolicy
        | Kind::VarnishLoggingPolicy => true,
        Kind::ReferenceGrant
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Namespace
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::GatewayClassParameters => false,
    }
}

/// The Gateway whose data plane an object is a part of.
fn gateway_of(object: &DynamicObject) -> Option<ObjectKey> {
    let ObjectMeta { labels, annotations, namespace, .. } = &object.metadata;
    let labels = labels.as_ref()?;
    labels.get(names::MANAGED_BY).filter(|it| *it == names::MANAGER)?;
    let name = names::gateway_of(labels, annotations.as_ref())?;
    Some(ObjectKey::new(namespace.clone().unwrap_or_default(), name))
}

fn key(object: &DynamicObject) -> ObjectKey {
    let metadata = &object.metadata;
    ObjectKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn live(object: &DynamicObject) -> Live {
    Live {
        resource_version: object.metadata.resource_version.clone(),
        status: object.data.get("status").cloned(),
    }
}

/// A pod that has an address and is not being deleted.
fn pod(object: &DynamicObject) -> Option<Pod> {
    if object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = object.data.get("status")?;
    let address = status.get("podIP")?.as_str()?.parse().ok()?;
    let conditions = status.get("conditions").and_then(Value::as_array);
    let text = |it: &Value, field: &str, text: &str| it.get(field).and_then(Value::as_str) == Some(text);
    let ready =
        conditions.into_iter().flatten().any(|it| text(it, "type", "Ready") && text(it, "status", "True"));
    Some(Pod { name: object.metadata.name.clone()?, address, ready })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn route(name: &str, version: &str, host: &str, status: &Value) -> DynamicObject {
        object(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": "a", "resourceVersion": version},
            "spec": {"hostnames": [host]}, "status": status,
        }))
    }

    fn pod(name: &str, ip: &str, deleted: bool) -> DynamicObject {
        let mut metadata = json!({
            "name": name, "namespace": "a",
            "labels": {"app.kubernetes.io/managed-by": "copal", "gateway.networking.k8s.io/gateway-name": "g"},
        });
        if deleted {
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let status = json!({"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]});
        object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}))
    }

    const ROUTES: Source = Source::Input(Kind::HttpRoute);
    const MAPS: Source = Source::Owned(Owned::ConfigMap);

    fn id(name: &str) -> ObjectId {
        ObjectId { kind: Kind::HttpRoute, key: ObjectKey::new("a", name) }
    }

    #[test]
    fn a_status_that_is_written_changes_no_input() {
        let mut world = World::default();
        assert!(world.applied(ROUTES, route("r", "1", "h", &json!({}))).unwrap().inputs);
        let effect = world.applied(ROUTES, route("r", "2", "h", &json!({"parents": []}))).unwrap();
        assert_eq!(effect, Effect { live: [id("r")].into(), ..Effect::default() });
        assert_eq!(world.live(&id("r")).unwrap().resource_version.as_deref(), Some("2"));
        assert!(world.applied(ROUTES, route("r", "3", "other", &json!({"parents": []}))).unwrap().inputs);
    }

    #[test]
    fn a_config_map_that_nobody_names_changes_no_input() {
        const CONFIG_MAPS: Source = Source::Input(Kind::ConfigMap);
        const POLICIES: Source = Source::Input(Kind::BackendTlsPolicy);
        let config_map = |content: &str| {
            let metadata = json!({"name": "ca", "namespace": "a"});
            let data = json!({"ca.crt": content});
            object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
        };
        let references = json!([{"group": "", "kind": "ConfigMap", "name": "ca"}]);
        let policy = object(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
            "metadata": {"name": "p", "namespace": "a"},
            "spec": {"targetRefs": [], "validation": {"hostname": "a.test", "caCertificateRefs": references}},
        }));
        let mut world = World::default();
        assert!(!world.applied(CONFIG_MAPS, config_map("1")).unwrap().inputs);
        assert!(world.applied(POLICIES, policy).unwrap().inputs);
        assert!(world.applied(CONFIG_MAPS, config_map("2")).unwrap().inputs);
        assert!(!world.applied(CONFIG_MAPS, config_map("2")).unwrap().inputs, "it is the same");
        assert!(world.deleted(CONFIG_MAPS, &config_map("2")).inputs);
    }

    #[test]
    fn what_a_new_list_does_not_have_is_gone() {
        let mut world = World::default();
        for name in ["stays", "goes"] {
            world.applied(ROUTES, route(name, "1", "h", &json!({}))).unwrap();
        }
        world.restarted(ROUTES);
        world.applied(ROUTES, route("stays", "1", "h", &json!({}))).unwrap();
        assert_eq!(world.snapshot().http_routes.len(), 2, "nothing is missing before the list is complete");
        assert!(world.listed(ROUTES).inputs);
        assert_eq!(
            world.snapshot().http_routes.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(),
            ["stays"]
        );
        assert!(world.live(&id("goes")).is_none());
    }

    #[test]
    fn an_object_that_cannot_be_read_leaves_what_was_known_in_force() {
        let mut world = World::default();
        world.applied(ROUTES, route("r", "1", "h", &json!({}))).unwrap();
        let mut broken = route("r", "2", "h", &json!({}));
        broken.data["spec"]["hostnames"] = json!(5);
        assert!(world.applied(ROUTES, broken).is_err());
        assert_eq!(world.snapshot().http_routes.len(), 1);
    }

    #[test]
    fn pods_are_known_by_their_gateway_until_they_are_deleted() {
        let mut world = World::default();
        let gateway = ObjectKey::new("a", "g");
        let effect = world.applied(Source::Pods, pod("p", "10.0.0.1", false)).unwrap();
        assert_eq!(effect.pods, [gateway.clone()].into());
        let known: Vec<_> = world.pods(&gateway).cloned().collect();
        assert_eq!((known.len(), known[0].ready), (1, true));
        assert_eq!(world.applied(Source::Pods, pod("p", "10.0.0.1", false)).unwrap(), Effect::default());
        world.applied(Source::Pods, pod("p", "10.0.0.1", true)).unwrap();
        assert_eq!(world.pods(&gateway).count(), 0);
    }

    #[test]
    fn something_of_a_data_plane_that_is_deleted_is_told() {
        let (map, gateway) = (pod("index", "10.0.0.1", false), ObjectKey::new("a", "g"));
        let watched = || {
            let mut world = World::default();
            world.applied(MAPS, map.clone()).unwrap();
            world
        };
        assert_eq!(watched().deleted(MAPS, &map).lost, [gateway.clone()].into());
        let mut world = watched();
        world.restarted(MAPS);
        assert_eq!(world.listed(MAPS).lost, [gateway].into(), "it was deleted while nobody watched");
        world.restarted(MAPS);
        assert_eq!(world.listed(MAPS), Effect::default(), "that is told once");
    }

    #[test]
    fn an_object_is_of_the_gateway_of_its_label_if_the_operator_made_it() {
        let mut forged = pod("x", "10.0.0.1", false);
        forged.metadata.annotations = Some([(names::GATEWAY.to_owned(), "other".to_owned())].into());
        assert_eq!(gateway_of(&forged), Some(ObjectKey::new("a", "g")));
        forged.metadata.labels.as_mut().unwrap().remove(names::MANAGED_BY);
        assert_eq!(gateway_of(&forged), None);
    }

    #[test]
    fn a_write_does_not_bring_back_what_has_been_overtaken() {
        let mut world = World::default();
        let job = |version: &str| Job {
            id: id("r"),
            resource_version: Some(version.into()),
            before: None,
            status: json!({}),
        };
        let version = |world: &World| world.live(&id("r")).and_then(|it| it.resource_version.clone());
        world.applied(ROUTES, route("r", "1", "h", &json!({}))).unwrap();
        world.wrote(&job("1"), &route("r", "2", "h", &json!({})));
        assert_eq!(version(&world).as_deref(), Some("2"));
        world.applied(ROUTES, route("r", "4", "h", &json!({}))).unwrap();
        world.wrote(&job("2"), &route("r", "3", "h", &json!({})));
        assert_eq!(version(&world).as_deref(), Some("4"));
        world.deleted(ROUTES, &route("r", "4", "h", &json!({})));
        world.wrote(&job("4"), &route("r", "5", "h", &json!({})));
        assert_eq!(version(&world), None);
    }
}
