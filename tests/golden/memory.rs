//! Translating and rendering again and again gives what doing so from scratch gives.

use std::sync::Arc;

use copal::model::ObjectKey;
use copal::snapshot::{Object, Snapshot};
use copal::status::{self, Context, Programmed};
use copal::translate::{Settings, Translator, translate};
use copal::vcl::Renderer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::json;

use super::case::{Case, given};

/// One change of a snapshot. The objects of all goldens are the pool: many have the same name.
#[derive(Clone, Debug)]
enum Edit {
    /// Adds an object, or puts it in the place of its namesake.
    Insert(Index),
    Remove(Index),
    /// The same object read once more, as from a file that was touched.
    Touch(Index),
    /// A route that is as another one, but for its hosts.
    Move(Index, u8),
    /// Everything of one golden.
    Replace(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        5 => any::<Index>().prop_map(Edit::Insert),
        2 => any::<Index>().prop_map(Edit::Remove),
        2 => any::<Index>().prop_map(Edit::Touch),
        2 => (any::<Index>(), 0..4_u8).prop_map(|(index, host)| Edit::Move(index, host)),
        1 => any::<Index>().prop_map(Edit::Replace),
    ]
}

/// The objects of all goldens, by golden, and more hosts than one shard takes.
struct Pool(Vec<Vec<Object>>);

/// Routes for a host each.
fn many_hosts() -> Vec<Object> {
    let rules: Vec<_> = (0..4)
        .map(|rule| {
            json!({"matches": [{"path": {"value": format!("/{rule}")}}], "backendRefs": [{"name": "a", "port": 80}]})
        })
        .collect();
    let route = |host: usize| {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": format!("host-{host}"), "namespace": "default"},
            "spec": {"parentRefs": [{"name": "gw"}], "hostnames": [format!("h{host}.test")], "rules": rules},
        });
        Object::parse(route).unwrap().unwrap()
    };
    (0..50).map(route).collect()
}

impl Pool {
    fn any(&self, index: Index) -> Object {
        let all: Vec<_> = self.0.iter().flatten().collect();
        (*index.get(&all)).clone()
    }

    fn apply(&self, edit: &Edit, snapshot: &mut Snapshot) {
        match edit {
            Edit::Insert(index) => {
                snapshot.insert(self.any(*index));
            }
            Edit::Remove(index) => {
                snapshot.remove(&self.any(*index).id());
            }
            Edit::Touch(index) => touch(snapshot, *index),
            Edit::Move(index, host) => move_route(snapshot, *index, *host),
            Edit::Replace(index) => *snapshot = index.get(&self.0).iter().cloned().collect(),
        }
    }
}

fn some_route(snapshot: &Snapshot, index: Index) -> Option<ObjectKey> {
    let keys: Vec<_> = snapshot.http_routes.keys().cloned().collect();
    (!keys.is_empty()).then(|| index.get(&keys).clone())
}

fn touch(snapshot: &mut Snapshot, index: Index) {
    if let Some(route) =
        some_route(snapshot, index).and_then(|key| Arc::make_mut(&mut snapshot.http_routes).get_mut(&key))
    {
        *route = Arc::new(route.as_ref().clone());
    }
}

fn move_route(snapshot: &mut Snapshot, index: Index, host: u8) {
    if let Some(route) =
        some_route(snapshot, index).and_then(|key| Arc::make_mut(&mut snapshot.http_routes).get_mut(&key))
    {
        Arc::make_mut(route).spec.hostnames = vec![format!("h{host}.test")];
    }
}

#[test]
fn what_is_remembered_never_changes_the_result() {
    let mut goldens: Vec<_> = Case::all().iter().map(Case::objects).collect();
    goldens.push(given().into_iter().chain(many_hosts()).collect());
    let pool = Pool(goldens);
    let config = ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[1; 32]));
    runner.run(&vec(edit(), 1..40), |edits| check(&pool, &edits)).unwrap();
}

fn check(pool: &Pool, edits: &[Edit]) -> Result<(), TestCaseError> {
    let (mut translator, mut renderer) = (Translator::default(), Renderer::default());
    let settings = Settings::default();
    let mut snapshot: Snapshot = pool.0.last().unwrap().iter().cloned().collect();
    for edit in edits {
        pool.apply(edit, &mut snapshot);
        let again = translator.translate(&snapshot, &settings);
        let afresh = translate(&snapshot, &settings);
        prop_assert_eq!(&again.models, &afresh.models, "models after {:?}", edit);
        prop_assert_eq!(&again.report, &afresh.report, "report after {:?}", edit);
        let bundle = renderer.render(again.shared_model());
        prop_assert_eq!(
            &bundle,
            &Renderer::default().render(afresh.shared_model()),
            "bundle after {:?}",
            edit
        );
        prop_assert!(
            bundle.files.iter().all(|(name, text)| name.ends_with(&copal::bundle::short_hash(text)))
        );
        check_statuses(&again.report, &settings)?;
    }
    Ok(())
}

/// What must hold of every status: the API wants each condition once, with a reason, and no partial invalidity
/// of a route that is not accepted.
fn check_statuses(report: &copal::translate::Report, settings: &Settings) -> Result<(), TestCaseError> {
    let now = serde_json::from_value::<Time>("1970-01-01T00:00:00Z".into()).unwrap();
    let context = Context::shared(Programmed::Yes, vec![], now);
    let statuses = status::build(report, settings, &context);
    prop_assert_eq!(&statuses, &status::build(report, settings, &context));
    for parent in statuses.routes.values().flat_map(|it| &it.parents) {
        let types: Vec<_> = parent.conditions.iter().map(|it| it.type_.as_str()).collect();
        prop_assert_eq!(&types[..2], ["Accepted", "ResolvedRefs"]);
        let partial = types.get(2) == Some(&"PartiallyInvalid");
        prop_assert!(types.len() == 2 + usize::from(partial));
        prop_assert!(!partial || parent.conditions[0].status == "True");
        prop_assert!(parent.conditions.iter().all(|it| !it.reason.is_empty() && it.message.len() <= 32_768));
    }
    Ok(())
}
