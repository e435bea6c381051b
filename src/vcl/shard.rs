//! A shard: the complete VCL of a few virtual hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;

use super::actions::{OutcomeVcl, Programs, RuleVcl};
use super::hosts::HostTable;
use super::literal::{VclComment, VclIdent, VclString};
use super::programs::{AllowVcl, ChangeVcl, FetchVcl, ResponseVcl};
use super::services::ServiceVcl;
use super::user::{Hooks, UserBlock};
use super::writer::{HostVcl, RequestVcl, Writer, not_found};
use crate::model::{HostPattern, Model, Outcome, Service, ServicePort, UserVcl, VirtualHost};

/// The part of a model that a shard is made from: equal contents give equal VCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Virtual hosts by port, in the order in which they are looked up.
    pub hosts: BTreeMap<u16, Vec<(HostPattern, Arc<VirtualHost>)>>,
    /// Hosts that are only there because others fall back to them.
    pub fallbacks: BTreeMap<u16, Vec<(HostPattern, Arc<VirtualHost>)>>,
    /// Whether there are other ports: only then the port of a request needs to be known.
    pub single_port: bool,
    pub user_vcl: Option<UserVcl>,
}

impl Content {
    pub(super) fn new(model: &Model, members: &[&HostPattern]) -> Self {
        let members: BTreeSet<&HostPattern> = members.iter().copied().collect();
        let mut content = Self {
            hosts: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            single_port: model.ports.len() == 1,
            user_vcl: model.user_vcl.clone(),
        };
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
    /// The hosts that it serves.
    comments: Vec<VclComment>,
    user: Option<UserBlock>,
    /// Which subroutines of the user's are called.
    hooks: Hooks,
    single_port: bool,
    services: Vec<ServiceVcl>,
    requests: Vec<RequestVcl>,
    ports: Vec<PortVcl>,
    hosts: Vec<HostVcl>,
    rules: Vec<RuleVcl>,
    fetches: Vec<FetchVcl>,
    responses: Vec<ResponseVcl>,
}

struct PortVcl {
    /// The socket's name, where it has to be told from others.
    socket: Option<VclString>,
    /// Wildcards, and what serves all other hosts.
    table: HostTable,
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

/// The socket of a port, as varnishd and VCL know it.
pub(super) fn socket(port: u16) -> String {
    format!("http-{port}")
}

impl ShardVcl {
    pub(super) fn new(label: &str, content: &Content) -> Self {
        let mut writer = Writer::default();
        let mut ports = Vec::new();
        for (port, own) in &content.hosts {
            let fallbacks = content.fallbacks.get(port).map(Vec::as_slice).unwrap_or_default();
            let socket = (!content.single_port).then(|| socket(*port));
            let entries = writer.port(socket.as_deref(), own, fallbacks);
            if !entries.is_empty() {
                let table = HostTable::new(*port, entries.into_iter());
                ports.push(PortVcl { socket: socket.as_deref().map(VclString::new), table });
            }
        }
        let Programs { fetches, responses } = writer.programs;
        Self {
            label: VclIdent::new("copal", &[label]),
            comments: writer.comments,
            hooks: content.user_vcl.as_ref().map(|it| Hooks::of(&it.text)).unwrap_or_default(),
            user: content.user_vcl.as_ref().map(UserBlock::new),
            single_port: content.single_port,
            services: content.services().into_iter().map(|(port, it)| ServiceVcl::new(port, it)).collect(),
            requests: writer.requests,
            ports,
            hosts: writer.hosts,
            rules: writer.rules,
            fetches: fetches.0.iter().enumerate().map(|(id, it)| FetchVcl::new(id, it)).collect(),
            responses: responses.0.iter().enumerate().map(|(id, it)| ResponseVcl::new(id, it)).collect(),
        }
    }

    fn has_exact_paths(&self) -> bool {
        self.hosts.iter().any(|host| !host.paths.exact.is_empty())
    }

    fn has_prefixes(&self) -> bool {
        self.hosts.iter().any(|host| host.paths.looks_up_prefixes())
    }

    fn has_plain_rules(&self) -> bool {
        self.requests.iter().any(|request| request.plain.is_some())
    }

    /// Whether the name of a request's host matters.
    fn compares_hosts(&self) -> bool {
        !self.requests.is_empty() || self.ports.iter().any(|port| !port.table.wild.is_empty())
    }

    /// What comes before asking for the look-up's result: the user's own VCL may end `vcl_recv` before it.
    fn where_routed(&self) -> &'static str {
        if self.user.is_some() { r#"var.get("routed") && "# } else { "" }
    }

    /// Whether a host has paths without a rule.
    fn has_gaps(&self) -> bool {
        self.requests.iter().any(|request| request.sub == not_found())
    }

    /// What comes before the host in the look-up.
    fn socket_before_host(&self) -> &'static str {
        if self.single_port { "" } else { r#"local.socket + "/" + "# }
    }

    /// Whether a header is added that cannot be joined with others of its name.
    fn adds_lines(&self) -> bool {
        let branches = || self.rules.iter().flat_map(|rule| &rule.branches);
        let requests = self.rules.iter().map(|rule| &rule.request).chain(branches().map(|it| &it.request));
        let responses = self.responses.iter().map(|it| &it.changes);
        requests.chain(responses).flatten().any(|change| matches!(change, ChangeVcl::AddLine(..)))
    }

    fn has_directors(&self) -> bool {
        self.services.iter().any(|service| service.director.is_some())
    }
}
