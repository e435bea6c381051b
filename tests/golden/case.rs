//! One golden: a folder with its input and the text that comes of it: VCL, statuses, and the access log if there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use copal::bundle::{Bundle, NAME_PREFIX};
use copal::snapshot::{Object, Snapshot};
use copal::standalone::output::{self, Format};
use copal::status::{self, Context, Programmed};
use copal::translate::{Settings, translate};
use copal::vcl::Renderer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::objects::objects;

/// Longest input that one reads to its end.
const MAX_LINES: usize = 60;

/// A folder, named for the behaviour that it shows.
pub struct Case {
    pub name: String,
    folder: PathBuf,
}

/// The texts of a golden, by file name.
pub struct Rendered {
    pub files: BTreeMap<String, String>,
    /// The label of each shard, and the shard's file.
    pub labels: BTreeMap<String, String>,
}

impl Case {
    /// All goldens, by name.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(goldens()).unwrap().flatten();
        let folders = entries.map(|it| it.path()).filter(|it| it.is_dir());
        let case = |folder: PathBuf| Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            folder,
        };
        let mut cases: Vec<_> = folders.map(case).collect();
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        cases
    }

    /// What `in.yaml` holds, and what is given with every golden.
    pub fn objects(&self) -> Vec<Object> {
        let own = self.folder.join("in.yaml");
        let text = read(&own);
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{}: {lines} lines; at most {MAX_LINES} are read by anybody",
            own.display()
        );
        given().into_iter().chain(objects(&self.name, &text)).collect()
    }

    /// VCL and statuses of the input.
    pub fn render(&self) -> Rendered {
        let snapshot: Snapshot = self.objects().into_iter().collect();
        let settings = Settings::default();
        let translation = translate(&snapshot, &settings);
        let bundle = Renderer::default().render(translation.shared_model());
        let now = serde_json::from_value::<Time>("1970-01-01T00:00:00Z".into()).unwrap();
        let context = Context::shared(Programmed::Yes, vec!["127.0.0.1".into()], now);
        let mut statuses = status::build(&translation.report, &settings, &context);
        // The same in all, and long; src/status/features.rs has a test of its own.
        statuses.classes.values_mut().for_each(|it| it.supported_features = None);
        let mut rendered = Rendered::of_bundle(&bundle);
        if let Some(logging) = translation.shared_logging() {
            rendered.files.insert("logging.yaml".into(), serde_saphyr::to_string(logging).unwrap());
        }
        rendered.files.insert("status.yaml".into(), yaml(&statuses));
        if let Some(relay) = &bundle.manifest.relay {
            rendered.files.insert("relay.yaml".into(), serde_saphyr::to_string(relay).unwrap());
        }
        rendered
    }

    /// Replaces what is there.
    pub fn write(&self, rendered: &Rendered) {
        for stale in self.files().difference(&rendered.files.keys().cloned().collect()) {
            fs::remove_file(self.folder.join(stale)).unwrap();
        }
        for (name, text) in &rendered.files {
            fs::write(self.folder.join(name), text).unwrap();
        }
    }

    /// What is otherwise than the golden has it, as a unified diff.
    pub fn differences(&self, rendered: &Rendered) -> Option<String> {
        let wanted = self.files();
        let names: BTreeSet<_> = wanted.iter().chain(rendered.files.keys()).collect();
        let differences = names.into_iter().map(|name| {
            let text = rendered.files.get(name).map(String::as_str).unwrap_or_default();
            difference(&format!("{}/{name}", self.name), &self.folder.join(name), text)
        });
        let differences: String = differences.collect();
        (!differences.is_empty()).then_some(differences)
    }

    /// All files but the input.
    fn files(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.folder).unwrap().flatten();
        let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "in.yaml").collect()
    }
}

impl Rendered {
    /// The files of a bundle under names without hashes: `root.vcl`, and for each shard its own.
    pub fn of_bundle(bundle: &Bundle) -> Self {
        let text = |name: &String| bundle.files[name].to_string();
        let root = bundle.manifest.root.as_ref().unwrap();
        let mut files = BTreeMap::from([("root.vcl".to_owned(), text(root))]);
        let mut labels = BTreeMap::new();
        for (label, name) in &bundle.manifest.labels {
            let file = format!("{}.vcl", label.strip_prefix(NAME_PREFIX).unwrap());
            files.insert(file.clone(), text(name));
            labels.insert(label.clone(), file);
        }
        Self { files, labels }
    }
}

/// What every golden has besides its own input.
pub fn given() -> Vec<Object> {
    objects("given.yaml", &read(&goldens().join("given.yaml")))
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The statuses without `lastTransitionTime`, which is the same everywhere.
fn yaml(statuses: &status::Statuses) -> String {
    let mut objects = output::objects(statuses);
    for object in &mut objects {
        without_times(&mut object.status);
    }
    output::render(&objects, Format::Yaml).unwrap()
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("lastTransitionTime");
            map.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Empty where there is none. A file that is missing counts as empty.
fn difference(name: &str, wanted: &Path, text: &str) -> String {
    if fs::read_to_string(wanted).is_ok_and(|wanted| wanted == text) {
        return String::new();
    }
    let folder = tempfile::tempdir().unwrap();
    let actual = folder.path().join("actual");
    fs::write(&actual, text).unwrap();
    let output = Command::new("diff")
        .args(["-u", "-N", "--label", &format!("{name} (golden)"), "--label", &format!("{name} (now)")])
        .args([wanted, &actual])
        .output()
        .expect("diff is installed");
    format!("{name} is not as it was:\n{}", String::from_utf8_lossy(&output.stdout))
}
