//! Model to bundle: complete, static VCL in two tiers.
//!
//! The root finds the shard of a request's host and hands over to it (`root`); a shard is the VCL of a few hosts
//! (`shards` divides them, `writer` goes through them, `shard` puts one together): `hosts`, `paths` and `conditions`
//! choose the rule (`sockets` tells ports apart, `misdirected` the connections of one port), `actions` is what it does
//! then, `programs` what it does on fetch and delivery, `services` are the backends, `upstreams` those of them that are
//! reached through the relay, `urls` are changed URLs, `user` is the user's own VCL. Text enters VCL through the types of
//! `literal` only. The templates are in
//! `templates/`, one partial a subject.

mod actions;
mod certificates;
mod conditions;
mod hosts;
pub mod literal;
mod misdirected;
mod paths;
mod programs;
mod root;
mod services;
mod shard;
mod shards;
mod sockets;
mod upstreams;
mod urls;
pub mod user;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;

use crate::bundle::relay::{self, Certificates, Relay, Share, TlsListener};
use crate::bundle::{Bundle, ListenSocket, NAME_PREFIX, VclFile};
use crate::model::{self, ClientValidation, HostPattern, Model, Scheme, Streams, TlsPort};
use certificates::{CertificateIds, NextIds};
use upstreams::Upstreams;
pub use upstreams::{SocketFolder, SocketFolderError};

/// Renders models, and remembers what it rendered last: a shard whose content is the same is not rendered again.
#[derive(Debug, Default)]
pub struct Renderer {
    sockets: SocketFolder,
    shards: BTreeMap<String, Shard>,
    root: Option<(root::Content, VclFile)>,
    certificates: CertificateIds,
}

/// A shard, and what the relay has to do for it.
#[derive(Debug)]
struct Shard {
    content: shard::Content,
    file: VclFile,
    upstreams: Upstreams,
}

impl Renderer {
    /// For a varnishd beside a relay with these sockets. By default it is a pod's.
    #[must_use]
    pub fn new(sockets: SocketFolder) -> Self {
        Self { sockets, ..Self::default() }
    }

    /// The bundle for a model. It follows from the model and the folder of the relay's sockets alone, byte by byte,
    /// whatever was rendered before.
    pub fn render(&mut self, model: &Model) -> Bundle {
        let (ranges, members) = shards::divide(model);
        let root_content = root::Content::new(model, ranges, &members);
        let mut shards = BTreeMap::new();
        for (name, members) in members {
            let content = shard::Content::new(model, &members);
            let known = self.shards.remove(&name).filter(|known| known.content == content);
            let shard = known.unwrap_or_else(|| self.shard(&name, content));
            shards.insert(name, shard);
        }
        self.shards = shards;
        let known = self.root.take().filter(|(known, _)| *known == root_content);
        let root = known.map_or_else(|| text("root", &root::RootVcl::new(&root_content)), |(_, file)| file);
        self.root = Some((root_content, root.clone()));
        let direct = sockets::Port::all(model).filter(|port| port.scheme == Scheme::Http);
        let listen = direct.map(|port| ListenSocket { name: port.name(), port: port.number });
        let labelled =
            self.shards.iter().map(|(name, shard)| (format!("{NAME_PREFIX}{name}"), shard.file.clone()));
        let bundle = Bundle::new(listen.collect(), root, labelled.collect());
        let (relay, certificates) = self.relay(model);
        bundle.with_relay(relay, certificates)
    }

    fn shard(&self, name: &str, content: shard::Content) -> Shard {
        let targets = content.targets();
        let file = text(name, &shard::ShardVcl::new(name, &content, &targets, &self.sockets));
        let upstreams = Upstreams::of(&targets);
        Shard { content, file, upstreams }
    }

    /// What the relay does, if it is needed, and the certificates that it takes.
    fn relay(&mut self, model: &Model) -> (Option<Relay>, Certificates) {
        let mut all = Certificates::new();
        let mut ids = self.certificates.next();
        let listen = listeners(model, &mut ids, &mut all);
        let mut upstreams = BTreeMap::new();
        for shard in self.shards.values() {
            upstreams.extend(shard.upstreams.all.iter().map(|(id, it)| (id.clone(), it.clone())));
            all.extend(shard.upstreams.certificates.iter().map(|(id, it)| (id.clone(), it.clone())));
        }
        let client_certificate = model.client_certificate.as_ref().filter(|_| !upstreams.is_empty());
        let client_certificate = client_certificate.map(|it| (ids.of(it), it.clone()));
        all.extend(client_certificate.clone());
        let client_certificate = client_certificate.map(|(id, _)| id);
        let (passthrough, plain) = (streams(&model.passthrough), streams(&model.plain));
        let relay = Relay { listen, passthrough, plain, upstreams, client_certificate };
        ((relay != Relay::default()).then_some(relay), all)
    }
}

/// What is presented on TLS ports. The certificates are added to `all`.
fn listeners(model: &Model, ids: &mut NextIds<'_>, all: &mut Certificates) -> BTreeMap<u16, TlsListener> {
    let mut listener = |port: &TlsPort| {
        let mut named = BTreeMap::new();
        for (host, certificates) in &port.certificates {
            let known: Vec<_> = certificates.iter().map(|it| (ids.of(it), it.clone())).collect();
            named.insert(server_name(host), known.iter().map(|(id, _)| id.clone()).collect());
            all.extend(known);
        }
        let clients = port.clients.as_ref().map(|it| clients(it, ids, all));
        TlsListener { certificates: named, clients }
    };
    model.tls.iter().map(|(port, it)| (*port, listener(it))).collect()
}

/// What clients have to show; the authorities are added to `all`.
fn clients(it: &ClientValidation, ids: &mut NextIds<'_>, all: &mut Certificates) -> relay::ClientValidation {
    let authorities: Vec<_> = it.authorities.iter().map(|it| (ids.of(it), it.clone())).collect();
    let names = authorities.iter().map(|(id, _)| id.clone()).collect();
    all.extend(authorities);
    relay::ClientValidation { authorities: names, insecure_fallback: it.insecure_fallback }
}

/// Where the relay passes connections on to, by port and server name.
fn streams(ports: &BTreeMap<u16, Streams>) -> BTreeMap<u16, relay::Streams> {
    let share = |it: &model::Share| Share { weight: it.weight, endpoints: it.endpoints.clone() };
    let named = |(name, shares): (&HostPattern, &Arc<[model::Share]>)| {
        (server_name(name), shares.iter().map(share).collect())
    };
    ports.iter().map(|(port, it)| (*port, it.iter().map(named).collect())).collect()
}

/// How the relay knows the server names of a listener.
fn server_name(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(_) | HostPattern::Wildcard(_) => host.to_string(),
        HostPattern::Any => String::new(),
    }
}

fn text(part: &str, template: &impl Template) -> VclFile {
    // Rendering writes to memory and fails only if a value's Display does, which none here does. An empty VCL is
    // refused by varnishd, so even then the last good one serves on.
    VclFile::new(part, template.render().unwrap_or_default())
}
