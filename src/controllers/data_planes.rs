//! The data planes of all Gateways: what each is to serve, what it says of that, and the tasks that see to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::core::DynamicObject;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::acknowledge::{Acknowledged, Question, acknowledge};
use super::engine::Input;
use super::progress::Progress;
use super::publish::{PlaneObjects, Wanted, publish};
use super::world::{Pod, World};
use crate::bundle::logging::Logging;
use crate::infra::{self, names};
use crate::model::Model;
use crate::snapshot::{Kind, ObjectId, ObjectKey};
use crate::status::{Context, Plane, Programmed};
use crate::translate::data_plane::DataPlane;
use crate::translate::{Report, Translation};
use crate::vcl::Renderer;

/// What a data plane's tasks tell.
#[derive(Clone, Debug)]
pub enum Told {
    /// Its objects are in the cluster, or why not.
    Applied(Option<String>),
    /// Its pods have answered.
    Acknowledged(Box<Acknowledged>),
}

/// What it takes to run data planes.
pub struct Tools {
    /// The API server.
    pub client: Client,
    /// What their objects depend on besides the Gateway.
    pub settings: infra::Settings,
    /// Who is told.
    pub inputs: mpsc::UnboundedSender<Input>,
}

/// All data planes.
pub struct DataPlanes {
    tools: Tools,
    entries: BTreeMap<ObjectKey, Entry>,
}

/// One data plane.
struct Entry {
    name: String,
    /// Objects of the data plane that this one takes the place of.
    leftovers: Vec<DynamicObject>,
    plane: DataPlane,
    model: Model,
    renderer: Renderer,
    wanted: watch::Sender<Option<Wanted>>,
    pods: watch::Sender<Vec<Pod>>,
    progress: Progress,
    /// Ended with the entry.
    _tasks: JoinSet<()>,
}

impl DataPlanes {
    /// No data planes yet.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self { tools, entries: BTreeMap::new() }
    }

    /// Brings the data planes in line with a translation. One whose Gateway is not accepted any more goes on as it was;
    /// one whose Gateway is gone, or not ours, ends: its objects go with the Gateway.
    pub fn update(&mut self, translation: &Translation, world: &World, now: Duration) {
        self.entries.retain(|gateway, _| translation.report.gateways.contains_key(gateway));
        for (gateway, plane) in &translation.planes {
            let Some(model) = translation.models.get(gateway) else { continue };
            let leftovers = self.renamed(gateway, plane);
            let tools = &self.tools;
            let entry = self.entries.entry(gateway.clone());
            let entry = entry.or_insert_with(|| Entry::start(tools, gateway, plane, world, leftovers));
            entry.update(tools, gateway, plane, model, now);
        }
    }

    /// With another class a data plane has another name: it begins anew, and what was there before is left over.
    fn renamed(&mut self, gateway: &ObjectKey, plane: &DataPlane) -> Vec<DynamicObject> {
        let name = names::name(&gateway.name, &plane.class);
        if self.entries.get(gateway).is_none_or(|entry| entry.name == name) {
            return Vec::new();
        }
        let before = self.entries.remove(gateway).and_then(|entry| entry.wanted.borrow().clone());
        before.map(|before| before.objects.wanted.clone()).unwrap_or_default()
    }

    /// Something of a data plane was deleted.
    pub fn lost(&mut self, gateway: &ObjectKey) {
        if let Some(entry) = self.entries.get(gateway) {
            entry.wanted.send_modify(|wanted| {
                if let Some(wanted) = wanted {
                    wanted.losses += 1;
                }
            });
        }
    }

    /// A data plane's pods are others.
    pub fn pods(&mut self, gateway: &ObjectKey, pods: Vec<Pod>) {
        if let Some(entry) = self.entries.get(gateway) {
            entry.pods.send_replace(pods);
        }
    }

    /// A data plane has told something, while its Gateway had that generation.
    pub fn told(&mut self, gateway: &ObjectKey, told: Told, generation: Option<i64>) {
        let Some(entry) = self.entries.get_mut(gateway) else { return };
        match told {
            Told::Applied(trouble) => entry.progress.applied(trouble),
            Told::Acknowledged(answer) => entry.progress.acknowledged(*answer, generation),
        }
    }

    /// When [`Self::context`] may come to something else without anything having happened.
    #[must_use]
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        self.entries.values().filter_map(|entry| entry.progress.next_change(now)).min()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// What is known of all data planes, for the statuses.
    #[must_use]
    pub fn context(&self, report: &Report, world: &World, now: Duration, time: Time) -> Context {
        let planes = self.entries.iter().map(|(gateway, entry)| {
            let generation = report.gateways.get(gateway).and_then(|it| it.generation);
            (gateway.clone(), entry.say(gateway, generation, world, now))
        });
        let nothing = Plane {
            programmed: Programmed::Pending("there is no data plane yet".into()),
            addresses: Vec::new(),
        };
        Context { planes: planes.collect(), other: nothing, now: time }
    }
}

impl Entry {
    /// Starts the tasks that publish what is wanted, and ask pods about it.
    fn start(
        tools: &Tools,
        gateway: &ObjectKey,
        plane: &DataPlane,
        world: &World,
        leftovers: Vec<DynamicObject>,
    ) -> Self {
        let name = names::name(&gateway.name, &plane.class);
        let (wanted, wanted_now) = watch::channel(None);
        let (published, published_now) = watch::channel(None);
        let (pods, pods_now) = watch::channel(world.pods(gateway).cloned().collect());
        let mut tasks = JoinSet::new();
        let tell = tell(tools, gateway, Told::Applied);
        tasks.spawn(publish(
            tools.client.clone(),
            gateway.clone(),
            name.clone(),
            wanted_now,
            published,
            tell,
        ));
        let question = Question { published: published_now, pods: pods_now, port: infra::ADMIN_PORT };
        let tell = tell_boxed(tools, gateway);
        tasks.spawn(acknowledge(question, tell));
        Self {
            name,
            leftovers,
            plane: DataPlane::default(),
            model: Model::default(),
            renderer: Renderer::default(),
            wanted,
            pods,
            progress: Progress::default(),
            _tasks: tasks,
        }
    }

    fn update(
        &mut self,
        tools: &Tools,
        gateway: &ObjectKey,
        plane: &DataPlane,
        model: &Model,
        now: Duration,
    ) {
        let before = self.wanted.borrow().clone();
        let same_bundle = self.model == *model && self.plane.logging == plane.logging;
        let bundle = match &before {
            Some(before) if same_bundle => Arc::clone(&before.bundle),
            _ => Arc::new(self.render(model, plane.logging.as_ref())),
        };
        let objects = match &before {
            Some(before) if self.plane == *plane => Arc::clone(&before.objects),
            _ => Arc::new(self.objects(tools, gateway, plane)),
        };
        let same = before.as_ref().is_some_and(|before| {
            Arc::ptr_eq(&before.bundle, &bundle) && Arc::ptr_eq(&before.objects, &objects)
        });
        if same {
            return;
        }
        self.progress.want(&bundle.manifest.revision, now);
        self.plane = plane.clone();
        let losses = before.map(|it| it.losses).unwrap_or_default();
        self.wanted.send_replace(Some(Wanted { bundle, objects, losses }));
    }

    fn objects(&self, tools: &Tools, gateway: &ObjectKey, plane: &DataPlane) -> PlaneObjects {
        let unwanted = infra::unwanted(gateway, plane).into_iter().chain(self.leftovers.iter().cloned());
        PlaneObjects {
            wanted: infra::desired(gateway, plane, &tools.settings),
            unwanted: unwanted.collect(),
            metadata: infra::metadata(gateway, plane),
            uid: plane.uid.clone(),
        }
    }

    fn render(&mut self, model: &Model, logging: Option<&Logging>) -> crate::bundle::Bundle {
        self.model = model.clone();
        self.renderer.render(model).with_logging(logging.cloned())
    }

    fn say(&self, gateway: &ObjectKey, generation: Option<i64>, world: &World, now: Duration) -> Plane {
        let service = ObjectId {
            kind: Kind::Service,
            key: ObjectKey::new(gateway.namespace.as_str(), self.name.as_str()),
        };
        let addresses = assigned(world, &service);
        let programmed = address_problem(&self.plane.addresses, &addresses)
            .unwrap_or_else(|| self.progress.programmed(generation, now));
        Plane { programmed, addresses }
    }
}

fn tell<T: Send + 'static>(
    tools: &Tools,
    gateway: &ObjectKey,
    told: impl Fn(T) -> Told + Send + 'static,
) -> impl Fn(T) + Send + 'static {
    let (inputs, gateway) = (tools.inputs.clone(), gateway.clone());
    // If the engine has ended, nobody needs to know.
    move |it| drop(inputs.send(Input::Told(gateway.clone(), told(it))))
}

fn tell_boxed(tools: &Tools, gateway: &ObjectKey) -> impl Fn(Acknowledged) + Send + 'static {
    tell(tools, gateway, |answer| Told::Acknowledged(Box::new(answer)))
}

/// The addresses under which a Service is reached: the load balancer's, or the cluster's where it has none.
fn assigned(world: &World, service: &ObjectId) -> Vec<String> {
    let status = world.live(service).and_then(|live| live.status.as_ref());
    let ingress = status.and_then(|it| it.pointer("/loadBalancer/ingress")).and_then(Value::as_array);
    let text = |it: &Value| {
        let found = ["ip", "hostname"].into_iter().find_map(|field| it.get(field)?.as_str());
        found.map(str::to_owned)
    };
    let balanced: Vec<_> = ingress.into_iter().flatten().filter_map(text).collect();
    let spec = world.snapshot().services.get(&service.key).and_then(|it| it.spec.as_ref());
    match spec.filter(|it| it.type_.as_deref() != Some("LoadBalancer")) {
        Some(spec) => spec.cluster_ip.iter().filter(|ip| *ip != "None").cloned().collect(),
        None => balanced,
    }
}

/// Why the Gateway cannot be reached as it asks for.
fn address_problem(wanted: &[IpAddr], assigned: &[String]) -> Option<Programmed> {
    let assigned_ips: BTreeSet<IpAddr> = assigned.iter().filter_map(|it| it.parse().ok()).collect();
    if let Some(missing) = wanted.iter().find(|ip| !assigned_ips.contains(ip)) {
        let message = format!("address {missing} of spec.addresses is not assigned to the Gateway's Service");
        return Some(Programmed::AddressNotUsable(message));
    }
    assigned
        .is_empty()
        .then(|| Programmed::AddressNotAssigned("the Gateway's Service has no address yet".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_is_asked_for_must_be_assigned() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let usable = |wanted: &[IpAddr], assigned: &[&str]| {
            let assigned: Vec<_> = assigned.iter().map(|it| (*it).to_owned()).collect();
            address_problem(wanted, &assigned)
        };
        assert_eq!(usable(&[], &["10.0.0.1"]), None);
        assert_eq!(usable(&[ip("10.0.0.1")], &["10.0.0.1"]), None);
        assert!(matches!(usable(&[], &[]), Some(Programmed::AddressNotAssigned(_))));
        for (wanted, assigned) in [
            (&["10.0.0.2"][..], &["10.0.0.1"][..]),
            (&["10.0.0.1", "10.0.0.2"], &["10.0.0.1"]),
            (&["10.0.0.1"], &[]),
        ] {
            let wanted: Vec<_> = wanted.iter().map(|it| ip(it)).collect();
            assert!(matches!(usable(&wanted, assigned), Some(Programmed::AddressNotUsable(_))), "{wanted:?}");
        }
    }
}
