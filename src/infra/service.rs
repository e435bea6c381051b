//! The Service in front of the pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Site;
use crate::api::parameters::{ServiceType, TrafficPolicy};

pub(super) fn service(site: &Site<'_>) -> Service {
    let parameters = site.plane.parameters.service.clone().unwrap_or_default();
    let mut metadata = site.metadata();
    if !parameters.annotations.is_empty() {
        metadata.annotations.get_or_insert_default().extend(parameters.annotations);
    }
    let type_ = parameters.type_.unwrap_or_default();
    // What the merged parameters of class and Gateway say of another type would make the API server refuse it all.
    let is_balanced = type_ == ServiceType::LoadBalancer;
    let policy = parameters.external_traffic_policy.filter(|_| type_ != ServiceType::ClusterIP);
    let http = site.plane.http_ports.iter().map(|it| port("http", *it));
    let https = site.plane.tls_ports.iter().map(|it| port("https", *it));
    let spec = ServiceSpec {
        type_: Some(type_name(type_).to_owned()),
        selector: Some(site.selector()),
        ports: Some(http.chain(https).collect()),
        load_balancer_class: parameters.load_balancer_class.filter(|_| is_balanced),
        // A load balancer gives out one address; that there are others to be had shows in Programmed.
        load_balancer_ip: site.plane.addresses.first().filter(|_| is_balanced).map(ToString::to_string),
        external_traffic_policy: policy.map(|it| policy_name(it).to_owned()),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

fn port(scheme: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(format!("{scheme}-{port}")),
        port: port.into(),
        target_port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

fn type_name(type_: ServiceType) -> &'static str {
    match type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

fn policy_name(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}
