//! What has to be done so that varnishd serves the wanted bundle.
//!
//! Each step is valid by itself, because varnishd has no transaction over several of them: programs are
//! loaded before labels point to them, labels exist before the root that uses them is compiled, and nothing
//! is discarded that something still needs. What cannot be loaded costs only its own hosts: its label keeps
//! the program that it has, or gets the [`fallback`] which answers 503.
//!
//! Names that do not begin with [`NAME_PREFIX`] belong to someone else and are never touched.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::{Label, Manifest, NAME_PREFIX, VclFile, VclName};

use super::listing::{Kind, LoadedVcl};

/// One command to varnishd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// Compile and load a program, under a name that is free.
    Load(VclName),
    /// Let a label point to a loaded program.
    Label {
        /// The label, which is made if there is none.
        label: Label,
        /// The program.
        target: VclName,
    },
    /// Let a program decide on every request from now on.
    Use(VclName),
    /// Drop a program or a label that nothing refers to.
    Discard(String),
}

/// The program for hosts whose own one cannot be loaded: it answers 503.
#[must_use]
pub fn fallback() -> VclFile {
    VclFile::new("unavailable", FALLBACK)
}

const FALLBACK: &str = r#"vcl 4.1;

# Stands in for a VCL that could not be loaded; the reloader's /status says which, and why.

backend default none;

sub vcl_recv {
    return (synth(503, "Service Unavailable"));
}

sub vcl_synth {
    if (sess.timeout_idle < 2s) {
        set resp.http.Connection = "close";
    }
    set resp.http.Content-Type = "text/plain; charset=utf-8";
    set resp.body = "The configuration of this host could not be loaded." + {"
"};
    return (deliver);
}
"#;

/// The first of `steps` that can be run before it is time to look again: up to where discarding begins, since
/// what is wanted is in force by then, and discarding takes longer than moving a label.
#[must_use]
pub fn until_discards(mut steps: Vec<Command>) -> Vec<Command> {
    let is_discard = |step: &Command| matches!(step, Command::Discard(_));
    let first_of_tail = steps.iter().rposition(|step| !is_discard(step)).map_or(steps.len(), |last| last + 1);
    steps.truncate(first_of_tail);
    steps
}

/// The steps from `loaded` to `wanted`, without those in `failed`, whose time has not come.
///
/// A program whose load is in `failed` counts as unusable even if it is listed: without a running child
/// varnishd only compiles, and whether the program initializes shows later.
///
/// An empty plan means that nothing can be done now. It does not mean that all is done: that is
/// [`in_force`] for what is served, and [`leftovers`] for what is to be discarded.
#[must_use]
pub fn plan(loaded: &[LoadedVcl], wanted: &Manifest, failed: &BTreeSet<Command>) -> Vec<Command> {
    let mut world = World::new(loaded, failed);
    world.replace_cold(wanted);
    for name in wanted.labels.values() {
        world.ensure_loaded(name);
    }
    for (label, name) in &wanted.labels {
        world.point(label, name);
    }
    if let Some(root) = &wanted.root {
        world.enthrone(root, wanted);
    }
    world.collect(wanted);
    world.steps
}

/// Whether varnishd serves exactly `manifest`: its root is in use and every label points where it should.
#[must_use]
pub fn in_force(loaded: &[LoadedVcl], manifest: &Manifest) -> bool {
    let active = loaded.iter().find(|vcl| vcl.active).map(|vcl| &vcl.name);
    let labels: BTreeMap<&str, &str> = loaded.iter().filter_map(label_and_target).collect();
    active == manifest.root.as_ref()
        && manifest.labels.iter().all(|(label, name)| labels.get(label.as_str()) == Some(&name.as_str()))
}

/// Why requests are not served as some bundle says, if so.
#[must_use]
pub fn not_ready(loaded: &[LoadedVcl], child_runs: bool) -> Option<String> {
    let fallback = fallback().name;
    let active = loaded.iter().find(|vcl| vcl.active);
    match active {
        None => Some("no root VCL is in use yet".to_owned()),
        Some(vcl) if vcl.name == fallback => Some("the root VCL could not be loaded".to_owned()),
        Some(_) if !child_runs => Some("varnishd's child is not running".to_owned()),
        Some(_) => None,
    }
}

/// Whether varnishd holds something of ours that `wanted` has no use for: to be looked at again later.
#[must_use]
pub fn leftovers(loaded: &[LoadedVcl], wanted: &Manifest) -> bool {
    loaded.iter().filter(|vcl| is_ours(&vcl.name)).any(|vcl| {
        let used = wanted.labels.contains_key(&vcl.name)
            || wanted.root.as_ref() == Some(&vcl.name)
            || wanted.labels.values().any(|name| *name == vcl.name);
        vcl.discarded || !used
    })
}

fn label_and_target(vcl: &LoadedVcl) -> Option<(&str, &str)> {
    match &vcl.kind {
        Kind::Program => None,
        Kind::Label { target, .. } => Some((&vcl.name, target)),
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(NAME_PREFIX)
}

/// varnishd as it will be after the steps so far.
struct World<'a> {
    /// Programs, and whether each is cold.
    programs: BTreeMap<String, bool>,
    labels: BTreeMap<Label, VclName>,
    /// Labels that programs held when varnishd was asked.
    held: BTreeSet<&'a str>,
    active: Option<String>,
    failed: &'a BTreeSet<Command>,
    steps: Vec<Command>,
}

impl<'a> World<'a> {
    fn new(loaded: &'a [LoadedVcl], failed: &'a BTreeSet<Command>) -> Self {
        let mut world = Self {
            programs: BTreeMap::new(),
            labels: BTreeMap::new(),
            held: BTreeSet::new(),
            active: None,
            failed,
            steps: Vec::new(),
        };
        for vcl in loaded.iter().filter(|vcl| !vcl.discarded) {
            world.admit(vcl);
        }
        world
    }

    fn admit(&mut self, vcl: &'a LoadedVcl) {
        match &vcl.kind {
            Kind::Program => {
                self.programs.insert(vcl.name.clone(), vcl.cold);
            }
            Kind::Label { target, refs } => {
                self.labels.insert(vcl.name.clone(), target.clone());
                if *refs > 0 {
                    self.held.insert(&vcl.name);
                }
            }
        }
        if vcl.active {
            self.active = Some(vcl.name.clone());
        }
    }

    /// Adds a step, unless it failed and its time has not come; says whether it was added.
    fn step(&mut self, command: Command) -> bool {
        if self.failed.contains(&command) {
            return false;
        }
        match &command {
            Command::Load(name) => {
                self.programs.insert(name.clone(), false);
            }
            Command::Label { label, target } => {
                self.labels.insert(label.clone(), target.clone());
            }
            Command::Use(name) => self.active = Some(name.clone()),
            Command::Discard(name) => {
                self.programs.remove(name);
                self.labels.remove(name);
            }
        }
        self.steps.push(command);
        true
    }

    fn is_usable(&self, name: &str) -> bool {
        self.programs.contains_key(name) && !self.failed.contains(&Command::Load(name.to_owned()))
    }

    fn is_needed(&self, name: &str) -> bool {
        self.active.as_deref() == Some(name) || self.labels.values().any(|target| target == name)
    }

    /// A program that stood unused for so long that varnishd let it cool down is loaded afresh.
    fn replace_cold(&mut self, wanted: &Manifest) {
        for name in wanted.labels.values().chain(&wanted.root) {
            if self.programs.get(name) == Some(&true) && !self.is_needed(name) {
                self.step(Command::Discard(name.clone()));
            }
        }
    }

    fn ensure_loaded(&mut self, name: &str) -> bool {
        self.is_usable(name)
            || (!self.programs.contains_key(name) && self.step(Command::Load(name.to_owned())))
    }

    fn point(&mut self, label: &str, name: &str) {
        let current = self.labels.get(label);
        let target = if self.is_usable(name) {
            name.to_owned()
        } else if current.is_some_and(|current| self.is_usable(current)) {
            return;
        } else {
            fallback().name
        };
        if current != Some(&target) && self.ensure_loaded(&target) {
            self.step(Command::Label { label: label.to_owned(), target });
        }
    }

    fn enthrone(&mut self, root: &str, wanted: &Manifest) {
        let labelled = wanted.labels.keys().all(|label| self.labels.contains_key(label));
        if self.is_usable(root) || (labelled && self.ensure_loaded(root)) {
            self.make_active(root);
        } else if self.active.as_ref().is_some_and(|active| !self.is_usable(active) && is_ours(active)) {
            let fallback = fallback().name;
            if self.ensure_loaded(&fallback) {
                self.make_active(&fallback);
            }
        }
    }

    fn make_active(&mut self, name: &str) {
        if self.active.as_deref() != Some(name) {
            self.step(Command::Use(name.to_owned()));
        }
    }

    /// Discards what is of no use any more: programs, then labels, then the programs these pointed to.
    fn collect(&mut self, wanted: &Manifest) {
        self.collect_programs(wanted);
        if wanted.root.is_some() && self.active == wanted.root {
            self.collect_labels(wanted);
            self.collect_programs(wanted);
        }
    }

    fn collect_programs(&mut self, wanted: &Manifest) {
        let needed: BTreeSet<String> = self.labels.values().chain(&self.active).cloned().collect();
        let kept: BTreeSet<&String> =
            wanted.labels.values().chain(&wanted.root).filter(|name| self.is_usable(name)).collect();
        let unused: Vec<String> = self
            .programs
            .keys()
            .filter(|name| is_ours(name) && !needed.contains(*name) && !kept.contains(name))
            .cloned()
            .collect();
        for name in unused {
            self.step(Command::Discard(name));
        }
    }

    /// Only labels that nothing held when varnishd was asked. That a root is discarded is not enough: a
    /// request in flight on it may still be about to enter the label, and Varnish 7.1 does not keep the
    /// label for it: the child panics (assert in `VPI_vcl_select`).
    fn collect_labels(&mut self, wanted: &Manifest) {
        let unused: Vec<String> = self
            .labels
            .keys()
            .filter(|label| is_ours(label) && !wanted.labels.contains_key(*label))
            .filter(|label| !self.held.contains(label.as_str()) && self.active.as_ref() != Some(label))
            .cloned()
            .collect();
        for label in unused {
            self.step(Command::Discard(label));
        }
    }
}

#[cfg(test)]
mod tests;
