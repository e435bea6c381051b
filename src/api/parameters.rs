//! `GatewayClassParameters`: how the data planes of a GatewayClass, or of one Gateway, are run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logging_policy::LoggingSpec;

/// How data planes are run. A GatewayClass names it in `spec.parametersRef`, a Gateway of the same namespace in
/// `spec.infrastructure.parametersRef`; a field that the Gateway's parameters set wins over the class's.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "copal.dev",
    version = "v1alpha1",
    kind = "GatewayClassParameters",
    plural = "gatewayclassparameters",
    category = "copal",
    namespaced,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassParametersSpec {
    /// The image of the data plane's container; the operator's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    pub extra_volumes: Option<Vec<Volume>>,
    /// Where those volumes are mounted in the data plane's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_volume_mounts: Option<Vec<VolumeMount>>,
    /// VCL of the user's own, called at named places of the generated VCL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcl: Option<UserVcl>,
}

/// Bounds and goal of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
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
pub struct ServiceParameters {
    /// `LoadBalancer` if absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Annotations, after those of the Gateway's `spec.infrastructure`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// `spec.loadBalancerClass`.
    #[serde(skip_serializing_if = "Option::is_none")]
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
pub struct Storage {
    /// Memory for cached objects, as a Kubernetes quantity such as `256Mi`, which is also what it is if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// varnishd itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Varnishd {
    /// Parameters by name, as in `varnishd -p NAME=VALUE`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Further arguments for varnishd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_arguments: Vec<String>,
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
pub struct ConfigMapRef {
    /// Its name.
    pub name: String,
    /// The key; `main.vcl` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}
