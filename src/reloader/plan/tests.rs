use proptest::prelude::*;

use super::*;

fn program(name: &str) -> LoadedVcl {
    LoadedVcl { name: name.into(), kind: Kind::Program, active: false, cold: false, discarded: false }
}

fn label(name: &str, target: &str, refs: u64) -> LoadedVcl {
    LoadedVcl { kind: Kind::Label { target: target.into(), refs }, ..program(name) }
}

fn active(name: &str) -> LoadedVcl {
    LoadedVcl { active: true, ..program(name) }
}

fn manifest(root: &str, labels: &[(&str, &str)]) -> Manifest {
    Manifest {
        root: Some(root.into()),
        labels: labels.iter().map(|(label, name)| ((*label).into(), (*name).into())).collect(),
        ..Manifest::default()
    }
}

fn load(name: &str) -> Command {
    Command::Load(name.into())
}

fn point(label: &str, target: &str) -> Command {
    Command::Label { label: label.into(), target: target.into() }
}

fn use_(name: &str) -> Command {
    Command::Use(name.into())
}

fn discard(name: &str) -> Command {
    Command::Discard(name.into())
}

fn steps(loaded: &[LoadedVcl], wanted: &Manifest, failed: &[Command]) -> Vec<Command> {
    plan(loaded, wanted, &failed.iter().cloned().collect())
}

/// Root r1 over labels a and b, as it is after a first load.
fn serving() -> Vec<LoadedVcl> {
    vec![
        program("copal_a_1"),
        program("copal_b_1"),
        label("copal_a", "copal_a_1", 1),
        label("copal_b", "copal_b_1", 1),
        active("copal_r1"),
    ]
}

fn first() -> Manifest {
    manifest("copal_r1", &[("copal_a", "copal_a_1"), ("copal_b", "copal_b_1")])
}

#[test]
fn a_first_bundle_is_loaded_from_the_leaves_up() {
    let expected = [
        load("copal_a_1"),
        load("copal_b_1"),
        point("copal_a", "copal_a_1"),
        point("copal_b", "copal_b_1"),
        load("copal_r1"),
        use_("copal_r1"),
    ];
    assert_eq!(steps(&[], &first(), &[]), expected);
}

#[test]
fn nothing_is_done_when_all_is_as_wanted() {
    assert_eq!(steps(&serving(), &first(), &[]), []);
    assert!(in_force(&serving(), &first()));
    assert!(!leftovers(&serving(), &first()));
}

#[test]
fn a_changed_shard_is_loaded_labelled_and_the_old_one_discarded() {
    let wanted = manifest("copal_r1", &[("copal_a", "copal_a_2"), ("copal_b", "copal_b_1")]);
    let expected = [load("copal_a_2"), point("copal_a", "copal_a_2"), discard("copal_a_1")];
    assert_eq!(steps(&serving(), &wanted, &[]), expected);
    assert!(!in_force(&serving(), &wanted));
}

#[test]
fn a_label_is_discarded_only_once_no_program_holds_it() {
    let wanted = manifest("copal_r2", &[("copal_a", "copal_a_1")]);
    let switch = [load("copal_r2"), use_("copal_r2"), discard("copal_r1")];
    assert_eq!(steps(&serving(), &wanted, &[]), switch);

    let mut busy = serving();
    busy[4] = LoadedVcl { discarded: true, ..program("copal_r1") };
    busy.push(active("copal_r2"));
    assert_eq!(steps(&busy, &wanted, &[]), [], "a request on the old root may still enter the label");
    assert!(in_force(&busy, &wanted) && leftovers(&busy, &wanted));

    busy.remove(4);
    busy[3] = label("copal_b", "copal_b_1", 0);
    assert_eq!(steps(&busy, &wanted, &[]), [discard("copal_b"), discard("copal_b_1")]);
}

#[test]
fn a_broken_shard_keeps_its_old_program_while_others_change() {
    let wanted = manifest("copal_r1", &[("copal_a", "copal_a_2"), ("copal_b", "copal_b_2")]);
    let expected = [load("copal_b_2"), point("copal_b", "copal_b_2"), discard("copal_b_1")];
    assert_eq!(steps(&serving(), &wanted, &[load("copal_a_2")]), expected);
}

#[test]
fn a_new_shard_that_is_broken_gets_the_fallback() {
    let unavailable = fallback().name;
    let wanted = manifest("copal_r1", &[("copal_a", "copal_a_1"), ("copal_b", "copal_b_1")]);
    let expected = [
        load("copal_b_1"),
        point("copal_a", &unavailable),
        point("copal_b", "copal_b_1"),
        load("copal_r1"),
        use_("copal_r1"),
    ];
    let found = steps(&[], &wanted, &[load("copal_a_1")]);
    assert_eq!(
        found.iter().filter(|step| **step != load(&unavailable)).cloned().collect::<Vec<_>>(),
        expected
    );
    let at = |step: &Command| found.iter().position(|found| found == step);
    assert!(at(&load(&unavailable)).is_some());
    assert!(at(&load(&unavailable)) < at(&point("copal_a", &unavailable)));
}

#[test]
fn a_healed_shard_replaces_the_fallback() {
    let unavailable = fallback().name;
    let mut loaded = serving();
    loaded[0] = program(&unavailable);
    loaded[2] = label("copal_a", &unavailable, 1);
    let expected = [load("copal_a_1"), point("copal_a", "copal_a_1"), discard(&unavailable)];
    assert_eq!(steps(&loaded, &first(), &[]), expected);
    assert_eq!(steps(&loaded, &first(), &[load("copal_a_1")]), []);
}

#[test]
fn a_broken_root_leaves_the_old_one_and_its_labels() {
    let wanted = manifest("copal_r2", &[("copal_a", "copal_a_1")]);
    assert_eq!(steps(&serving(), &wanted, &[load("copal_r2")]), []);
}

#[test]
fn a_program_that_fails_to_initialize_is_taken_out_and_discarded() {
    let unavailable = fallback().name;
    let expected = [load(&unavailable), point("copal_a", &unavailable), discard("copal_a_1")];
    assert_eq!(steps(&serving(), &first(), &[load("copal_a_1")]), expected);
}

#[test]
fn a_root_that_fails_to_initialize_gives_way_to_the_fallback() {
    let unavailable = fallback().name;
    let expected = [load(&unavailable), use_(&unavailable), discard("copal_r1")];
    assert_eq!(steps(&serving(), &first(), &[load("copal_r1")]), expected);
}

#[test]
fn a_cold_program_is_loaded_afresh() {
    let wanted = manifest("copal_r1", &[("copal_a", "copal_a_2"), ("copal_b", "copal_b_1")]);
    let mut loaded = serving();
    loaded.push(LoadedVcl { cold: true, ..program("copal_a_2") });
    let expected =
        [discard("copal_a_2"), load("copal_a_2"), point("copal_a", "copal_a_2"), discard("copal_a_1")];
    assert_eq!(steps(&loaded, &wanted, &[]), expected);
}

#[test]
fn what_others_loaded_is_left_alone() {
    let mut loaded = serving();
    loaded.extend([program("boot"), label("mine", "boot", 0), program("debugging")]);
    assert_eq!(steps(&loaded, &first(), &[]), []);
    assert!(!leftovers(&loaded, &first()));
}

#[test]
fn a_discard_that_failed_waits_for_its_time() {
    let mut loaded = serving();
    loaded.push(program("copal_a_0"));
    assert_eq!(steps(&loaded, &first(), &[]), [discard("copal_a_0")]);
    assert_eq!(steps(&loaded, &first(), &[discard("copal_a_0")]), []);
}

#[test]
fn discards_at_the_end_are_put_off() {
    let all = vec![discard("cold"), load("cold"), use_("cold"), discard("a"), discard("b")];
    assert_eq!(until_discards(all), [discard("cold"), load("cold"), use_("cold")]);
    let only = vec![discard("a"), discard("b")];
    assert_eq!(until_discards(only.clone()), only);
    assert_eq!(until_discards(vec![]), []);
}

/// varnishd's rules, as measured. A root `copal_rN` needs the labels that its manifest names.
#[derive(Clone, Debug, Default)]
struct Varnishd {
    /// Programs, each with the labels that it holds.
    programs: BTreeMap<String, BTreeSet<String>>,
    /// Discarded programs that requests still hold, with their labels.
    busy: Vec<(String, BTreeSet<String>)>,
    labels: BTreeMap<String, String>,
    active: Option<String>,
}

impl Varnishd {
    fn refs(&self, label: &str) -> u64 {
        let held = self.programs.values().chain(self.busy.iter().map(|(_, labels)| labels));
        held.filter(|labels| labels.contains(label)).count() as u64
    }

    fn listing(&self) -> Vec<LoadedVcl> {
        let programs = self
            .programs
            .keys()
            .map(|name| LoadedVcl { active: self.active.as_ref() == Some(name), ..program(name) });
        let labels = self.labels.iter().map(|(name, target)| label(name, target, self.refs(name)));
        let busy = self.busy.iter().map(|(name, _)| LoadedVcl { discarded: true, ..program(name) });
        programs.chain(labels).chain(busy).collect()
    }

    /// Runs one command as varnishd would; panics where varnishd would refuse it, or crash.
    fn run(&mut self, command: &Command, wanted: &Manifest, busy: bool) {
        match command {
            Command::Load(name) => {
                let is_root = wanted.root.as_ref() == Some(name);
                let needs: BTreeSet<String> =
                    if is_root { wanted.labels.keys().cloned().collect() } else { BTreeSet::new() };
                assert!(needs.iter().all(|label| self.labels.contains_key(label)), "root without its labels");
                assert!(self.programs.insert(name.clone(), needs).is_none(), "{name} is there already");
            }
            Command::Label { label, target } => {
                assert!(self.programs.contains_key(target), "{label} to missing {target}");
                self.labels.insert(label.clone(), target.clone());
            }
            Command::Use(name) => {
                assert!(self.programs.contains_key(name), "use of missing {name}");
                self.active = Some(name.clone());
            }
            Command::Discard(name) => self.discard(name, busy),
        }
    }

    fn discard(&mut self, name: &str, busy: bool) {
        assert!(is_ours(name), "{name} is not ours");
        assert!(self.active.as_deref() != Some(name), "{name} is active");
        if self.labels.contains_key(name) {
            assert_eq!(self.refs(name), 0, "label {name} is in use");
            self.labels.remove(name);
            return;
        }
        assert!(!self.labels.values().any(|target| target == name), "{name} is labelled");
        let held = self.programs.remove(name).expect("a program to discard");
        if busy {
            self.busy.push((name.to_owned(), held));
        }
    }
}

/// A bundle over a few shards in a few versions; the root's name follows from the labels, as in real ones.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    prop::collection::btree_map(0..4u8, 0..3u8, 0..4).prop_map(|shards| {
        let root = shards.keys().fold(String::from("copal_r"), |root, shard| root + &shard.to_string());
        let labels = shards.iter().map(|(s, v)| (format!("copal_s{s}"), format!("copal_s{s}_{v}"))).collect();
        Manifest { root: Some(root), labels, ..Manifest::default() }
    })
}

/// A bundle, names that fail to load this time, and the step from which requests in flight hold programs.
fn any_change() -> impl Strategy<Value = (Manifest, BTreeSet<String>, bool)> {
    let broken = prop::collection::btree_set((0..4u8, 0..3u8), 0..3)
        .prop_map(|shards| shards.into_iter().map(|(s, v)| format!("copal_s{s}_{v}")).collect());
    (any_manifest(), broken, any::<bool>())
}

/// Plans and runs until nothing is left to do, as the executor does: a failed load is noted, then planned anew.
fn converge(varnishd: &mut Varnishd, wanted: &Manifest, broken: &BTreeSet<String>, busy: bool) {
    let mut failed = BTreeSet::new();
    for _ in 0..20 {
        let steps = plan(&varnishd.listing(), wanted, &failed);
        if steps.is_empty() {
            return;
        }
        for step in steps {
            if matches!(&step, Command::Load(name) if broken.contains(name)) {
                failed.insert(step);
                break;
            }
            varnishd.run(&step, wanted, busy);
        }
    }
    panic!("the plan does not come to an end");
}

proptest! {
    #[test]
    fn every_step_is_valid_and_the_end_is_what_was_wanted(changes in prop::collection::vec(any_change(), 1..6)) {
        let mut varnishd = Varnishd::default();
        for (wanted, broken, busy) in &changes {
            let before = varnishd.clone();
            converge(&mut varnishd, wanted, broken, *busy);
            prop_assert_eq!(varnishd.active.as_ref(), wanted.root.as_ref());
            for (label, name) in &wanted.labels {
                let found = varnishd.labels.get(label);
                let loaded_before = before.programs.contains_key(name);
                if loaded_before || !broken.contains(name) {
                    prop_assert_eq!(found, Some(name));
                } else {
                    let kept = before.labels.get(label).cloned().unwrap_or_else(|| fallback().name);
                    prop_assert_eq!(found, Some(&kept));
                }
            }
        }
        // Requests end: then nothing is left over.
        let (wanted, _, _) = changes.last().unwrap();
        varnishd.busy.clear();
        converge(&mut varnishd, wanted, &BTreeSet::new(), false);
        prop_assert!(in_force(&varnishd.listing(), wanted));
        prop_assert!(!leftovers(&varnishd.listing(), wanted));
    }
}
