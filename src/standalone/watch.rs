//! File events of the folder, gathered into changes that are worth a look.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tracing::warn;

use super::folder::Hints;

/// An editor's save and a `kubectl`-like tool's files come as bursts of events this close to each other.
const QUIET: Duration = Duration::from_millis(5);

/// However long a burst goes on, it is acted on after this time.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Time between looks without any event: what events do not tell (links that lead out of the folder, file
/// systems without inotify, the folder itself replaced).
const RESCAN: Duration = Duration::from_secs(10);

/// The same when the folder cannot be watched.
const POLL: Duration = Duration::from_secs(1);

/// A file that was written to and never closed is read all the same after this time.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// Paths remembered at most; above that metadata alone has to tell what changed.
const MAX_PATHS: usize = 10_000;

/// A reason to look at the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When the first event arrived, or the rescan came due.
    pub since: Instant,
    /// Whether there were events at all.
    pub by_event: bool,
    /// What they tell about single files.
    pub hints: Hints,
}

/// Watches one folder with all its sub-folders.
#[derive(Debug)]
pub struct Watch {
    root: PathBuf,
    shared: Arc<Shared>,
    watcher: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    #[expect(dead_code, reason = "it watches until it is dropped")]
    watcher: RecommendedWatcher,
    /// Device and inode.
    folder: (u64, u64),
}

#[derive(Debug, Default)]
struct Shared {
    gathering: Mutex<Gathering>,
    woken: Notify,
}

/// Events since the last change.
#[derive(Debug, Default)]
struct Gathering {
    first: Option<Instant>,
    last: Option<Instant>,
    touched: Vec<PathBuf>,
    /// Something may have changed that `touched` does not name.
    incomplete: bool,
    writing: BTreeMap<PathBuf, Instant>,
}

impl Watch {
    /// Begins to watch. Events from now on are not missed, also not before [`Watch::next`] is called.
    #[must_use]
    pub fn start(root: &Path) -> Self {
        let mut watch = Self { root: root.to_owned(), shared: Arc::default(), watcher: None };
        watch.renew();
        watch
    }

    /// Waits for the next reason to look. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Change {
        let rescan = Instant::now() + if self.watcher.is_some() { RESCAN } else { POLL };
        loop {
            let due = self.shared.gathering().due();
            if due.is_some_and(|due| due <= Instant::now()) {
                return self.shared.gathering().take(Instant::now());
            }
            tokio::select! {
                () = self.shared.woken.notified() => {}
                () = sleep_until(due.unwrap_or(rescan).into()) => if due.is_none() {
                    self.renew();
                    return self.shared.gathering().take(Instant::now());
                }
            }
        }
    }

    /// Watches anew when the path leads to another folder than the one that is watched.
    fn renew(&mut self) {
        let folder = fs::metadata(&self.root).ok().map(|it| (it.dev(), it.ino()));
        if self.watcher.as_ref().is_some_and(|it| Some(it.folder) == folder) {
            return;
        }
        self.watcher = folder.and_then(|folder| {
            let watcher = self.watcher_of_root();
            watcher
                .map(|watcher| Watched { watcher, folder })
                .inspect_err(|error| {
                    warn!(folder = %self.root.display(), error = error as &dyn std::error::Error,
                      "cannot watch the manifest folder; looking at it every second instead");
                })
                .ok()
        });
    }

    fn watcher_of_root(&self) -> notify::Result<RecommendedWatcher> {
        let shared = self.shared.clone();
        let mut watcher = notify::recommended_watcher(move |event| shared.note(event))?;
        watcher.watch(&self.root, RecursiveMode::Recursive)?;
        Ok(watcher)
    }
}

impl Shared {
    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: notify::Result<notify::Event>) {
        let noted = match event {
            Ok(event) => self.gathering().note(&event, Instant::now()),
            // Lost events or watches: look at everything.
            Err(_) => self.gathering().touch(None, Instant::now()),
        };
        if noted {
            self.woken.notify_one();
        }
    }
}

impl Gathering {
    /// Takes in one event; whether it makes a difference.
    fn note(&mut self, event: &notify::Event, now: Instant) -> bool {
        let path = event.paths.last();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => self.writes(path, now),
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                self.writing.retain(|path, _| !event.paths.contains(path));
                self.touch(path, now)
            }
            // Our own reading, among others.
            EventKind::Access(_) => false,
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
                self.touch(path, now)
            }
        }
    }

    fn touch(&mut self, path: Option<&PathBuf>, now: Instant) -> bool {
        self.first.get_or_insert(now);
        self.last = Some(now);
        match path.filter(|_| self.touched.len() < MAX_PATHS) {
            Some(path) => self.touched.extend([path.clone()]),
            None => self.incomplete = true,
        }
        true
    }

    /// A file that is being written is looked at when it is closed; meanwhile other changes wait a little.
    fn writes(&mut self, path: Option<&PathBuf>, now: Instant) -> bool {
        self.last = Some(now);
        if let Some(path) = path.filter(|_| self.writing.len() < MAX_PATHS) {
            self.writing.insert(path.clone(), now);
        }
        self.first.is_some()
    }

    /// When the events so far are to be acted on.
    fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        Some((last + QUIET).min(first + LONGEST_WAIT))
    }

    fn take(&mut self, now: Instant) -> Change {
        self.writing.retain(|_, since| now < *since + LONGEST_WRITE);
        let being_written = self.writing.keys().cloned().collect();
        let touched = std::mem::take(&mut self.touched).into_iter().collect();
        self.last = None;
        let first = self.first.take();
        let complete = first.is_some() && !std::mem::take(&mut self.incomplete);
        Change {
            since: first.unwrap_or(now),
            by_event: first.is_some(),
            hints: Hints { touched, being_written, complete },
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind, RenameMode};

    use super::*;

    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const MOVED_HERE: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);

    /// Events as milliseconds, kind and path; expected: when it is due, what is touched, what is being written.
    #[test]
    fn events_become_due_after_a_short_quiet() {
        type Event = (u64, EventKind, &'static str);
        type Case<'a> = (&'a [Event], Option<u64>, &'a [&'a str], &'a [&'a str]);
        let burst: Vec<Event> = (0..40).map(|n| (n * 3, CLOSED, "a")).collect();
        let cases: &[Case] = &[
            (&[], None, &[], &[]),
            (&[(0, OPENED, "a")], None, &[], &[]),
            (&[(0, CLOSED, "a")], Some(5), &["a"], &[]),
            (&[(0, WRITTEN, "a")], None, &[], &["a"]),
            (&[(0, WRITTEN, "a"), (2, CLOSED, "a")], Some(7), &["a"], &[]),
            (&[(0, CREATED, "a"), (1, WRITTEN, "a"), (4, WRITTEN, "a")], Some(9), &["a"], &["a"]),
            (&[(0, CLOSED, "b"), (3, WRITTEN, "a")], Some(8), &["b"], &["a"]),
            (&[(0, WRITTEN, "a"), (3, REMOVED, "a")], Some(8), &["a"], &[]),
            (&[(0, MOVED_HERE, "a")], Some(5), &["a"], &[]),
            (&burst, Some(50), &["a"], &[]),
        ];
        let start = Instant::now();
        for (events, due, touched, being_written) in cases {
            let mut gathering = Gathering::default();
            for (at, kind, path) in *events {
                let event = notify::Event::new(*kind).add_path(path.into());
                gathering.note(&event, start + Duration::from_millis(*at));
            }
            let found = gathering.due().map(|it| it - start);
            assert_eq!(found, due.map(Duration::from_millis), "{events:?}");
            let change = gathering.take(start);
            let set = |names: &[&str]| names.iter().map(PathBuf::from).collect();
            assert_eq!(
                change.hints,
                Hints { touched: set(touched), being_written: set(being_written), complete: due.is_some() },
                "{events:?}"
            );
            assert_eq!(gathering.due(), None);
        }
    }

    #[test]
    fn a_write_that_never_ends_is_forgotten() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        gathering.note(&notify::Event::new(WRITTEN).add_path("a".into()), start);
        assert!(gathering.take(start).hints.being_written.contains(Path::new("a")));
        assert!(gathering.take(start + LONGEST_WRITE).hints.being_written.is_empty());
    }

    #[tokio::test]
    async fn edits_new_sub_folders_and_a_replaced_folder_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        fs::create_dir(&root).unwrap();
        let mut watch = Watch::start(&root);
        for name in ["a.yaml", "sub/b.yaml"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            assert!(next_event(&mut watch).await.by_event);
        }
        fs::write(root.join("sub/c.yaml"), "x").unwrap();
        while !next_event(&mut watch).await.hints.touched.contains(&root.join("sub/c.yaml")) {}
        fs::rename(&root, dir.path().join("old")).unwrap();
        fs::create_dir(&root).unwrap();
        watch.renew();
        fs::write(root.join("d.yaml"), "x").unwrap();
        while !next_event(&mut watch).await.hints.touched.contains(&root.join("d.yaml")) {}
    }

    async fn next_event(watch: &mut Watch) -> Change {
        tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap()
    }
}
