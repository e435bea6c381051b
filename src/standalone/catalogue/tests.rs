//! Histories of a folder as tables: what the files say step by step, and what is in force after each step.

use super::*;
use crate::standalone::manifests::Format;

/// A file's text at one step: `a=1 b!` has object `a` in version 1 and a `b` that does not fit its kind,
/// `?` is a document that is not YAML, `c?` one that looks like `c`. `-` deletes the file, `x` makes it unreadable.
fn reading(text: &str) -> Reading {
    match text {
        "-" => return Reading::Gone,
        "x" => return Reading::Unreadable("permission denied".into()),
        _ => {}
    }
    let documents = text.split_whitespace().map(document).collect::<Vec<_>>();
    Reading::Content(Manifests::parse(Format::Yaml, documents.join("---\n").as_bytes()))
}

fn document(word: &str) -> String {
    let head = |name| format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n");
    if let Some(name) = word.strip_suffix('!') {
        head(name) + "spec: 7\n"
    } else if word == "?" {
        "[\n".into()
    } else if let Some(name) = word.strip_suffix('?') {
        head(name) + "spec: [\n"
    } else {
        let (name, version) = word.split_once('=').unwrap();
        head(name) + &format!("spec: {{clusterIP: '{version}'}}\n")
    }
}

fn in_force(catalogue: &Catalogue) -> String {
    let services = catalogue.snapshot().services.values();
    let words = services.map(|it| {
        let version = it.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap();
        format!("{}={version}", it.metadata.name.as_deref().unwrap())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The files that change, as `FILE: TEXT`, and what is in force afterwards.
type Step<'a> = (&'a [&'a str], &'a str);

fn history(name: &str, steps: &[Step]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (nth, (files, expected)) in steps.iter().enumerate() {
        let readings = files.iter().map(|it| {
            let (file, text) = it.split_once(": ").unwrap();
            (FilePath::from(Path::new(file)), reading(text))
        });
        let before = catalogue.snapshot().services.clone();
        let found = catalogue.apply(readings.collect());
        assert_eq!(in_force(&catalogue), *expected, "{name}, step {nth}");
        let after = &catalogue.snapshot().services;
        let names = |ids: &[ObjectId]| ids.iter().map(|id| id.key.clone()).collect::<Vec<_>>();
        let added: Vec<_> = after.keys().filter(|key| !before.contains_key(key)).cloned().collect();
        let removed: Vec<_> = before.keys().filter(|key| !after.contains_key(key)).cloned().collect();
        let changed = after.iter().filter(|(key, it)| before.get(key).is_some_and(|old| old != *it));
        let changed: Vec<_> = changed.map(|(key, _)| key.clone()).collect();
        assert_eq!(names(&found.added), added, "{name}, step {nth}");
        assert_eq!(names(&found.removed), removed, "{name}, step {nth}");
        assert_eq!(names(&found.changed), changed, "{name}, step {nth}");
    }
    catalogue
}

#[test]
fn an_object_stays_in_force_until_it_is_seen_to_be_gone() {
    let histories: &[(&str, &[Step])] = &[
        ("plain edits", &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: a=2 b=1"], "a=2 b=1"), (&["f: b=1"], "b=1")]),
        ("nothing new", &[(&["f: a=1"], "a=1"), (&["f: a=1"], "a=1")]),
        (
            "malformed and mended",
            &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: a! b=2"], "a=1 b=2"), (&["f: a=3 b=2"], "a=3 b=2")],
        ),
        (
            "malformed and removed",
            &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: a! b=1"], "a=1 b=1"), (&["f: b=1"], "b=1")],
        ),
        ("malformed from the start", &[(&["f: a! b=1"], "b=1"), (&["f: a=1 b=1"], "a=1 b=1")]),
        (
            "malformed twice",
            &[(&["f: a=1"], "a=1"), (&["f: a!"], "a=1"), (&["f: a?"], "a=1"), (&["f: a!"], "a=1")],
        ),
        (
            "another one malformed does not hold what is removed",
            &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: c! b=1"], "b=1")],
        ),
        ("not YAML, but recognised", &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: a? b=2"], "a=1 b=2")]),
        ("a lost separator swallows the next", &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: a?"], "a=1 b=1")]),
        ("not YAML at all", &[(&["f: a=1 b=1"], "a=1 b=1"), (&["f: ?"], "a=1 b=1"), (&["f: b=2"], "b=2")]),
        ("unreadable", &[(&["f: a=1"], "a=1"), (&["f: x"], "a=1"), (&["f: a=2"], "a=2")]),
        (
            "unreadable, then deleted",
            &[(&["f: a=1", "g: b=1"], "a=1 b=1"), (&["f: x"], "a=1 b=1"), (&["f: -"], "b=1")],
        ),
        ("deleted", &[(&["f: a=1", "g: b=1"], "a=1 b=1"), (&["f: -"], "b=1")]),
        ("renamed object", &[(&["f: a=1"], "a=1"), (&["f: b=1"], "b=1")]),
        ("renamed and malformed at once", &[(&["f: a=1"], "a=1"), (&["f: b?"], "a=1"), (&["f: b=1"], "b=1")]),
        ("moved to a later file", &[(&["f: a=1", "g: b=1"], "a=1 b=1"), (&["f: ", "g: a=1 b=1"], "a=1 b=1")]),
        (
            "moved to an earlier file",
            &[(&["f: b=1", "g: a=1"], "a=1 b=1"), (&["f: a=2 b=1", "g: -"], "a=2 b=1")],
        ),
        ("file renamed", &[(&["f: a=1"], "a=1"), (&["f: -", "g: a=1"], "a=1")]),
        (
            "moved out of a file that broke",
            &[(&["f: a=1"], "a=1"), (&["f: ?", "g: a=2"], "a=2"), (&["g: -"], "")],
        ),
        ("moved after its file broke", &[(&["f: a=1"], "a=1"), (&["f: ?"], "a=1"), (&["g: a=2"], "a=2")]),
        (
            "twice: the first file wins",
            &[(&["f: a=1", "g: a=2"], "a=1"), (&["f: -"], "a=2"), (&["f: a=3"], "a=3")],
        ),
        ("twice in one file: the first wins", &[(&["f: a=1 a=2"], "a=1"), (&["f: a=2"], "a=2")]),
        (
            "twice, the winner malformed",
            &[(&["f: a=1", "g: a=2"], "a=1"), (&["f: a!"], "a=1"), (&["f: -"], "a=2")],
        ),
        (
            "twice, the loser malformed",
            &[(&["f: a=1", "g: a=2"], "a=1"), (&["g: a!"], "a=1"), (&["f: -"], "a=2")],
        ),
        ("emptied", &[(&["f: a=1"], "a=1"), (&["f: "], "")]),
    ];
    for (name, steps) in histories {
        history(name, steps);
    }
}

#[test]
fn problems_say_where_what_and_what_happens_meanwhile() {
    let steps: &[Step] = &[(&["f: a=1 b=1", "g: c=1", "h: d=1"], "a=1 b=1 c=1 d=1")];
    let mut catalogue = history("start", steps);
    let readings = [("f", "a! b=1 e!"), ("g", "?"), ("h", "a=7 d=1 d=2"), ("i", "x")];
    let readings = readings.map(|(file, text)| (FilePath::from(Path::new(file)), reading(text)));
    catalogue.apply(readings.into());
    let problems: Vec<_> = catalogue.problems().iter().map(ToString::to_string).collect();
    let expected = [
        "f:5: Service default/a: invalid type: integer `7`, expected ServiceSpec; its last good version stays in force",
        "f:17: Service default/e: invalid type: integer `7`, expected ServiceSpec; it is left out until that is mended",
        "g:1: ", // the parser's words
        "h:1: Service default/a: expected each object once; it is also at f:5; that one is in force, this one is ignored",
        "h:13: Service default/d: expected each object once; it is also at h:7; that one is in force, this one is ignored",
        "i: permission denied; it is left out until that is mended",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}\n{expected}");
    }
    assert!(problems[2].ends_with("; what was last read from this file stays in force"), "{}", problems[2]);
}

#[test]
fn the_order_in_which_files_are_read_does_not_matter() {
    let files = [("f", "a=1 b=1"), ("g", "a=2 c=1"), ("h", "c=2 d!")];
    let one_by_one = |order: [usize; 3]| {
        let mut catalogue = Catalogue::default();
        for (file, text) in order.map(|nth| files[nth]) {
            catalogue.apply([(FilePath::from(Path::new(file)), reading(text))].into());
        }
        (in_force(&catalogue), catalogue.problems())
    };
    let expected = one_by_one([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(one_by_one(order), expected);
    }
}
