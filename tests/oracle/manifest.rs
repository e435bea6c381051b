//! The oracle's configurations as manifests, and what an answer says of the rule that gave it.

use serde_json::{Value as Json, json};

use super::{Config, Decision, Match, PathMatch, Request, Route, Value, ValueMatch};

impl Config {
    /// One manifest per object. Rules say who they are: even ones redirect to `/NAMESPACE/ROUTE/RULE`, odd ones
    /// send it to Service `default/echo` as the header `x-rule`.
    pub fn manifests(&self) -> Vec<Json> {
        let listener = |it: &super::Listener| {
            let mut json = json!({"name": it.name, "port": it.port, "protocol": "HTTP",
                "allowedRoutes": {"namespaces": {"from": "All"}}});
            if let Some(hostname) = &it.hostname {
                json["hostname"] = json!(hostname);
            }
            json
        };
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "oracle", "namespace": "default"},
            "spec": {
                "gatewayClassName": "copal",
                "listeners": self.listeners.iter().map(listener).collect::<Vec<_>>(),
            },
        });
        let from = |namespace: &str| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": namespace});
        let grant = json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1",
            "kind": "ReferenceGrant",
            "metadata": {"name": "echo", "namespace": "default"},
            "spec": {"from": [from("n1"), from("n2")], "to": [{"group": "", "kind": "Service"}]},
        });
        [gateway, grant].into_iter().chain(self.routes.iter().map(Route::manifest)).collect()
    }

    /// The manifests as one file. JSON is YAML.
    pub fn file(&self) -> String {
        documents(&self.manifests())
    }
}

/// Several documents in one file.
pub fn documents(manifests: &[Json]) -> String {
    let texts: Vec<_> = manifests.iter().map(|manifest| format!("---\n{manifest:#}\n")).collect();
    texts.concat().chars().map(yaml).collect()
}

/// JSON leaves some characters as they are that YAML wants escaped.
fn yaml(character: char) -> String {
    match character {
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
            format!("\\u{:04x}", u32::from(character))
        }
        other => other.to_string(),
    }
}

impl Route {
    fn manifest(&self) -> Json {
        let mut parent = json!({"name": "oracle", "namespace": "default"});
        if let Some(section) = &self.section {
            parent["sectionName"] = json!(section);
        }
        let mut metadata = json!({"name": self.name, "namespace": self.namespace});
        if let Some(day) = self.day {
            metadata["creationTimestamp"] = json!(format!("2024-01-0{}T00:00:00Z", day + 1));
        }
        let mut spec = json!({"parentRefs": [parent]});
        if !self.hostnames.is_empty() {
            spec["hostnames"] = json!(self.hostnames);
        }
        spec["rules"] = (0..self.rules.len()).map(|number| self.rule(number)).collect();
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec})
    }

    fn rule(&self, number: usize) -> Json {
        let id = format!("{}/{}/{number}", self.namespace, self.name);
        let mut rule = if number.is_multiple_of(2) {
            let path = json!({"type": "ReplaceFullPath", "replaceFullPath": format!("/{id}")});
            json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"path": path}}]})
        } else {
            let set = json!({"set": [{"name": "x-rule", "value": id}]});
            json!({
                "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": set}],
                "backendRefs": [{"name": "echo", "namespace": "default", "port": 80}],
            })
        };
        let matches = &self.rules[number].matches;
        if !matches.is_empty() {
            rule["matches"] = matches.iter().map(Match::manifest).collect();
        }
        rule
    }
}

impl Match {
    fn manifest(&self) -> Json {
        let mut json = json!({});
        match &self.path {
            None => (),
            Some(PathMatch::Exact(path)) => json["path"] = json!({"type": "Exact", "value": path}),
            Some(PathMatch::Prefix(path)) => json["path"] = json!({"type": "PathPrefix", "value": path}),
            Some(PathMatch::Regex(it)) => {
                json["path"] = json!({"type": "RegularExpression", "value": it.text});
            }
        }
        if let Some(method) = &self.method {
            json["method"] = json!(method);
        }
        let values = |values: &[ValueMatch]| values.iter().map(ValueMatch::manifest).collect::<Json>();
        if !self.headers.is_empty() {
            json["headers"] = values(&self.headers);
        }
        if !self.query.is_empty() {
            json["queryParams"] = values(&self.query);
        }
        json
    }
}

impl ValueMatch {
    fn manifest(&self) -> Json {
        match &self.value {
            Value::Exact(text) => json!({"type": "Exact", "name": self.name, "value": text}),
            Value::Regex(it) => json!({"type": "RegularExpression", "name": self.name, "value": it.text}),
        }
    }
}

impl Request {
    /// Path and query.
    pub fn target(&self) -> String {
        let pairs: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, pairs.join("&")) }
    }
}

impl Decision {
    /// Reads `/NAMESPACE/ROUTE/RULE`, with or without what stands before the path of a location.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text
            .split_once("://")
            .map_or(text, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        let (namespace, route) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self::Rule { namespace, route, rule: parts.next()?.parse().ok()? })
    }
}
