//! The pods: a Deployment, its disruption budget, and its autoscaler.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, Sysctl,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{ADMIN_PORT, Settings, Site, names};
use crate::api::parameters::Scheduling;

/// Who runs in the container; no user of the image's.
const USER: i64 = 65532;
/// How long requests in flight may take to end, in seconds.
const GRACE: i64 = 600;
/// For how long connections are accepted after the signal to end, in seconds: until every proxy has heard of it.
const DRAIN_DELAY: &str = "10";
/// Memory for cached objects where the parameters say nothing.
const STORAGE: &str = "256Mi";
/// The reloader's state folder.
const STATE: &str = "/run/copal";
/// Seconds for which a pod may take to load its first bundle.
const START_LIMIT: i32 = 600;

pub(super) fn deployment(site: &Site<'_>, settings: &Settings) -> Deployment {
    let parameters = &site.plane.parameters;
    let replicas = parameters.autoscaling.is_none().then(|| parameters.replicas.unwrap_or(1));
    let rolling = RollingUpdateDeployment {
        max_unavailable: Some(IntOrString::Int(0)),
        max_surge: Some(IntOrString::Int(1)),
    };
    let spec = DeploymentSpec {
        replicas,
        selector: LabelSelector { match_labels: Some(site.selector()), ..LabelSelector::default() },
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(rolling),
        }),
        template: template(site, settings),
        ..DeploymentSpec::default()
    };
    Deployment { metadata: site.metadata(), spec: Some(spec), status: None }
}

fn template(site: &Site<'_>, settings: &Settings) -> PodTemplateSpec {
    let common = site.metadata();
    let mut annotations = common.annotations.unwrap_or_default();
    // Other sockets take other pods; all else reaches running pods.
    annotations.insert(names::SOCKETS.to_owned(), super::sockets(&site.plane.http_ports));
    let metadata =
        ObjectMeta { labels: common.labels, annotations: Some(annotations), ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(pod(site, settings)) }
}

fn pod(site: &Site<'_>, settings: &Settings) -> PodSpec {
    let parameters = &site.plane.parameters;
    let scheduling = parameters.scheduling.clone().unwrap_or_default();
    let own = [volume("run", true), volume("tmp", false)];
    let volumes = own.into_iter().chain(parameters.extra_volumes.iter().flatten().cloned());
    PodSpec {
        service_account_name: Some(site.name.clone()),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE),
        security_context: Some(pod_security()),
        containers: vec![container(site, settings)],
        volumes: Some(volumes.collect()),
        topology_spread_constraints: Some(spread(site, &scheduling)),
        node_selector: (!scheduling.node_selector.is_empty()).then_some(scheduling.node_selector),
        tolerations: (!scheduling.tolerations.is_empty()).then_some(scheduling.tolerations),
        affinity: scheduling.affinity,
        priority_class_name: scheduling.priority_class_name,
        ..PodSpec::default()
    }
}

/// Listener ports are the container's own, so ports below 1024 must be open to everybody in the pod.
fn pod_security() -> PodSecurityContext {
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

fn spread(site: &Site<'_>, scheduling: &Scheduling) -> Vec<TopologySpreadConstraint> {
    scheduling.topology_spread_constraints.clone().unwrap_or_else(|| {
        let selector = LabelSelector { match_labels: Some(site.selector()), ..LabelSelector::default() };
        let over_nodes = TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector),
            ..TopologySpreadConstraint::default()
        };
        vec![over_nodes]
    })
}

/// Secrets and compiled VCL are kept in memory only.
fn volume(name: &str, in_memory: bool) -> Volume {
    let medium = in_memory.then(|| "Memory".to_owned());
    let limit = Quantity(if in_memory { "512Mi" } else { "64Mi" }.to_owned());
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium, size_limit: Some(limit) }),
        ..Volume::default()
    }
}

fn container(site: &Site<'_>, settings: &Settings) -> Container {
    let parameters = &site.plane.parameters;
    let own = [("run", STATE), ("tmp", "/tmp")].map(|(name, path)| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    });
    let mounts = own.into_iter().chain(parameters.extra_volume_mounts.iter().flatten().cloned());
    Container {
        name: "varnish".to_owned(),
        image: Some(parameters.image.clone().unwrap_or_else(|| settings.image.clone())),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["copal-reloader".to_owned()]),
        args: Some(arguments(site)),
        ports: Some(ports(site)),
        resources: Some(parameters.resources.clone().unwrap_or_else(resources)),
        security_context: Some(security()),
        startup_probe: Some(Probe { failure_threshold: Some(START_LIMIT), ..probe("/readyz", 1) }),
        readiness_probe: Some(Probe { failure_threshold: Some(1), ..probe("/readyz", 2) }),
        liveness_probe: Some(Probe { failure_threshold: Some(6), ..probe("/healthz", 10) }),
        volume_mounts: Some(mounts.collect()),
        ..Container::default()
    }
}

fn arguments(site: &Site<'_>) -> Vec<String> {
    let parameters = &site.plane.parameters;
    let size = parameters.storage.as_ref().and_then(|it| it.size.as_deref()).unwrap_or(STORAGE);
    let named = [
        ("--bundle-from-cluster", names::bundle_source(site.gateway, &site.name)),
        ("--state", STATE.to_owned()),
        ("--admin", format!("0.0.0.0:{ADMIN_PORT}")),
        ("--bind", "0.0.0.0".to_owned()),
        ("--drain-delay", DRAIN_DELAY.to_owned()),
        ("--storage", format!("malloc,{}", varnish_size(size))),
        ("--log-format", "json".to_owned()),
    ];
    let named = named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let varnishd = parameters.varnishd.clone().unwrap_or_default();
    let settings =
        varnishd.parameters.iter().flat_map(|(name, value)| ["-p".to_owned(), format!("{name}={value}")]);
    let passed_on: Vec<String> = settings.chain(varnishd.extra_arguments).collect();
    let separator = (!passed_on.is_empty()).then(|| "--".to_owned());
    named.chain(separator).chain(passed_on).collect()
}

/// A Kubernetes quantity as varnishd takes it: its `m` and `g` are powers of two.
fn varnish_size(quantity: &str) -> String {
    let unit_at = quantity.find(|c: char| !c.is_ascii_digit()).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(unit_at);
    let bytes = |scale: u64| number.parse::<u64>().unwrap_or(256).saturating_mul(scale).to_string();
    match unit {
        "Ki" => format!("{number}k"),
        "Mi" => format!("{number}m"),
        "Gi" => format!("{number}g"),
        "Ti" => format!("{number}t"),
        "k" => format!("{}b", bytes(1_000)),
        "M" => format!("{}b", bytes(1_000_000)),
        "G" => format!("{}b", bytes(1_000_000_000)),
        _ => format!("{}b", bytes(1)),
    }
}

fn ports(site: &Site<'_>) -> Vec<ContainerPort> {
    let http = site.plane.http_ports.iter().map(|it| (format!("http-{it}"), *it));
    let admin = std::iter::once(("admin".to_owned(), ADMIN_PORT));
    let port = |(name, port): (String, u16)| ContainerPort {
        name: Some(name),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    http.chain(admin).map(port).collect()
}

/// What a small Gateway needs. There is no limit on memory unless the parameters set one: a cache that is killed for a
/// peak is worse than one that is large for a moment.
fn resources() -> ResourceRequirements {
    let requests = [("cpu", "50m"), ("memory", "128Mi")];
    let requests = requests.map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned())));
    ResourceRequirements { requests: Some(BTreeMap::from(requests)), ..ResourceRequirements::default() }
}

fn security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

fn probe(path: &str, period: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::Int(ADMIN_PORT.into()),
        ..HTTPGetAction::default()
    };
    Probe { http_get: Some(get), period_seconds: Some(period), timeout_seconds: Some(5), ..Probe::default() }
}

/// Nothing is to be protected where there is one pod at the most.
pub(super) fn disruption_budget(site: &Site<'_>) -> Option<PodDisruptionBudget> {
    let parameters = &site.plane.parameters;
    let most = parameters.autoscaling.as_ref().map_or(parameters.replicas, |it| Some(it.max_replicas));
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(LabelSelector { match_labels: Some(site.selector()), ..LabelSelector::default() }),
        ..PodDisruptionBudgetSpec::default()
    };
    (most.unwrap_or(1) > 1).then(|| PodDisruptionBudget {
        metadata: site.metadata(),
        spec: Some(spec),
        status: None,
    })
}

pub(super) fn autoscaler(site: &Site<'_>) -> Option<HorizontalPodAutoscaler> {
    let wanted = site.plane.parameters.autoscaling.as_ref()?;
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(wanted.target_cpu_utilization_percentage.unwrap_or(80)),
        ..MetricTarget::default()
    };
    let metric = MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    };
    let spec = HorizontalPodAutoscalerSpec {
        min_replicas: Some(wanted.min_replicas.unwrap_or(1)),
        max_replicas: wanted.max_replicas,
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name: site.name.clone(),
        },
        metrics: Some(vec![metric]),
        ..HorizontalPodAutoscalerSpec::default()
    };
    Some(HorizontalPodAutoscaler { metadata: site.metadata(), spec, status: None })
}
