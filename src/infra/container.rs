//! The container of a data plane's pod: the reloader, which starts all else.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, Probe, ResourceRequirements, SecurityContext,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pods::{STATE, TMP};
use super::size::Size;
use super::{ADMIN_PORT, Settings, Site, names};

/// For how long connections are accepted after the signal to end, in seconds: until every proxy has heard of it.
const DRAIN_DELAY: &str = "10";
/// For how long a pod may take to load its first bundle, in seconds.
const START_LIMIT: i32 = 600;
/// What a pod needs besides its cache, in mebibytes: varnishd's threads and log, compiled VCL, reloader and relay.
const BESIDES_CACHE: u64 = 128;

pub(super) fn container(site: &Site<'_>, settings: &Settings) -> Container {
    let parameters = &site.plane.parameters;
    Container {
        name: "varnish".to_owned(),
        image: Some(parameters.image.clone().unwrap_or_else(|| settings.image.clone())),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["copal-reloader".to_owned()]),
        args: Some(arguments(site)),
        ports: Some(vec![admin_port()]),
        resources: Some(resources(site)),
        security_context: Some(security()),
        startup_probe: Some(probe("/readyz", 1, START_LIMIT)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        // The reloader's last line says why it ended.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(site)),
        ..Container::default()
    }
}

fn arguments(site: &Site<'_>) -> Vec<String> {
    let named = [
        ("--bundle-from-cluster", names::bundle_source(site.gateway, &site.name)),
        ("--state", STATE.path.to_owned()),
        ("--admin", format!("0.0.0.0:{ADMIN_PORT}")),
        ("--bind", "0.0.0.0".to_owned()),
        ("--drain-delay", DRAIN_DELAY.to_owned()),
        ("--storage", format!("malloc,{}", cache(site).varnishd())),
        ("--log-format", "json".to_owned()),
    ];
    let named = named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let passed_on = varnishd_arguments(site);
    let separator = (!passed_on.is_empty()).then(|| "--".to_owned());
    named.chain(separator).chain(passed_on).collect()
}

/// What the parameters pass on to varnishd. In a container's arguments `$(NAME)` is a variable and `$$` is a `$`.
fn varnishd_arguments(site: &Site<'_>) -> Vec<String> {
    let varnishd = site.plane.parameters.varnishd.clone().unwrap_or_default();
    let parameters = varnishd.parameters.iter();
    let parameters = parameters.flat_map(|(name, value)| ["-p".to_owned(), format!("{name}={value}")]);
    parameters.chain(varnishd.extra_arguments).map(|it| it.replace('$', "$$")).collect()
}

fn cache(site: &Site<'_>) -> Size {
    Size::of(site.plane.parameters.storage.as_ref().and_then(|it| it.size.as_deref()))
}

/// Ports are only for information. Listeners' are left out: what is different here takes new pods, and theirs come and
/// go in running ones.
fn admin_port() -> ContainerPort {
    ContainerPort {
        name: Some("admin".to_owned()),
        container_port: ADMIN_PORT.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// The parameters', and a request where those say nothing of CPU or memory: a node has to have room for a cache that
/// is full, and an autoscaler counts in parts of the CPU request. There is no limit unless the parameters set one:
/// varnishd's storage is bounded, and a cache that is killed for a peak of its other memory starts empty.
fn resources(site: &Site<'_>) -> ResourceRequirements {
    let mut resources = site.plane.parameters.resources.clone().unwrap_or_default();
    let usual = BTreeMap::from([
        ("cpu".to_owned(), Quantity("50m".to_owned())),
        ("memory".to_owned(), cache(site).and_mebibytes(BESIDES_CACHE)),
    ]);
    // A limit without a request is a request too.
    let limits = resources.limits.clone().unwrap_or_default();
    let mut requests: BTreeMap<_, _> =
        usual.into_iter().filter(|(name, _)| !limits.contains_key(name)).collect();
    requests.extend(resources.requests.take().unwrap_or_default());
    resources.requests = (!requests.is_empty()).then_some(requests);
    resources
}

fn security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::Int(ADMIN_PORT.into()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn mounts(site: &Site<'_>) -> Vec<VolumeMount> {
    let own = [STATE, TMP].map(|folder| VolumeMount {
        name: folder.volume.to_owned(),
        mount_path: folder.path.to_owned(),
        ..VolumeMount::default()
    });
    own.into_iter().chain(site.plane.parameters.extra_volume_mounts.iter().flatten().cloned()).collect()
}
