//! Manifests in the shapes that are found in public: beside foreign kinds, for other controllers, in older
//! versions, in every dialect of YAML. Each object gets the status that the spec gives it, and nothing else
//! suffers from what cannot be read.
#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CLASS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: copal
spec:
  controllerName: copal.dev/gateway-controller
";

/// What `copal status` says of one file beside a GatewayClass `copal`.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// A line for each object, listener and parent: `KIND NAMESPACE/NAME [PART]: CONDITION=STATUS[/REASON] …`;
    /// the reason is left out where it is the condition's own name. The class itself is left out.
    conditions: Vec<String>,
    /// Problems, without the folder's name.
    problems: Vec<String>,
    code: Option<i32>,
}

fn status(name: &str, content: &[u8]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("0-class.yaml"), CLASS).unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_copal"))
        .args(["status", "-o", "json"])
        .arg(dir.path())
        .output()
        .unwrap();
    let folder = format!("copal: {}/", dir.path().display());
    let problems = String::from_utf8(command.stderr).unwrap();
    let objects: Vec<Value> = serde_json::from_slice(&command.stdout).unwrap();
    Said {
        conditions: objects.iter().skip(1).flat_map(describe).collect(),
        problems: problems.lines().map(|line| line.replace(&folder, "")).collect(),
        code: command.status.code(),
    }
}

/// The lines of one object.
fn describe(object: &Value) -> Vec<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (kind, name) = (text("/kind").unwrap(), text("/metadata/name").unwrap());
    let name = text("/metadata/namespace").map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
    let parts = |field: &str| object["status"][field].as_array().cloned().unwrap_or_default();
    let listeners = parts("listeners").into_iter().map(|it| (format!(" listener {}", word(&it["name"])), it));
    let parents = parts("parents").into_iter().map(|it| {
        let (parent, section) = (word(&it["parentRef"]["name"]), word(&it["parentRef"]["sectionName"]));
        let at = if section.is_empty() { parent } else { format!("{parent}/{section}") };
        (format!(" at {at}"), it)
    });
    let all = [(String::new(), object["status"].clone())].into_iter().chain(listeners).chain(parents);
    let all = all.filter(|(_, it)| it["conditions"].is_array());
    all.map(|(part, it)| format!("{kind} {name}{part}:{}{}", attached(&it), conditions(&it["conditions"])))
        .collect()
}

fn attached(listener: &Value) -> String {
    listener["attachedRoutes"].as_u64().map(|count| format!(" {count} routes")).unwrap_or_default()
}

/// Nothing serves these folders, so `Programmed` is left out where it is only pending.
fn conditions(list: &Value) -> String {
    let said = list.as_array().unwrap().iter().map(|it| {
        assert!(it["message"].as_str().is_some_and(|message| !message.is_empty()), "{it}");
        let (kind, status, reason) = (word(&it["type"]), word(&it["status"]), word(&it["reason"]));
        if reason == kind { format!(" {kind}={status}") } else { format!(" {kind}={status}/{reason}") }
    });
    let usual = [" Programmed=False/Pending", " Conflicted=False/NoConflicts"];
    said.filter(|it| !usual.contains(&it.as_str())).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The text of a file in `tests/wild`.
fn manifest(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wild").join(name)).unwrap()
}

/// Checks all that is said of a file: conditions in full, of each problem its beginning. How lines end, and a
/// byte order mark, change nothing.
#[track_caller]
fn check(name: &str, conditions: &[&str], problems: &[&str]) {
    let text = manifest(name);
    let said = status(name, text.as_bytes());
    assert_eq!(said.conditions, conditions, "{name}");
    assert_eq!(said.problems.len(), problems.len(), "{name}: {:#?}", said.problems);
    for (said, expected) in said.problems.iter().zip(problems) {
        assert!(said.starts_with(&format!("{name}:{expected}")), "{said}");
    }
    assert_eq!(said.code, Some(i32::from(!problems.is_empty())), "{name}");
    if Path::new(name).extension().is_some_and(|it| it == "yaml") {
        let windows = text.replace('\n', "\r\n");
        assert_eq!(status(name, windows.as_bytes()), said, "{name} with Windows line ends");
        assert_eq!(
            status(name, format!("\u{feff}{windows}").as_bytes()),
            said,
            "{name} with a byte order mark"
        );
    }
}

#[test]
fn other_gateways_kinds_stand_in_the_same_file() {
    check(
        "foreign-kinds.yaml",
        &[
            "Gateway shop/edge: Accepted=True",
            "Gateway shop/edge listener http: 2 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute shop/all-extended at edge: Accepted=False/UnsupportedValue ResolvedRefs=True",
            "HTTPRoute shop/foreign-backend at edge: Accepted=True ResolvedRefs=False/InvalidKind",
            "HTTPRoute shop/half-extended at edge: Accepted=True ResolvedRefs=True PartiallyInvalid=True/UnsupportedValue",
        ],
        &[],
    );
}

#[test]
fn other_parents_are_not_spoken_about() {
    check(
        "mesh.yaml",
        &[
            "Gateway default/ours: Accepted=True",
            "Gateway default/ours listener http: 1 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/everywhere at ours/http: Accepted=True ResolvedRefs=True",
            "HTTPRoute default/everywhere at ours/https: Accepted=False/NoMatchingParent ResolvedRefs=True",
        ],
        &[],
    );
}

#[test]
fn older_versions_are_read_where_they_are_served() {
    check(
        "older-versions.yaml",
        &[
            "GatewayClass older: Accepted=True",
            "Gateway infra/edge: Accepted=True",
            "Gateway infra/edge listener http: 2 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute apps/granted at edge: Accepted=True ResolvedRefs=True",
            "HTTPRoute elsewhere/not-granted at edge: Accepted=True ResolvedRefs=False/RefNotPermitted",
        ],
        &["72: HTTPRoute apps/oldest: HTTPRoute: version v1alpha2 is not supported; expected v1 or v1beta1"],
    );
}

#[test]
fn yaml_is_read_as_kubernetes_reads_it() {
    check(
        "dialect.yaml",
        &[
            "Gateway default/edge: Accepted=True",
            "Gateway default/edge listener http: 1 routes Accepted=True ResolvedRefs=True",
            "Gateway default/edge listener other: 1 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/boolean at edge/http: Accepted=False/UnsupportedValue ResolvedRefs=True",
            "HTTPRoute default/number at edge/http: Accepted=False/UnsupportedValue ResolvedRefs=True",
            "HTTPRoute default/web at edge/http: Accepted=True ResolvedRefs=True",
            "HTTPRoute default/web at edge/other: Accepted=True ResolvedRefs=True",
        ],
        &[],
    );
}

#[test]
fn what_cannot_be_read_costs_only_itself() {
    check(
        "malformed.yaml",
        &[
            "Gateway default/edge: Accepted=True",
            "Gateway default/edge listener http: 0 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/variable at edge: Accepted=False/NoMatchingListenerHostname ResolvedRefs=True",
        ],
        &[
            "15: HTTPRoute default/{{ include \"shop.fullname\" . }}: expected string scalar",
            "30: HTTPRoute default/twice: duplicate mapping key: rules not allowed here",
            "39: HTTPRoute default/tab: tabs disallowed within this context (block indentation)",
            "42: HttpRoute misspelt: gateway.networking.k8s.io has no kind HttpRoute",
            "54: HTTPRoute default/no-list: invalid type: string \"shop.example.com\", expected a sequence",
            "57: HTTPRoute: metadata.name is missing",
        ],
    );
}

#[test]
fn parameters_of_other_implementations_are_refused() {
    check(
        "parameters.yaml",
        &[
            "GatewayClass tuned: Accepted=False/InvalidParameters",
            "Gateway default/addressed: Accepted=False/UnsupportedAddress Programmed=False/Invalid",
            "Gateway default/addressed listener http: 0 routes Accepted=True ResolvedRefs=True Programmed=False/Invalid",
            "Gateway default/of-tuned-class: Accepted=False/InvalidParameters Programmed=False/Invalid",
            "Gateway default/of-tuned-class listener http: 0 routes Accepted=True ResolvedRefs=True Programmed=False/Invalid",
            "Gateway default/tuned: Accepted=False/InvalidParameters Programmed=False/Invalid",
            "Gateway default/tuned listener http: 0 routes Accepted=True ResolvedRefs=True Programmed=False/Invalid",
        ],
        &[],
    );
}

#[test]
fn lists_as_the_api_server_prints_them() {
    check(
        "list.json",
        &[
            "Gateway default/edge: Accepted=True",
            "Gateway default/edge listener http: 1 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/web at edge: Accepted=True ResolvedRefs=True",
        ],
        &[],
    );
}

#[test]
fn fields_without_a_value_are_absent() {
    check(
        "empty-fields.yaml",
        &[
            "Gateway default/edge: Accepted=True",
            "Gateway default/edge listener http: 2 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/empty-lists at edge: Accepted=True ResolvedRefs=True",
            "HTTPRoute default/no-rules at edge: Accepted=True ResolvedRefs=True",
        ],
        &[],
    );
}

#[test]
fn protocols_that_are_not_served_stand_beside_http() {
    check(
        "listeners.yaml",
        &[
            "Gateway default/mixed: Accepted=True/ListenersNotValid",
            "Gateway default/mixed listener http: 1 routes Accepted=True ResolvedRefs=True",
            "Gateway default/mixed listener tcp: 0 routes Accepted=False/ProtocolConflict Conflicted=True/ProtocolConflict ResolvedRefs=True Programmed=False/ProtocolConflict",
            "Gateway default/mixed listener udp: 0 routes Accepted=False/UnsupportedProtocol ResolvedRefs=True Programmed=False/Invalid",
            "Gateway default/mixed listener own: 0 routes Accepted=False/UnsupportedProtocol ResolvedRefs=True Programmed=False/Invalid",
            "Gateway default/mixed listener database: 0 routes Accepted=False/UnsupportedProtocol ResolvedRefs=True Programmed=False/Invalid",
            "Gateway default/mixed listener grpc: 0 routes Accepted=True ResolvedRefs=False/InvalidRouteKinds Programmed=False/Invalid",
            "Gateway default/mixed listener both: 1 routes Accepted=True ResolvedRefs=False/InvalidRouteKinds",
            "ListenerSet default/more: Accepted=True/ListenersNotValid",
            "ListenerSet default/more listener taken: 0 routes Accepted=False/HostnameConflict Conflicted=True/HostnameConflict ResolvedRefs=True Programmed=False/HostnameConflict",
            "ListenerSet default/more listener tcp: 0 routes Accepted=False/ProtocolConflict Conflicted=True/ProtocolConflict ResolvedRefs=True Programmed=False/ProtocolConflict",
            "ListenerSet default/more listener http: 1 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/web at mixed: Accepted=True ResolvedRefs=True",
            "HTTPRoute default/web at mixed/tcp: Accepted=False/NotAllowedByListeners ResolvedRefs=True",
            "HTTPRoute default/web at mixed/grpc: Accepted=False/NotAllowedByListeners ResolvedRefs=True",
            "HTTPRoute default/web at more/http: Accepted=True ResolvedRefs=True",
        ],
        &[],
    );
}

#[test]
fn listeners_are_told_apart_by_name() {
    check(
        "same-name.yaml",
        &[
            "Gateway default/edge: Accepted=True",
            "Gateway default/edge listener http: 1 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute default/web at edge/http: Accepted=True ResolvedRefs=True",
        ],
        &[
            "2: Gateway default/same-name: spec.listeners[1].name: expected each name once; \"http\" is there already",
            "21: ListenerSet default/same-name: spec.listeners[2].name: expected each name once; \"http\" is there already",
        ],
    );
}

#[test]
fn what_the_api_server_would_refuse_is_refused_here() {
    check(
        "rules.yaml",
        &[
            "Gateway default/edge: Accepted=True",
            "Gateway default/edge listener http: 2 routes Accepted=True ResolvedRefs=True",
            "HTTPRoute apps/other-namespace at edge: Accepted=False/NotAllowedByListeners ResolvedRefs=False/BackendNotFound",
            "HTTPRoute default/no-port at edge: Accepted=True ResolvedRefs=False/BackendNotFound",
            "HTTPRoute default/other-host at edge: Accepted=False/NoMatchingListenerHostname ResolvedRefs=True",
            "HTTPRoute default/redirect-with-backend at edge: Accepted=False/IncompatibleFilters ResolvedRefs=True",
            "HTTPRoute default/same-filter-twice at edge: Accepted=False/IncompatibleFilters ResolvedRefs=True",
            "HTTPRoute default/two-ways-to-rewrite at edge: Accepted=False/UnsupportedValue ResolvedRefs=True",
            "HTTPRoute default/unknown-match at edge: Accepted=False/UnsupportedValue ResolvedRefs=True",
            "HTTPRoute default/wss at edge: Accepted=True ResolvedRefs=False/UnsupportedProtocol",
        ],
        &[],
    );
}
