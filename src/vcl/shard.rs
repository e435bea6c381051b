//! A shard: the complete VCL of a few virtual hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;

use super::actions::{OutcomeVcl, Programs, RuleVcl, copied};
use super::hosts::HostTable;
use super::literal::{VclComment, VclExpr, VclIdent, VclString};
use super::programs::{AllowVcl, ChangeVcl, FetchVcl, ResponseVcl};
use super::services::{ServiceVcl, Target};
use super::sockets::{Port, Sockets};
use super::upstreams::SocketFolder;
use super::user::{Hooks, UserBlock};
use super::writer::{HostVcl, Names, RequestVcl, Writer, not_found};
use crate::model::{HostPattern, Model, Outcome, UserVcl, VirtualHost};

/// The part of a model that a shard is made from: equal contents give equal VCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Virtual hosts by port, in the order in which they are looked up.
    pub hosts: BTreeMap<Port, Vec<(HostPattern, Arc<VirtualHost>)>>,
    /// Hosts that are only there because others fall back to them.
    pub fallbacks: BTreeMap<Port, Vec<(HostPattern, Arc<VirtualHost>)>>,
    /// How ports are told apart, also those that have no host here.
    pub sockets: Sockets,
    pub user_vcl: Option<UserVcl>,
    /// Whether rules name themselves to the access log.
    pub logs: bool,
}

impl Content {
    pub(super) fn new(model: &Model, members: &[&HostPattern]) -> Self {
        let members: BTreeSet<&HostPattern> = members.iter().copied().collect();
        let mut content = Self {
            hosts: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            sockets: Sockets::of(model),
            user_vcl: model.user_vcl.clone(),
            logs: model.logs,
        };
        for (port, all) in Port::all(model).zip(model.ports.values()) {
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
                content.hosts.insert(port, hosts);
                content.fallbacks.insert(port, fallbacks);
            }
        }
        content
    }

    /// What rules forward to, each once, as far as it has endpoints.
    pub(super) fn targets(&self) -> Vec<Target<'_>> {
        let hosts = self.hosts.values().chain(self.fallbacks.values()).flatten();
        let branches = hosts.flat_map(|(_, host)| &host.matches).flat_map(|it| &it.rule.branches);
        let forwards = branches.filter_map(|branch| match &branch.outcome {
            Outcome::Forward(it) if !it.backend.endpoints.is_empty() => Some(it),
            Outcome::Forward(_) | Outcome::Redirect(_) | Outcome::Fail(_) => None,
        });
        let targets: BTreeMap<_, _> = forwards.map(Target::of).map(|it| (it.key(), it)).collect();
        targets.into_values().collect()
    }
}

/// The template of a shard.
#[derive(Template)]
#[template(path = "shard.vcl", escape = "none")]
pub(super) struct ShardVcl {
    label: VclIdent,
    /// The hosts that it serves.
    comments: Vec<VclComment>,
    sockets: Sockets,
    user: Option<UserBlock>,
    /// Which subroutines of the user's are called.
    hooks: Hooks,
    /// Whether rules name themselves to the access log.
    logs: bool,
    services: Vec<ServiceVcl>,
    requests: Vec<RequestVcl>,
    names: Vec<VclString>,
    ports: Vec<PortVcl>,
    hosts: Vec<HostVcl>,
    rules: Vec<RuleVcl>,
    fetches: Vec<FetchVcl>,
    responses: Vec<ResponseVcl>,
}

struct PortVcl {
    /// How it is told from others, where there are any.
    condition: Option<VclExpr>,
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

impl ShardVcl {
    /// `targets` is what the content's rules forward to, and `sockets` where the relay is.
    pub(super) fn new(
        label: &str,
        content: &Content,
        targets: &[Target<'_>],
        sockets: &SocketFolder,
    ) -> Self {
        let mut writer = Writer::new(content.logs);
        let mut ports = Vec::new();
        for (port, own) in &content.hosts {
            let fallbacks = content.fallbacks.get(port).map(Vec::as_slice).unwrap_or_default();
            let condition = content.sockets.condition(*port);
            let name = condition.is_some().then(|| port.name());
            let entries = writer.port(name.as_deref(), own, fallbacks);
            if !entries.is_empty() {
                let table = HostTable::new(port.number, entries.into_iter());
                ports.push(PortVcl { condition, table });
            }
        }
        let Programs { fetches, responses } = writer.programs;
        Self {
            label: VclIdent::new("copal", &[label]),
            comments: writer.comments,
            sockets: content.sockets.clone(),
            hooks: content.user_vcl.as_ref().map(|it| Hooks::of(&it.text)).unwrap_or_default(),
            user: content.user_vcl.as_ref().map(UserBlock::new),
            logs: content.logs,
            services: targets.iter().map(|it| it.declaration(sockets)).collect(),
            requests: writer.requests,
            names: writer.names.map(Names::in_order).unwrap_or_default(),
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

    /// Whether a request's rule only forwards: then the look-up can be asked for its result. The user's own VCL may set
    /// `client.identity`, so it does not count where there is some.
    fn is_plain(&self) -> &'static str {
        if self.user.is_some() { r#"var.get("plain")"# } else { r#"client.identity == """# }
    }

    /// Whether requests are copied.
    fn copies(&self) -> bool {
        let mut branches = self.rules.iter().flat_map(|rule| &rule.branches);
        branches.any(|it| matches!(&it.outcome, OutcomeVcl::Forward(forward) if forward.sub == copied()))
    }

    /// Whether a host has paths without a rule.
    fn has_gaps(&self) -> bool {
        self.requests.iter().any(|request| request.sub == not_found())
    }

    /// Whether a rule changes what is said of the scheme, so that this must be there before.
    fn changes_proto(&self) -> bool {
        let named = |change: &ChangeVcl| change.name().to_string() == "x-forwarded-proto";
        self.request_changes().any(named)
    }

    /// Whether a header is added that cannot be joined with others of its name.
    fn adds_lines(&self) -> bool {
        let responses = self.responses.iter().flat_map(|it| &it.changes);
        self.request_changes().chain(responses).any(|change| matches!(change, ChangeVcl::AddLine(..)))
    }

    fn request_changes(&self) -> impl Iterator<Item = &ChangeVcl> {
        let branches = self.rules.iter().flat_map(|rule| &rule.branches).flat_map(|it| &it.request);
        self.rules.iter().flat_map(|rule| &rule.request).chain(branches)
    }

    fn has_directors(&self) -> bool {
        self.services.iter().any(|service| service.director.is_some())
    }
}
