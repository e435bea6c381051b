//! The pods: a Deployment.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, Sysctl,
    TopologySpreadConstraint, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::container::container;
use super::{Settings, Site};
use crate::bundle::relay::POD_STATE;

/// Who runs in the container; no user of the image's.
const USER: i64 = 65532;
/// How long requests in flight may take to end, in seconds.
const GRACE: i64 = 600;
/// For how long a new pod has to be ready before an old one may end, in seconds: until every proxy has heard of it.
const SETTLED: i32 = 2;

/// A folder that the container may write to; all else is read-only.
pub(super) struct Folder {
    /// The name of its volume.
    pub volume: &'static str,
    /// Where it is mounted.
    pub path: &'static str,
    in_memory: bool,
    limit: &'static str,
}

/// The reloader's: compiled VCL, varnishd's log and secret, keys. In memory, where it counts towards the container's.
pub(super) const STATE: Folder =
    Folder { volume: "copal-state", path: POD_STATE, in_memory: true, limit: "512Mi" };
/// For whatever of the system wants one.
pub(super) const TMP: Folder = Folder { volume: "copal-tmp", path: "/tmp", in_memory: false, limit: "64Mi" };

pub(super) fn deployment(site: &Site<'_>, settings: &Settings) -> Deployment {
    let parameters = &site.plane.parameters;
    let rolling = RollingUpdateDeployment {
        max_unavailable: Some(IntOrString::Int(0)),
        max_surge: Some(IntOrString::Int(1)),
    };
    let spec = DeploymentSpec {
        // An autoscaler's number is its own.
        replicas: parameters.autoscaling.is_none().then(|| parameters.replicas.unwrap_or(1)),
        selector: LabelSelector { match_labels: Some(site.selector()), ..LabelSelector::default() },
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(rolling),
        }),
        min_ready_seconds: Some(SETTLED),
        template: template(site, settings),
        ..DeploymentSpec::default()
    };
    Deployment { metadata: site.metadata(), spec: Some(spec), status: None }
}

fn template(site: &Site<'_>, settings: &Settings) -> PodTemplateSpec {
    // Nothing here may depend on listeners or routes: what is different here takes new pods, with empty caches.
    let ObjectMeta { labels, annotations, .. } = site.metadata();
    let metadata = ObjectMeta { labels, annotations, ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(pod(site, settings)) }
}

fn pod(site: &Site<'_>, settings: &Settings) -> PodSpec {
    let parameters = &site.plane.parameters;
    let scheduling = parameters.scheduling.clone().unwrap_or_default();
    let volumes = [volume(&STATE), volume(&TMP)].into_iter();
    PodSpec {
        service_account_name: Some(site.name.clone()),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE),
        security_context: Some(security()),
        containers: vec![container(site, settings)],
        volumes: Some(volumes.chain(parameters.extra_volumes.iter().flatten().cloned()).collect()),
        topology_spread_constraints: Some(spread(site, scheduling.topology_spread_constraints)),
        node_selector: (!scheduling.node_selector.is_empty()).then_some(scheduling.node_selector),
        tolerations: (!scheduling.tolerations.is_empty()).then_some(scheduling.tolerations),
        affinity: scheduling.affinity,
        priority_class_name: scheduling.priority_class_name,
        ..PodSpec::default()
    }
}

/// Listener ports are the container's own, so ports below 1024 must be open to everybody in the pod.
fn security() -> PodSecurityContext {
    let ports = Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "0".to_owned() };
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        sysctls: Some(vec![ports]),
        ..PodSecurityContext::default()
    }
}

/// Over nodes where there are several, if the parameters say nothing. A constraint that selects no pods means those of
/// this data plane: parameters may be those of many Gateways.
fn spread(site: &Site<'_>, wanted: Option<Vec<TopologySpreadConstraint>>) -> Vec<TopologySpreadConstraint> {
    let mut constraints = wanted.unwrap_or_else(|| vec![over_nodes()]);
    for it in constraints.iter_mut().filter(|it| it.label_selector.is_none()) {
        let selector = LabelSelector { match_labels: Some(site.selector()), ..LabelSelector::default() };
        it.label_selector = Some(selector);
        // Pods of another version do not count: they are about to end.
        it.match_label_keys.get_or_insert_with(|| vec!["pod-template-hash".to_owned()]);
    }
    constraints
}

fn over_nodes() -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

fn volume(folder: &Folder) -> Volume {
    Volume {
        name: folder.volume.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: folder.in_memory.then(|| "Memory".to_owned()),
            size_limit: Some(Quantity(folder.limit.to_owned())),
        }),
        ..Volume::default()
    }
}
