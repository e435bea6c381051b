//! How many pods there are, and may be missing: the disruption budget and the autoscaler.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Site;

/// CPU use that an autoscaler aims at where the parameters say nothing, in percent of the requests.
const USUAL_CPU: i32 = 80;

/// Nothing is to be protected where there is one pod at the most: a budget would only keep nodes from being drained.
pub(super) fn disruption_budget(site: &Site<'_>) -> Option<PodDisruptionBudget> {
    let parameters = &site.plane.parameters;
    let most = match &parameters.autoscaling {
        Some(autoscaling) => autoscaling.max_replicas,
        None => parameters.replicas.unwrap_or(1),
    };
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(LabelSelector { match_labels: Some(site.selector()), ..LabelSelector::default() }),
        ..PodDisruptionBudgetSpec::default()
    };
    let budget = PodDisruptionBudget { metadata: site.metadata(), spec: Some(spec), status: None };
    (most > 1).then_some(budget)
}

pub(super) fn autoscaler(site: &Site<'_>) -> Option<HorizontalPodAutoscaler> {
    let wanted = site.plane.parameters.autoscaling.as_ref()?;
    let spec = HorizontalPodAutoscalerSpec {
        min_replicas: Some(wanted.min_replicas.unwrap_or(1)),
        max_replicas: wanted.max_replicas,
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name: site.name.clone(),
        },
        metrics: Some(vec![cpu(wanted.target_cpu_utilization_percentage.unwrap_or(USUAL_CPU))]),
        ..HorizontalPodAutoscalerSpec::default()
    };
    Some(HorizontalPodAutoscaler { metadata: site.metadata(), spec, status: None })
}

fn cpu(percent: i32) -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(percent),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    }
}
