//! Model to bundle: complete, static VCL in two tiers.
//!
//! The root finds the shard of a request's host and hands over to it (`root`); a shard is the VCL of a few hosts
//! (`shards` divides them, `writer` goes through them, `shard` puts one together): `hosts`, `paths` and `conditions`
//! choose the rule, `actions` is what it does then, `programs` what it does on fetch and delivery, `services` are
//! the backends, `urls` are changed URLs, `user` is the user's own VCL. Text enters VCL through the types of `literal` only. The templates are in
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
mod urls;
pub mod user;
mod writer;

use std::collections::BTreeMap;

use askama::Template;

use crate::bundle::{Bundle, ListenSocket, NAME_PREFIX, VclFile};
use crate::model::Model;

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
        let listen = model.ports.keys().map(|port| ListenSocket { name: shard::socket(*port), port: *port });
        let labelled =
            self.shards.iter().map(|(name, (_, file))| (format!("{NAME_PREFIX}{name}"), file.clone()));
        Bundle::new(listen.collect(), root, labelled.collect())
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
