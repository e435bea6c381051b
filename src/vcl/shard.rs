//! A shard: the complete VCL of a few virtual hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;

use super::actions::{OutcomeVcl, Programs, RuleVcl};
use super::hosts::HostTable;
use super::literal::{VclComment, VclIdent, VclString};
use super::paths::{Paths, paths};
use super::programs::{AllowVcl, ChangeVcl, FetchVcl, ResponseVcl};
use crate::model::{
    HostPattern, ListenerId, Model, Outcome, RouteMatch, Rule, Service, ServicePort, VirtualHost,
};

/// The part of a model that a shard is made from: equal contents give equal VCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Virtual hosts by port, in the order in which they are looked up.
    pub hosts: BTreeMap<u16, Vec<(HostPattern, Arc<VirtualHost>)>>,
    /// Hosts that are only there because others fall back to them.
    pub fallbacks: BTreeMap<u16, Vec<(HostPattern, Arc<VirtualHost>)>>,
    /// Whether there are other ports: only then the port of a request needs to be known.
    pub single_port: bool,
}

impl Content {
    pub(super) fn new(model: &Model, members: &[&HostPattern]) -> Self {
        let members: BTreeSet<&HostPattern> = members.iter().copied().collect();
        let mut content =
            Self { hosts: BTreeMap::new(), fallbacks: BTreeMap::new(), single_port: model.ports.len() == 1 };
        for (port, all) in &model.ports {
            let get = |host: &HostPattern| all.get(host).map(|it| (host.clone(), it.clone()));
            let hosts: Vec<_> = members.iter().filter_map(|host| get(host)).collect();
            let mut fallbacks = BTreeSet::new();
            for (_, it) in &hosts {
                let mut next = it.fallback.as_ref();
                while let Some(host) =
                    next.filter(|host| !members.contains(host) && fallbacks.insert((*host).clone()))
                {
                    next = all.get(host).and_then(|it| it.fallback.as_ref());
                }
            }
            let fallbacks: Vec<_> = fallbacks.iter().filter_map(get).collect();
            if !hosts.is_empty() {
                content.hosts.insert(*port, hosts);
                content.fallbacks.insert(*port, fallbacks);
            }
        }
        content
    }

    /// The Services that rules forward to and that have endpoints.
    fn services(&self) -> BTreeMap<&ServicePort, &Service> {
        let hosts = self.hosts.values().chain(self.fallbacks.values()).flatten();
        let branches = hosts.flat_map(|(_, host)| &host.matches).flat_map(|it| &it.rule.branches);
        let named = branches.filter_map(|branch| match &branch.outcome {
            Outcome::Forward(it) => Some((&it.service, it.backend.as_ref())),
            Outcome::Redirect(_) | Outcome::Fail(_) => None,
        });
        named.filter(|(_, service)| !service.endpoints.is_empty()).collect()
    }
}

/// The template of a shard.
#[derive(Template)]
#[template(path = "shard.vcl", escape = "none")]
pub(super) struct ShardVcl {
    label: VclIdent,
    services: Vec<ServiceVcl>,
    ports: Vec<PortVcl>,
    hosts: Vec<HostVcl>,
    rules: Vec<RuleVcl>,
    fetches: Vec<FetchVcl>,
    responses: Vec<ResponseVcl>,
}

struct ServiceVcl {
    comment: VclComment,
    director: VclIdent,
    backends: Vec<BackendVcl>,
}

struct BackendVcl {
    name: VclIdent,
    host: VclString,
    port: VclString,
}

struct PortVcl {
    /// The socket's name, where it has to be told from others.
    socket: Option<VclString>,
    table: HostTable,
}

struct HostVcl {
    sub: VclIdent,
    comment: VclComment,
    paths: Paths,
    /// What its paths begin with in the look-up tables.
    number: VclString,
    fallback: Option<VclIdent>,
}

/// Distinct values, each with a number.
pub(super) struct Numbered<T>(Vec<T>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Numbered<T> {
    /// The number of an equal value, as VCL text.
    pub(super) fn number(&mut self, it: T) -> VclString {
        let known = self.0.iter().position(|known| *known == it);
        let number = known.unwrap_or_else(|| {
            self.0.push(it);
            self.0.len() - 1
        });
        VclString::new(&number.to_string())
    }
}

/// The director of a Service's port.
pub(super) fn director(it: &ServicePort) -> VclIdent {
    VclIdent::new("svc", &[&it.service.namespace, &it.service.name, &it.port.to_string()])
}

/// The socket of a port, as varnishd and VCL know it.
pub(super) fn socket(port: u16) -> String {
    format!("http-{port}")
}

impl ShardVcl {
    pub(super) fn new(label: &str, content: &Content) -> Self {
        let mut writer = Writer::default();
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        for (port, own) in &content.hosts {
            let all = own.iter().chain(content.fallbacks.get(port).into_iter().flatten());
            let subs: BTreeMap<&HostPattern, VclIdent> = all
                .clone()
                .zip(hosts.len()..)
                .map(|((host, _), n)| (host, VclIdent::numbered("host", n)))
                .collect();
            for (host, it) in all {
                let vcl = writer.host(hosts.len(), host, it, &subs);
                hosts.push(vcl);
            }
            let entries = own.iter().filter_map(|(host, _)| Some((host, subs.get(host)?.clone())));
            let socket = (!content.single_port).then(|| VclString::new(&socket(*port)));
            ports.push(PortVcl { socket, table: HostTable::new(*port, entries) });
        }
        let Programs { fetches, responses } = writer.programs;
        Self {
            label: VclIdent::new("copal", &[label]),
            services: content.services().into_iter().map(|(port, it)| ServiceVcl::new(port, it)).collect(),
            ports,
            hosts,
            rules: writer.rules,
            fetches: fetches.0.iter().enumerate().map(|(id, it)| FetchVcl::new(id, it)).collect(),
            responses: responses.0.iter().enumerate().map(|(id, it)| ResponseVcl::new(id, it)).collect(),
        }
    }
}

impl ShardVcl {
    fn has_exact_paths(&self) -> bool {
        self.hosts.iter().any(|host| !host.paths.exact.is_empty())
    }

    fn has_prefixes(&self) -> bool {
        self.hosts.iter().any(|host| host.paths.looks_up_prefixes())
    }
}

impl ServiceVcl {
    fn new(port: &ServicePort, service: &Service) -> Self {
        let backend = |endpoint: &std::net::SocketAddr| {
            let ip = endpoint.ip().to_string();
            let (key, number) = (&port.service, endpoint.port().to_string());
            let dashed = ip.replace(['.', ':'], "-");
            BackendVcl {
                name: VclIdent::new(
                    "svc",
                    &[&key.namespace, &key.name, &port.port.to_string(), &dashed, &number],
                ),
                host: VclString::new(&ip),
                port: VclString::new(&number),
            }
        };
        Self {
            comment: VclComment::new(format_args!("Service {port}")),
            director: director(port),
            backends: service.endpoints.iter().map(backend).collect(),
        }
    }
}

/// Collects what the virtual hosts of a shard share.
#[derive(Default)]
struct Writer {
    rules: Vec<RuleVcl>,
    /// The rules that have a subroutine, in the order of `rules`.
    known: Vec<(ListenerId, Arc<Rule>)>,
    programs: Programs,
}

impl Writer {
    fn host(
        &mut self,
        number: usize,
        host: &HostPattern,
        it: &VirtualHost,
        subs: &BTreeMap<&HostPattern, VclIdent>,
    ) -> HostVcl {
        HostVcl {
            sub: VclIdent::numbered("host", number),
            comment: VclComment::new(format_args!("{host}, {}", it.listener)),
            paths: paths(number, it, |route_match| self.rule(&it.listener, route_match)),
            number: VclString::new(&number.to_string()),
            fallback: it.fallback.as_ref().and_then(|host| subs.get(host)).cloned(),
        }
    }

    /// The subroutine of a match's rule; rules of several matches and hosts of a listener share one.
    fn rule(&mut self, listener: &ListenerId, it: &RouteMatch) -> VclIdent {
        let same = |(known, rule): &(ListenerId, Arc<Rule>)| known == listener && Arc::ptr_eq(rule, &it.rule);
        if let Some(place) = self.known.iter().position(same) {
            return VclIdent::numbered("rule", place);
        }
        let sub = VclIdent::numbered("rule", self.known.len());
        self.known.push((listener.clone(), it.rule.clone()));
        self.rules.push(RuleVcl::new(sub.clone(), listener, &it.rule, &mut self.programs));
        sub
    }
}
