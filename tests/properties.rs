//! What must hold for every configuration: Varnish and `copal explain` decide as an independent reading of
//! the Gateway API does, order means nothing, and no text gets out of its place.
//!
//! The random numbers are the same in every run. `COPAL_TEST_SEED=N` takes others; failures name theirs.
#![cfg(test)]

mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use oracle::generate::{self, PORTS};
use oracle::manifest::documents;
use oracle::{Config, Decision, Request, decide};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::{Value as Json, json};
use support::{Backend, Gateway, Response, Shared, gateway_class, get, service};

/// Runs a property over generated inputs, and shows the smallest that breaks it.
fn check<S: Strategy>(cases: u32, inputs: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seed: u8 = std::env::var("COPAL_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 80,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    match runner.run(inputs, property) {
        Ok(()) => (),
        // The reason names the input; all of it again would hide that.
        Err(TestError::Fail(reason, _)) => panic!("with COPAL_TEST_SEED={seed}: {}", reason.message()),
        Err(TestError::Abort(reason)) => panic!("no input could be made: {}", reason.message()),
    }
}

/// A gateway for this file's tests, and the one backend behind it.
fn shared() -> &'static (Gateway, Backend) {
    static SHARED: Shared<(Gateway, Backend)> = Shared::new();
    SHARED.get(|| {
        let echo = Backend::start("echo");
        let keeper = Config { listeners: keepers(), routes: Vec::new() };
        let quoting = support::gateway("gw", &support::listener("http", 82));
        let files =
            [("echo.yaml", service("echo", &[&echo])), ("oracle.yaml", keeper.file()), ("gw.yaml", quoting)];
        (Gateway::start(&[PORTS[0], PORTS[1], 82], &files), echo)
    })
}

fn keepers() -> Vec<oracle::Listener> {
    let keeper = |port: u16| oracle::Listener {
        name: format!("k{port}"),
        port,
        hostname: Some("keeper.invalid".into()),
    };
    PORTS.into_iter().map(keeper).collect()
}

#[test]
fn varnish_decides_as_the_oracle() {
    let (gateway, _) = shared();
    let inputs = generate::case(80);
    check(25, &inputs, |(config, requests)| {
        gateway.apply("oracle.yaml", &config.file());
        for request in &requests {
            let decided = decided_by_varnish(gateway, request);
            prop_assert_eq!(decided, Some(decide(&config, request)), "{:?}\n{}", request, config.file());
        }
        Ok(())
    });
}

/// `None` when the answer is neither a rule's nor 404.
fn decided_by_varnish(gateway: &Gateway, request: &Request) -> Option<Decision> {
    let wire = support::Request::new(&request.method, &request.host, &request.target()).port(request.port);
    let wire = request.headers.iter().fold(wire, |wire, (name, value)| wire.header(name, value));
    let response = gateway.send(&wire);
    match response.status {
        404 => Some(Decision::NotFound),
        302 => Decision::parse(response.header("location")?),
        200 => Decision::parse(response.received("x-rule").first()?),
        _ => None,
    }
}

#[test]
fn explain_decides_as_the_oracle() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = generate::case(8);
    check(40, &inputs, |(config, requests)| {
        write(folder.path(), "oracle.yaml", &(gateway_class() + &config.file()));
        for request in &requests {
            let explained = decided_by_explain(folder.path(), request);
            prop_assert_eq!(explained, Some(decide(&config, request)), "{:?}\n{}", request, config.file());
        }
        Ok(())
    });
}

fn decided_by_explain(folder: &Path, request: &Request) -> Option<Decision> {
    let url = format!("http://{}:{}{}", request.host, request.port, request.target());
    let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
    command.arg("explain").arg(folder).arg(url).args([
        "--port-offset",
        "0",
        "-X",
        &request.method,
        "-o",
        "json",
    ]);
    for (name, value) in &request.headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let output = command.output().unwrap();
    let json = serde_json::from_slice(&output.stdout);
    explained(&json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The decision in what `copal explain -o json` prints: `rule`, absent when none answers, with `route`
/// (`NAMESPACE/NAME`) and `rule` (a number from 0).
fn explained(json: &Json) -> Option<Decision> {
    let Some(route) = json["rule"]["route"].as_str() else { return Some(Decision::NotFound) };
    Decision::parse(&format!("/{route}/{}", json["rule"]["rule"]))
}

#[test]
fn the_order_of_documents_and_files_means_nothing() {
    let inputs = generate::config().prop_flat_map(|config| {
        let manifests = config.manifests();
        (Just(manifests.clone()), Just(manifests).prop_shuffle(), 1_usize..4)
    });
    check(12, &inputs, |(manifests, shuffled, files)| {
        let one = rendered(&[manifests]);
        let chunk = shuffled.len().div_ceil(files);
        let several: Vec<Vec<Json>> = shuffled.chunks(chunk).map(<[Json]>::to_vec).collect();
        prop_assert_eq!(one, rendered(&several));
        Ok(())
    });
}

/// What `copal render` writes for these files: name → text.
fn rendered(files: &[Vec<Json>]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "in/class.yaml", &gateway_class());
    for (number, manifests) in files.iter().enumerate() {
        write(folder.path(), &format!("in/{number}.yaml"), &documents(manifests));
    }
    render(&folder.path().join("in"), &folder.path().join("out"))
}

fn render(folder: &Path, out: &Path) -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_copal"))
        .arg("render")
        .arg(folder)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = std::fs::read_dir(out).unwrap().flatten();
    let text = |file: &std::fs::DirEntry| std::fs::read_to_string(file.path()).unwrap();
    files.map(|file| (file.file_name().to_string_lossy().into_owned(), text(&file))).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Text that looks for a way out of a literal.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(
        &[
            "\"",
            "\"\"\"",
            "{\"",
            "\"}",
            "'",
            "\\",
            "\\\"",
            "\n",
            "\r\n",
            "\t",
            "\0",
            "C{",
            "}C",
            "/*",
            "*/",
            "//",
            "#",
            ";",
            "}",
            "%00",
            "%0a",
            "${x}",
            "\" + req.url + \"",
            "é",
            "漢",
            "\u{7f}",
            "\u{feff}",
            "vcl 4.1;",
            "a",
            "b",
            "1",
            " ",
        ][..],
    );
    prop_oneof![4 => vec(piece, 1..6).prop_map(|pieces| pieces.concat()), 1 => ".{1,12}"]
}

#[test]
fn header_values_arrive_byte_for_byte_or_are_refused() {
    let (gateway, _) = shared();
    check(6, &vec(hostile(), 20), |values| {
        let rules: Vec<Json> =
            values.iter().enumerate().map(|(number, value)| value_rule(number, value)).collect();
        gateway.apply("quoting.yaml", &documents(&[quoting_route(&rules)]));
        for (number, value) in values.iter().enumerate() {
            let response = gateway.send(&get("quoting.test", &format!("/v{number}")).port(82));
            prop_assert!(arrived(&response, value), "{:?}: {:?} {}", value, response, response.text());
        }
        Ok(())
    });
}

/// Outer blanks are no part of a header's value on the wire.
fn arrived(response: &Response, value: &str) -> bool {
    let refused = response.status == 500 && response.backend().is_empty();
    refused || (response.status == 200 && response.received("x-value").concat().trim() == value.trim())
}

fn value_rule(number: usize, value: &str) -> Json {
    json!({
        "matches": [{"path": {"type": "Exact", "value": format!("/v{number}")}}],
        "filters": [{"type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": "x-value", "value": value}]}}],
        "backendRefs": [{"name": "echo", "port": 80}],
    })
}

fn quoting_route(rules: &[Json]) -> Json {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "quoting", "namespace": "default"},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["quoting.test"], "rules": rules},
    })
}

#[test]
fn hostile_text_anywhere_still_gives_vcl_that_compiles() {
    check(10, &vec(hostile(), 14), |text| {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        let gateway = gateway_class() + &support::gateway("gw", &support::listener("http", 80));
        write(&input, "gateway.yaml", &gateway);
        write(&input, "quoting.yaml", &documents(&[quoting_route(&hostile_rules(&text))]));
        for (name, text) in render(&input, &folder.path().join("out")) {
            prop_assert!(compiles(folder.path(), &name, &text)?, "{name} does not compile:\n{text}");
        }
        Ok(())
    });
}

/// The text in every place of a rule that takes some.
fn hostile_rules(text: &[String]) -> Vec<Json> {
    let path = |kind: &str, value: &str| json!({"matches": [{"path": {"type": kind, "value": value}}]});
    let filter = |kind: &str, field: &str, value: Json| json!({"filters": [{"type": kind, field: value}]});
    let pair = |name: &str, value: &str| json!({"name": name, "value": value});
    vec![
        path("Exact", &format!("/{}", text[0])),
        path("PathPrefix", &format!("/{}", text[1])),
        path("RegularExpression", &format!("/{}", text[2])),
        json!({"matches": [{"headers": [pair("x-a", &text[3])]}]}),
        json!({"matches": [{"headers": [pair(&text[4], "1")]}]}),
        json!({"matches": [{"queryParams": [pair(&text[5], &text[6])]}]}),
        filter("RequestRedirect", "requestRedirect", json!({"hostname": text[7]})),
        filter(
            "RequestRedirect",
            "requestRedirect",
            json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": format!("/{}", text[8])}}),
        ),
        filter(
            "URLRewrite",
            "urlRewrite",
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": format!("/{}", text[9])}}),
        ),
        filter(
            "ResponseHeaderModifier",
            "responseHeaderModifier",
            json!({"add": [pair(&text[10], &text[11])]}),
        ),
        filter("CORS", "cors", json!({"allowOrigins": [text[12]], "allowHeaders": [text[13]]})),
        json!({"name": text[0], "matches": [{"method": text[1]}]}),
    ]
}

/// Whether varnishd takes it. The root needs labels that only a running varnishd has; the manifest is no VCL.
fn compiles(folder: &Path, name: &str, text: &str) -> Result<bool, TestCaseError> {
    let is_vcl = Path::new(name).extension().is_some_and(|extension| extension == "vcl");
    if !is_vcl || text.contains("return (vcl(") || text.contains("return(vcl(") {
        return Ok(true);
    }
    write(folder, "check.vcl", text);
    let compiler = "cc_command=tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o";
    let output = Command::new("varnishd")
        .args(["-C", "-p", "vcc_err_unref=off", "-p", compiler, "-n"])
        .arg(folder.join("varnish"))
        .arg("-f")
        .arg(folder.join("check.vcl"))
        .output()
        .map_err(|error| TestCaseError::fail(format!("varnishd: {error}")))?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}
