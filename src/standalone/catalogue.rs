//! What is in force, given what the files say now and what they said before.
//!
//! The rule: an object stays in force until it is seen to be gone. A malformed document leaves the last good
//! version of its object; a file in which it cannot be told what is missing (unreadable, not YAML any more)
//! leaves all that was last read from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::identity::About;
use super::manifests::{Digest, Fault, Found, Manifests};
use super::problem::{Place, Problem};
use crate::snapshot::{Object, ObjectId, Snapshot};

/// A file's path: the folder's, as it was given, and the rest.
pub type FilePath = Arc<Path>;

/// What reading one file has yielded.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Its content.
    Content(Manifests),
    /// It is not there any more.
    Gone,
    /// It is there and cannot be read; the text says why.
    Unreadable(String),
}

/// What has become different in the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that were not there.
    pub added: Vec<ObjectId>,
    /// Objects with another content.
    pub changed: Vec<ObjectId>,
    /// Objects that are not there any more.
    pub removed: Vec<ObjectId>,
}

impl Changes {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Why a version of an object is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It is in the file now.
    Current,
    /// Its document is in the file now, malformed; this is what it was before.
    Malformed,
    /// It cannot be told whether the file still has it. Gives way to any other file's version.
    Unsure,
}

#[derive(Clone, Debug)]
struct Version {
    standing: Standing,
    line: usize,
    digest: Digest,
    object: Object,
}

/// Where a version comes from: its file, and which of the file's objects it was.
type Spot = (FilePath, usize);

#[derive(Clone, Debug, Default)]
struct FileState {
    objects: Vec<(ObjectId, usize)>,
    faults: Vec<Fault>,
}

/// All files of the folder, and the snapshot that follows from them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    files: BTreeMap<FilePath, FileState>,
    versions: BTreeMap<ObjectId, BTreeMap<Spot, Version>>,
    in_force: BTreeMap<ObjectId, Digest>,
    snapshot: Snapshot,
}

impl Catalogue {
    /// Takes in what has been read of the files that changed, all at once: an object that moves from one
    /// file to another is never missing in between.
    pub fn apply(&mut self, readings: BTreeMap<FilePath, Reading>) -> Changes {
        let mut touched = BTreeSet::new();
        for (path, reading) in readings {
            self.read(&path, reading, &mut touched);
        }
        let mut changes = Changes::default();
        for id in touched {
            self.settle(id, &mut changes);
        }
        changes
    }

    /// The objects in force.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Everything that is wrong with the files now, by file and line.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let faults = self.files.iter().flat_map(|(path, file)| file.faults.iter().map(move |it| (path, it)));
        let faults = faults.map(|(path, fault)| Problem {
            place: Place { file: path.clone(), line: fault.line },
            object: fault_subject(fault),
            expected: fault.message.clone(),
            meanwhile: self.meanwhile(path, fault),
        });
        let repeated = self.versions.iter().flat_map(|(id, versions)| repetitions(id, versions));
        let mut problems: Vec<_> = faults.chain(repeated).collect();
        problems.sort();
        problems
    }

    fn read(&mut self, path: &FilePath, reading: Reading, touched: &mut BTreeSet<ObjectId>) {
        let before = self.take(path, touched);
        let (found, faults) = match reading {
            Reading::Gone => return,
            Reading::Content(manifests) => (manifests.objects, manifests.faults),
            Reading::Unreadable(message) => {
                (Vec::new(), vec![Fault { line: 0, about: About::Unknown(None), message }])
            }
        };
        let current: BTreeSet<_> = found.iter().map(|it| it.object.id()).collect();
        let held = before.into_iter().filter_map(|(id, version)| hold(&id, version, &current, &faults));
        let versions: Vec<_> = found.into_iter().map(Version::current).chain(held).collect();
        let mut file = FileState { objects: Vec::new(), faults };
        for (nth, version) in versions.into_iter().enumerate() {
            let id = version.object.id();
            touched.insert(id.clone());
            file.objects.push((id.clone(), nth));
            self.versions.entry(id).or_default().insert((path.clone(), nth), version);
        }
        self.files.insert(path.clone(), file);
    }

    /// Takes a file out; its objects, each once, with the version that came first in the file.
    fn take(&mut self, path: &FilePath, touched: &mut BTreeSet<ObjectId>) -> BTreeMap<ObjectId, Version> {
        let mut before = BTreeMap::new();
        for (id, nth) in self.files.remove(path).unwrap_or_default().objects {
            let version = self.versions.get_mut(&id).and_then(|all| all.remove(&(path.clone(), nth)));
            touched.insert(id.clone());
            if let Some(version) = version {
                before.entry(id).or_insert(version);
            }
        }
        before
    }

    /// Decides which version of an object is in force, and brings the snapshot there.
    fn settle(&mut self, id: ObjectId, changes: &mut Changes) {
        let versions = self.versions.entry(id.clone()).or_default();
        if versions.values().any(|it| it.standing != Standing::Unsure) {
            versions.retain(|_, it| it.standing != Standing::Unsure);
        }
        let Some(winner) = versions.values().next() else {
            self.versions.remove(&id);
            if self.in_force.remove(&id).is_some() {
                self.snapshot.remove(&id);
                changes.removed.push(id);
            }
            return;
        };
        let before = self.in_force.insert(id.clone(), winner.digest);
        if before == Some(winner.digest) {
            return;
        }
        self.snapshot.insert(winner.object.clone());
        if before.is_some() { &mut changes.changed } else { &mut changes.added }.push(id);
    }

    fn meanwhile(&self, path: &FilePath, fault: &Fault) -> String {
        let held = |id: &ObjectId| self.standings(path, id).any(|it| it != Standing::Current);
        let objects = self.files.get(path).map_or(&[][..], |file| &file.objects);
        match &fault.about {
            About::Object(id) | About::Guess(id) if held(id) => "its last good version stays in force",
            About::Guess(_) | About::Unknown(_) if objects.iter().any(|(id, _)| held(id)) => {
                "what was last read from this file stays in force"
            }
            _ => "it is left out until that is mended",
        }
        .to_owned()
    }

    fn standings(&self, path: &FilePath, id: &ObjectId) -> impl Iterator<Item = Standing> {
        let versions = self.versions.get(id).into_iter().flatten();
        versions.filter(move |((file, _), _)| file == path).map(|(_, version)| version.standing)
    }
}

impl Version {
    fn current(found: Found) -> Self {
        Self { standing: Standing::Current, line: found.line, digest: found.digest, object: found.object }
    }
}

/// What becomes of an object that the file had before: `None` when it is seen to be gone, or current.
///
/// A document that is malformed as YAML may have swallowed others (a lost `---`), so it holds all of them.
fn hold(id: &ObjectId, version: Version, current: &BTreeSet<ObjectId>, faults: &[Fault]) -> Option<Version> {
    if current.contains(id) {
        return None;
    }
    let own =
        faults.iter().find(|fault| matches!(&fault.about, About::Object(it) | About::Guess(it) if it == id));
    if let Some(fault) = own {
        return Some(Version { standing: Standing::Malformed, line: fault.line, ..version });
    }
    let any = faults.iter().any(|fault| !matches!(fault.about, About::Object(_)));
    any.then_some(Version { standing: Standing::Unsure, ..version })
}

fn fault_subject(fault: &Fault) -> Option<String> {
    (fault.about != About::Unknown(None)).then(|| fault.about.to_string())
}

/// Every version but the first of an object that stands in several places.
fn repetitions<'a>(
    id: &'a ObjectId,
    versions: &'a BTreeMap<Spot, Version>,
) -> impl Iterator<Item = Problem> + 'a {
    let place = |((file, _), version): (&Spot, &Version)| Place { file: file.clone(), line: version.line };
    let first = versions.iter().next().map(place);
    let others = versions.iter().skip(1).filter(|(_, it)| it.standing == Standing::Current);
    others.zip(first.into_iter().cycle()).map(move |(other, first)| Problem {
        place: place(other),
        object: Some(id.to_string()),
        expected: format!("expected each object once; it is also at {first}"),
        meanwhile: "that one is in force, this one is ignored".to_owned(),
    })
}

#[cfg(test)]
mod tests;
