//! `GatewayClassParameters`: how the data planes of a GatewayClass, or of one Gateway, are run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logging_policy::LoggingSpec;
use super::validation::rules;

/// Parameters of varnishd that Copal itself sets, and that what it generates relies on.
const OWN_PARAMETERS: [&str; 14] = [
    "cc_command",
    "cli_limit",
    "default_ttl",
    "feature",
    "max_retries",
    "max_vcl",
    "max_vcl_handling",
    "vcc_allow_inline_c",
    "vcc_err_unref",
    "vcc_feature",
    "vcc_unsafe_path",
    "vcl_path",
    "vmod_path",
    "vsl_mask",
];

/// How data planes are run. A GatewayClass names it in `spec.parametersRef`, a Gateway of the same namespace in
/// `spec.infrastructure.parametersRef`; a field that the Gateway's parameters set wins over the class's.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "copal.dev",
    version = "v1alpha1",
    kind = "GatewayClassParameters",
    plural = "gatewayclassparameters",
    shortname = "gcparams",
    category = "copal",
    namespaced,
    derive = "PartialEq",
    doc = "How data planes are run. A GatewayClass names it in spec.parametersRef, a Gateway of the same namespace in spec.infrastructure.parametersRef.",
    printcolumn = r#"{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}"#,
    printcolumn = r#"{"name": "Storage", "type": "string", "jsonPath": ".spec.storage.size"}"#,
    printcolumn = r#"{"name": "VCL", "type": "string", "jsonPath": ".spec.vcl.configMapRef.name"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("!has(self.replicas) || self.replicas >= 0", "replicas: expected 0 or more"),
    ("!(has(self.replicas) && has(self.autoscaling))", "replicas and autoscaling exclude each other"),
    (
        "!has(self.image) || self.image.matches('^[^ \\\\t\\\\r\\\\n]+$')",
        "image: expected the name of an image, without spaces",
    ),
])))]
pub struct GatewayClassParametersSpec {
    /// The image of the data plane's container; the operator's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub image: Option<String>,
    /// Pods of a data plane; 1 if absent. Not used where `autoscaling` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// A HorizontalPodAutoscaler decides on the number of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// CPU and memory of the data plane's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// The Service in front of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceParameters>,
    /// The cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// varnishd itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub varnishd: Option<Varnishd>,
    /// The access log, unless a VarnishLoggingPolicy says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<LoggingSpec>,
    /// Where pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Volumes added to the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub extra_volumes: Option<Vec<Volume>>,
    /// Where those volumes are mounted in the data plane's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub extra_volume_mounts: Option<Vec<VolumeMount>>,
    /// VCL of the user's own, called at named places of the generated VCL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcl: Option<UserVcl>,
}

/// Bounds and goal of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("self.maxReplicas >= 1", "maxReplicas: expected 1 or more"),
    ("!has(self.minReplicas) || self.minReplicas >= 1", "minReplicas: expected 1 or more"),
    ("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas || self.maxReplicas < 1", "minReplicas is more than maxReplicas"),
    (
        "!has(self.targetCpuUtilizationPercentage) || self.targetCpuUtilizationPercentage >= 1",
        "targetCpuUtilizationPercentage: expected 1 or more",
    ),
])))]
pub struct Autoscaling {
    /// Pods at least; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Pods at most.
    pub max_replicas: i32,
    /// CPU use to aim at, in percent of the requests; 80 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cpu_utilization_percentage: Option<i32>,
}

/// The Service in front of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.externalTrafficPolicy) && has(self.type) && self.type == 'ClusterIP')",
        "externalTrafficPolicy is for the types LoadBalancer and NodePort",
    ),
    (
        "!(has(self.loadBalancerClass) && has(self.type) && self.type != 'LoadBalancer')",
        "loadBalancerClass is for the type LoadBalancer",
    ),
])))]
pub struct ServiceParameters {
    /// `LoadBalancer` if absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Annotations, after those of the Gateway's `spec.infrastructure`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// `spec.loadBalancerClass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub load_balancer_class: Option<String>,
    /// `spec.externalTrafficPolicy`: `Cluster` or `Local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
}

/// Types of Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "each variant is the API's value of its name")]
pub enum ServiceType {
    ClusterIP,
    NodePort,
    #[default]
    LoadBalancer,
}

/// Which nodes traffic from outside may go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "each variant is the API's value of its name")]
pub enum TrafficPolicy {
    #[default]
    Cluster,
    Local,
}

/// The cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.size) || self.size.matches('^[1-9][0-9]{0,5}(Mi|Gi|Ti|M|G|T)$')",
    "size: expected a whole number of Mi, Gi, Ti, M, G or T, such as 256Mi",
)])))]
pub struct Storage {
    /// Memory for cached objects, as a whole number of Mi, Gi, Ti, M, G or T; `256Mi` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub size: Option<String>,
}

/// varnishd itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = varnishd_rules()))]
pub struct Varnishd {
    /// Parameters by name, as in `varnishd -p NAME=VALUE`. Those that Copal itself sets are refused, and so is a
    /// `timeout_idle` below 2 seconds, which is how generated VCL knows that it drains.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub parameters: BTreeMap<String, String>,
    /// Further arguments for varnishd, one an item. Options that Copal itself gives are refused, and so are `-p` and
    /// `-r`, which are what `parameters` is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub extra_arguments: Vec<String>,
}

fn varnishd_rules() -> serde_json::Value {
    let own = OWN_PARAMETERS.map(|name| format!("'{name}'")).join(", ");
    let known = format!("!has(self.parameters) || self.parameters.all(name, !(name in [{own}]))");
    rules(&[
        (
            "!has(self.parameters) || self.parameters.all(name, name.matches('^[a-z][a-z0-9_]{0,63}$') && \
             self.parameters[name].matches('^[ -~]+$'))",
            "parameters: expected names of small letters, digits and _, and values that are not empty, in one line of ASCII",
        ),
        (&known, &format!("parameters: set by Copal itself are {}", OWN_PARAMETERS.join(", "))),
        (
            "!has(self.parameters) || !('timeout_idle' in self.parameters) || \
             self.parameters['timeout_idle'].matches('^([2-9]|[1-9][0-9]{1,8})([.][0-9]{1,3})?s?$')",
            "parameters: timeout_idle: expected 2 seconds or more, as a number of seconds",
        ),
        (
            "!has(self.extraArguments) || self.extraArguments.all(it, !it.matches('^-[CFMSVbdfnxpr]'))",
            "extraArguments: set by Copal itself are -C -F -M -S -V -b -d -f -n -x, and -p and -r are said by parameters",
        ),
    ])
}

/// Where pods run; each field is the pod's field of its name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "each field is the API's field of its name")]
pub struct Scheduling {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

/// VCL of the user's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserVcl {
    /// The ConfigMap that has it, in the namespace of the GatewayClassParameters.
    pub config_map_ref: ConfigMapRef,
}

/// Names a key of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "self.name.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
        "name: expected the name of a ConfigMap",
    ),
    (
        "!has(self.key) || self.key.matches('^[a-zA-Z0-9._-]+$')",
        "key: expected letters, digits, dots, dashes and underscores",
    ),
])))]
pub struct ConfigMapRef {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The key; `main.vcl` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
}

impl ConfigMapRef {
    /// The key that has the text.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("main.vcl")
    }
}
