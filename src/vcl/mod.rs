//! Model to bundle: complete, static VCL in two tiers.
//!
//! The root finds the shard of a request's host and hands over to it (`root`); a shard is the VCL of a few hosts
//! (`shards` divides them, `writer` goes through them, `shard` puts one together): `hosts`, `paths` and `conditions`
//! choose the rule (`sockets` tells ports apart), `actions` is what it does then, `programs` what it does on fetch and
//! delivery, `services` are the backends, `urls` are changed URLs, `user` is the user's own VCL. Text enters VCL through
//! the types of `literal` only. The templates are in
//! `templates/`, one partial a subject.

mod actions;
mod conditions;
mod hosts;
pub mod literal;
mod paths;
mod programs;
mod root;
mod services;
mod shard;
mod shards;
mod sockets;
mod urls;
pub mod user;
mod writer;

use std::collections::BTreeMap;

use askama::Template;

use crate::bundle::relay::{Certificates, Relay, Share, TlsListener, certificate_id};
use crate::bundle::{Bundle, ListenSocket, NAME_PREFIX, VclFile};
use crate::model::{HostPattern, Model, Scheme, Streams, TlsPort};

/// Renders models, and remembers what it rendered last: a shard whose content is the same is not rendered again.
#[derive(Debug, Default)]
pub struct Renderer {
    shards: BTreeMap<String, (shard::Content, VclFile)>,
    root: Option<(root::Content, VclFile)>,
}

impl Renderer {
    /// The bundle for a model. It follows from the model alone, byte by byte, whatever was rendered before.
    pub fn render(&mut self, model: &Model) -> Bundle {
        let (ranges, members) = shards::divide(model);
        let root_content = root::Content::new(model, ranges, &members);
        let mut shards = BTreeMap::new();
        for (name, members) in members {
            let content = shard::Content::new(model, &members);
            let known = self.shards.remove(&name).filter(|(known, _)| *known == content);
            let file = known.map_or_else(|| render_shard(&name, &content), |(_, file)| file);
            shards.insert(name, (content, file));
        }
        self.shards = shards;
        let known = self.root.take().filter(|(known, _)| *known == root_content);
        let root = known.map_or_else(|| text("root", &root::RootVcl::new(&root_content)), |(_, file)| file);
        self.root = Some((root_content, root.clone()));
        let direct = sockets::Port::all(model).filter(|port| port.scheme == Scheme::Http);
        let listen = direct.map(|port| ListenSocket { name: port.name(), port: port.number });
        let labelled =
            self.shards.iter().map(|(name, (_, file))| (format!("{NAME_PREFIX}{name}"), file.clone()));
        let (relay, certificates) = relay(model);
        Bundle::new(listen.collect(), root, labelled.collect()).with_relay(relay, certificates)
    }
}

/// What the relay does, if it is needed, and the certificates that it takes.
fn relay(model: &Model) -> (Option<Relay>, Certificates) {
    let mut all = Certificates::new();
    let mut listener = |port: &TlsPort| {
        let mut ids = BTreeMap::new();
        for (host, certificates) in &port.certificates {
            let named = certificates.iter().map(|it| (certificate_id(it), it.clone()));
            let named: Vec<_> = named.collect();
            ids.insert(server_name(host), named.iter().map(|(id, _)| id.clone()).collect());
            all.extend(named);
        }
        TlsListener { certificates: ids, clients: None }
    };
    let listen: BTreeMap<_, _> = model.tls.iter().map(|(port, it)| (*port, listener(it))).collect();
    let streams =
        |all: &BTreeMap<u16, Streams>| all.iter().map(|(port, it)| (*port, passed_on(it))).collect();
    let (passthrough, plain) = (streams(&model.passthrough), streams(&model.plain));
    let relay = Relay { listen, passthrough, plain, upstreams: BTreeMap::new() };
    ((relay != Relay::default()).then_some(relay), all)
}

/// Where the relay passes connections on to, by server name.
fn passed_on(port: &Streams) -> BTreeMap<String, Vec<Share>> {
    let share = |it: &crate::model::Share| Share { weight: it.weight, endpoints: it.endpoints.clone() };
    port.iter().map(|(name, shares)| (server_name(name), shares.iter().map(share).collect())).collect()
}

/// How the relay knows the server names of a listener.
fn server_name(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(_) | HostPattern::Wildcard(_) => host.to_string(),
        HostPattern::Any => String::new(),
    }
}

fn render_shard(name: &str, content: &shard::Content) -> VclFile {
    text(name, &shard::ShardVcl::new(name, content))
}

fn text(part: &str, template: &impl Template) -> VclFile {
    // Rendering writes to memory and fails only if a value's Display does, which none here does. An empty VCL is
    // refused by varnishd, so even then the last good one serves on.
    VclFile::new(part, template.render().unwrap_or_default())
}
