//! `copal` on folders of manifests, through the real binary.
#![cfg(test)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const COPAL: &str = env!("CARGO_BIN_EXE_copal");

fn copal(arguments: &[&str], folder: &Path) -> Output {
    Command::new(COPAL).args(arguments).arg(folder).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const CLASS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: copal
spec:
  controllerName: copal.dev/gateway-controller
";

const GATEWAY_AND_ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: web
spec:
  gatewayClassName: copal
  listeners:
    - name: http
      port: 80
      protocol: HTTP
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web
spec:
  parentRefs:
    - name: web
  rules:
    - backendRefs:
        - name: web
          port: 80
";

#[test]
fn well_formed_folders_are_read_with_their_sub_folders() {
    let dir = folder(&[
        ("class.yml", CLASS),
        ("apps/web/gateway.yaml", GATEWAY_AND_ROUTE),
        ("apps/space.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}}"#),
        ("apps/.hidden/broken.yaml", "["),
        (".broken.yaml", "["),
        ("README.md", "["),
        ("other.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"),
    ]);
    for command in ["render", "status"] {
        let output = copal(&[command], dir.path());
        assert_eq!(stderr(&output), "", "{command}");
        assert!(output.status.success(), "{command}");
    }
}

#[test]
fn malformed_objects_are_named_with_file_and_line_and_the_rest_is_printed() {
    let route = GATEWAY_AND_ROUTE.replace("port: 80\n", "port: eighty\n");
    let dir = folder(&[("class.yaml", CLASS), ("sub/route.yaml", &route), ("text.yaml", "a: [\n")]);
    for command in ["render", "status"] {
        let output = copal(&[command], dir.path());
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let file = dir.path().join("sub/route.yaml");
        let gateway =
            format!("copal: {}:9: Gateway default/web: invalid type: string \"eighty\"", file.display());
        assert!(errors.contains(&gateway), "{errors}");
        assert!(errors.contains("text.yaml:1: "), "{errors}");
        assert!(
            errors.lines().all(|line| line.ends_with("; it is left out until that is mended")),
            "{errors}"
        );
    }
}

#[test]
fn a_bundle_can_be_written_to_a_folder_and_is_the_same_each_time() {
    let dir = folder(&[("class.yaml", CLASS), ("web.yaml", GATEWAY_AND_ROUTE)]);
    let out = tempfile::tempdir().unwrap();
    let manifest = |name: &str| {
        let target = out.path().join(name);
        let output = copal(&["render", "--out", target.to_str().unwrap()], dir.path());
        assert!(output.status.success(), "{}", stderr(&output));
        copal::bundle_folder::read(&target, None).unwrap()
    };
    assert_eq!(manifest("one"), manifest("two"));
}

/// What all goldens have, and the Secrets are in it.
const GIVEN: &str = include_str!("golden/given.yaml");

const HTTPS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: copal
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: one}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: to.test}}]
";

/// The Gateway of `HTTPS` stands in the place of the goldens'.
fn https_folder() -> tempfile::TempDir {
    let documents: Vec<&str> = GIVEN
        .split("\n---\n")
        .filter(|it| !it.starts_with("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"))
        .collect();
    folder(&[("given.yaml", &documents.join("\n---\n")), ("https.yaml", HTTPS)])
}

#[test]
fn keys_are_never_printed() {
    let dir = https_folder();
    let url = "https://a.test:8443/";
    let keys: Vec<&str> = GIVEN.lines().filter_map(|line| line.trim().strip_prefix("tls.key: ")).collect();
    assert_eq!(keys.len(), 3);
    for arguments in [vec!["render"], vec!["status"], vec!["status", "-o", "json"], vec!["explain"]] {
        let mut command = Command::new(COPAL);
        command.args(&arguments).arg(dir.path());
        if arguments == ["explain"] {
            command.arg(url);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(!printed.contains("PRIVATE KEY") && !printed.contains("LS0tLS1"), "{arguments:?}");
        assert!(keys.iter().all(|key| !printed.contains(*key)), "{arguments:?}");
    }
}

#[test]
fn a_request_is_explained_by_the_scheme_of_its_url() {
    let dir = https_folder();
    let explain = |url: &str| {
        let output = Command::new(COPAL).arg("explain").arg(dir.path()).arg(url).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explain("http://a.test/").contains("redirect 302 to http://to.test:8080,"));
    assert!(explain("https://a.test/").contains("redirect 302 to https://to.test:8443,"));
    assert!(explain("https://a.test:8443/").contains("redirect 302 to https://to.test:8443,"));
    assert!(explain("https://a.test:8080/").contains("no answer: this port speaks http\n"));
}

#[test]
fn an_unusable_folder_is_an_error_for_every_command() {
    let dir = folder(&[("file.yaml", CLASS)]);
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    for command in [&["render"][..], &["status"], &["run", "--state", state]] {
        let missing = copal(command, &dir.path().join("nowhere"));
        assert_eq!(missing.status.code(), Some(1), "{command:?}");
        assert!(stderr(&missing).contains("cannot read the manifest folder"), "{}", stderr(&missing));
        let file = copal(command, &dir.path().join("file.yaml"));
        assert_eq!(file.status.code(), Some(1), "{command:?}");
        assert!(stderr(&file).contains("is not a folder: expected a folder with"), "{}", stderr(&file));
    }
}

#[test]
fn unreadable_files_cost_only_themselves() {
    let dir = folder(&[("a.yaml", CLASS), ("b.yaml", CLASS)]);
    let b = dir.path().join("b.yaml");
    fs::set_permissions(&b, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&b).is_ok() {
        return; // root reads everything
    }
    let output = copal(&["render"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("b.yaml: cannot read it: "), "{}", stderr(&output));
}

#[test]
fn a_state_folder_is_for_one_run_at_a_time() {
    let (dir, state) = (folder(&[("class.yaml", CLASS)]), tempfile::tempdir().unwrap());
    let lock = File::create(state.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let output = copal(&["run", "--state", state.path().to_str().unwrap()], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is in use by another `copal run`"), "{}", stderr(&output));
}

#[test]
fn wrong_arguments_are_told_with_what_was_expected() {
    let dir = folder(&[]);
    let dir = dir.path().to_str().unwrap();
    let run = |arguments: &[&str]| Command::new(COPAL).args(arguments).output().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["explain", dir, "/path"], "expected http://HOST[:PORT]/PATH"),
        (&["explain", dir, "http://a/", "-H", "x"], "expected NAME: VALUE"),
        (&["run", dir, "--port-offset", "70000"], "70000 is not in 0..=65535"),
        (&["status", dir, "-o", "xml"], "[possible values: text, yaml, json]"),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
