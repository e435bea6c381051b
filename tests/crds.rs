//! The CustomResourceDefinitions in `crds/` are those that the types make: `make crds` writes them.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn crds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
    names.filter(|it| it != "kustomization.yaml").collect()
}

#[test]
fn the_files_are_what_the_types_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
    let status = command.args(["crds", "--out"]).arg(folder.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(names(folder.path()), names(&crds()), "`make crds` writes them");
    for name in names(&crds()) {
        let read = |folder: &Path| fs::read_to_string(folder.join(&name)).unwrap();
        assert!(
            read(folder.path()) == read(&crds()),
            "crds/{name} is not what the types say: `make crds` writes it"
        );
    }
}

#[test]
fn printed_they_are_documents_with_what_kubectl_needs() {
    let output = Command::new(env!("CARGO_BIN_EXE_copal")).arg("crds").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let get = |document: &Value, pointer: &str| document.pointer(pointer).cloned().unwrap_or_default();
    let names: Vec<_> = documents.iter().map(|it| get(it, "/metadata/name")).collect();
    assert_eq!(names, ["gatewayclassparameters.copal.dev", "varnishloggingpolicies.copal.dev"]);
    let label = "/metadata/labels/gateway.networking.k8s.io~1policy";
    assert_eq!(documents.iter().map(|it| get(it, label)).collect::<Vec<_>>(), [Value::Null, "Direct".into()]);
    for document in &documents {
        // What `kubectl apply` keeps of an object may have 256 KiB.
        let length = document.to_string().len();
        assert!(length < 200_000, "{length} bytes");
        assert!(!document.to_string().contains("nullable"));
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations";
        assert!(get(document, spec).as_array().is_some_and(|it| it.len() > 1));
    }
}
