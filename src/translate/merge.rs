//! Which of two objects' words holds, field by field: a GatewayClass's parameters and a Gateway's own, parameters and
//! a policy.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Volume, VolumeMount};

use crate::api::logging_policy::LoggingSpec;
use crate::api::parameters::{GatewayClassParametersSpec, Scheduling, ServiceParameters, Storage, Varnishd};

/// A Gateway's own parameters over those of its class. A field that the Gateway's set wins; `service`, `varnishd`,
/// `storage`, `scheduling` and `logging` are merged field by field, and volumes and their mounts one by one. The number
/// of pods is one thing: `replicas` wins over the class's `autoscaling`, and the other way round.
pub(super) fn parameters(
    class: GatewayClassParametersSpec,
    own: GatewayClassParametersSpec,
) -> GatewayClassParametersSpec {
    let sized = own.replicas.is_some() || own.autoscaling.is_some();
    let (replicas, autoscaling) =
        if sized { (own.replicas, own.autoscaling) } else { (class.replicas, class.autoscaling) };
    GatewayClassParametersSpec {
        image: own.image.or(class.image),
        replicas,
        autoscaling,
        resources: own.resources.or(class.resources),
        service: both(class.service, own.service, service),
        storage: both(class.storage, own.storage, |class, own| Storage { size: own.size.or(class.size) }),
        varnishd: both(class.varnishd, own.varnishd, varnishd),
        logging: both(class.logging, own.logging, logging),
        scheduling: both(class.scheduling, own.scheduling, scheduling),
        extra_volumes: both(class.extra_volumes, own.extra_volumes, |class, own| {
            keyed(class, own, |it: &Volume| it.name.clone())
        }),
        extra_volume_mounts: both(class.extra_volume_mounts, own.extra_volume_mounts, |class, own| {
            keyed(class, own, |it: &VolumeMount| it.mount_path.clone())
        }),
        vcl: own.vcl.or(class.vcl),
    }
}

/// An access log over its defaults. A field that is set wins; what is never to be logged adds up.
pub(super) fn logging(defaults: LoggingSpec, own: LoggingSpec) -> LoggingSpec {
    let mut redact_headers = defaults.redact_headers;
    redact_headers.extend(own.redact_headers);
    redact_headers.sort();
    redact_headers.dedup();
    LoggingSpec {
        enabled: own.enabled.or(defaults.enabled),
        format: own.format.or(defaults.format),
        query: own.query.or(defaults.query),
        verbosity: own.verbosity.or(defaults.verbosity),
        redact_headers,
    }
}

fn service(class: ServiceParameters, own: ServiceParameters) -> ServiceParameters {
    ServiceParameters {
        type_: own.type_.or(class.type_),
        annotations: entries(class.annotations, own.annotations),
        load_balancer_class: own.load_balancer_class.or(class.load_balancer_class),
        external_traffic_policy: own.external_traffic_policy.or(class.external_traffic_policy),
    }
}

fn varnishd(class: Varnishd, own: Varnishd) -> Varnishd {
    let extra_arguments =
        if own.extra_arguments.is_empty() { class.extra_arguments } else { own.extra_arguments };
    Varnishd { parameters: entries(class.parameters, own.parameters), extra_arguments }
}

fn scheduling(class: Scheduling, own: Scheduling) -> Scheduling {
    Scheduling {
        node_selector: entries(class.node_selector, own.node_selector),
        tolerations: if own.tolerations.is_empty() { class.tolerations } else { own.tolerations },
        affinity: own.affinity.or(class.affinity),
        topology_spread_constraints: own.topology_spread_constraints.or(class.topology_spread_constraints),
        priority_class_name: own.priority_class_name.or(class.priority_class_name),
    }
}

fn both<T>(class: Option<T>, own: Option<T>, merge: impl FnOnce(T, T) -> T) -> Option<T> {
    match (class, own) {
        (Some(class), Some(own)) => Some(merge(class, own)),
        (class, own) => own.or(class),
    }
}

fn entries(mut class: BTreeMap<String, String>, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
    class.extend(own);
    class
}

/// The items of both, those of the class first; of two with the same key the Gateway's.
fn keyed<T>(class: Vec<T>, own: Vec<T>, key: impl Fn(&T) -> String) -> Vec<T> {
    let mut merged: Vec<T> =
        class.into_iter().filter(|it| own.iter().all(|own| key(own) != key(it))).collect();
    merged.extend(own);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_parameters_over_its_classs() {
        let spec = |yaml: &str| serde_saphyr::from_str::<GatewayClassParametersSpec>(yaml).unwrap();
        for (class, own, expected) in [
            ("{image: a, replicas: 2}", "{image: b}", "{image: b, replicas: 2}"),
            ("{autoscaling: {maxReplicas: 3}}", "{replicas: 2}", "{replicas: 2}"),
            ("{replicas: 2}", "{autoscaling: {maxReplicas: 3}}", "{autoscaling: {maxReplicas: 3}}"),
            (
                "{service: {type: NodePort, annotations: {a: '1', b: '1'}}}",
                "{service: {annotations: {b: '2'}}}",
                "{service: {type: NodePort, annotations: {a: '1', b: '2'}}}",
            ),
            (
                "{varnishd: {parameters: {a: '1', b: '1'}, extraArguments: [-i, a]}}",
                "{varnishd: {parameters: {b: '2'}}}",
                "{varnishd: {parameters: {a: '1', b: '2'}, extraArguments: [-i, a]}}",
            ),
            (
                "{extraVolumes: [{name: a, emptyDir: {}}, {name: b, emptyDir: {}}]}",
                "{extraVolumes: [{name: b, configMap: {name: x}}]}",
                "{extraVolumes: [{name: a, emptyDir: {}}, {name: b, configMap: {name: x}}]}",
            ),
            (
                "{logging: {enabled: true, query: a, redactHeaders: [cookie]}}",
                "{logging: {format: {ncsa: '%h'}, query: b, redactHeaders: [authorization]}}",
                "{logging: {enabled: true, format: {ncsa: '%h'}, query: b, redactHeaders: [authorization, cookie]}}",
            ),
            (
                "{storage: {size: 1Gi}, vcl: {configMapRef: {name: a}}}",
                "{}",
                "{storage: {size: 1Gi}, vcl: {configMapRef: {name: a}}}",
            ),
        ] {
            assert_eq!(parameters(spec(class), spec(own)), spec(expected), "{class} and {own}");
        }
    }
}
