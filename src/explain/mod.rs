//! The decision for one request, step by step, from the same model that VCL is rendered from.

mod evaluate;
mod request;
mod text;

use serde::Serialize;

use crate::model::{
    Branch, Filters, Forward, HeaderChange, Mirror, Model, Outcome, PathRewrite, Redirect, RouteMatch, Rule,
    Scheme, Service, Share, VirtualHost, normalise,
};
pub use request::Request;

/// What answers a request, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The port that the request came in on, as the listener has it.
    pub port: u16,
    /// What the port speaks, where it is not what the URL says: nothing answers then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<&'static str>,
    /// The host as it is looked up.
    pub host: String,
    /// The host of the virtual host that was found first; `*` is for all hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// The listener that has this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// To whom the connection goes past Varnish, by its server name; then nothing of what follows applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past_varnish: Option<Vec<Stream>>,
    /// Matches in the order in which they were tried, up to the one that fits.
    pub tried: Vec<Tried>,
    /// The rule that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Chosen>,
    /// The status that the gateway answers with by itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A backend that gets a part of the connections that go past Varnish.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stream {
    /// Its share of connections, in percent.
    pub share: f64,
    /// Its ready endpoints. Without any, its share is refused.
    pub endpoints: Vec<String>,
}

/// A match that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Namespace and name of the HTTPRoute.
    pub route: String,
    /// The rule's place in it.
    pub rule: usize,
    /// What the match asks for.
    pub wants: String,
    /// The first thing that does not fit; none if all does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
}

/// The rule that was chosen, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// Namespace and name of the HTTPRoute.
    pub route: String,
    /// The rule's place in it.
    pub rule: usize,
    /// The rule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The rule's filters and limits.
    pub filters: Vec<String>,
    /// One for each way to answer.
    pub branches: Vec<ChosenBranch>,
    /// What the cache does.
    pub cache: String,
}

/// A way to answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenBranch {
    /// Its share of requests, in percent.
    pub share: f64,
    /// What it is.
    pub outcome: String,
    /// The branch's own filters.
    pub filters: Vec<String>,
    /// Ready endpoints of its Service.
    pub endpoints: Vec<String>,
    /// Who gets copies of what goes to these.
    pub mirrors: Vec<ChosenMirror>,
    /// The status that the gateway answers with by itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A Service that requests are copied to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenMirror {
    /// Namespace, name and port.
    pub service: String,
    /// The share of requests that are copied, in percent.
    pub share: f64,
    /// Its ready endpoints, one of which gets a copy.
    pub endpoints: Vec<String>,
}

/// Explains what the model does with a request.
#[must_use]
pub fn explain(model: &Model, request: &Request) -> Explanation {
    let host = normalise(request.host());
    let mut explanation = Explanation {
        port: request.port,
        speaks: None,
        virtual_host: None,
        listener: None,
        past_varnish: None,
        tried: Vec::new(),
        rule: None,
        status: Some(404),
        host,
    };
    let stream = model.stream(request.port, &explanation.host).filter(|_| request.scheme == Scheme::Https);
    if let Some((pattern, shares)) = stream {
        explanation.virtual_host = Some(pattern.to_string());
        explanation.past_varnish = Some(streams(shares));
        explanation.status = None;
        return explanation;
    }
    let scheme = model.scheme(request.port);
    if scheme != request.scheme && model.ports.contains_key(&request.port) {
        explanation.speaks = Some(scheme.as_str());
        explanation.status = None;
        return explanation;
    }
    let Some((pattern, found)) = model.virtual_host(request.port, &explanation.host) else {
        return explanation;
    };
    explanation.virtual_host = Some(pattern.to_string());
    explanation.listener = Some(found.listener.to_string());
    let Some(fitting) = find(model, request, found, &mut explanation.tried) else { return explanation };
    let chosen = chosen(request, &fitting.rule);
    explanation.status = match chosen.branches.as_slice() {
        [branch] => branch.status,
        _ => None,
    };
    explanation.rule = Some(chosen);
    explanation
}

fn streams(shares: &[Share]) -> Vec<Stream> {
    let total: u64 = shares.iter().map(|it| u64::from(it.weight)).sum();
    let percent =
        |weight: u32| f64::from(weight) * 100.0 / f64::from(u32::try_from(total).unwrap_or(u32::MAX).max(1));
    let stream = |it: &Share| Stream {
        share: percent(it.weight),
        endpoints: it.endpoints.iter().map(ToString::to_string).collect(),
    };
    shares.iter().map(stream).collect()
}

/// The first match that fits, in this virtual host or in those that it falls back to.
fn find<'a>(
    model: &'a Model,
    request: &Request,
    host: &'a VirtualHost,
    tried: &mut Vec<Tried>,
) -> Option<&'a RouteMatch> {
    for it in &host.matches {
        let misfit = evaluate::misfit(it, request);
        let id = &it.rule.id;
        let fits = misfit.is_none();
        tried.push(Tried { route: id.route.to_string(), rule: id.index, wants: text::wants(it), misfit });
        if fits {
            return Some(it);
        }
    }
    let hosts = model.ports.get(&request.port)?;
    find(model, request, hosts.get(host.fallback.as_ref()?)?, tried)
}

fn chosen(request: &Request, rule: &Rule) -> Chosen {
    let total: u32 = rule.branches.iter().map(|branch| branch.weight).sum();
    let mut filters = text::filters(&rule.filters);
    filters.extend(text::limits(rule));
    Chosen {
        route: rule.id.route.to_string(),
        rule: rule.id.index,
        name: rule.id.name.clone(),
        filters,
        branches: rule.branches.iter().map(|branch| chosen_branch(branch, total)).collect(),
        cache: cache(request, rule),
    }
}

fn chosen_branch(branch: &Branch, total: u32) -> ChosenBranch {
    let forward = forward(branch);
    let endpoints = forward.map(|it| endpoints(&it.backend)).unwrap_or_default();
    let mirrors = forward.filter(|_| !endpoints.is_empty()).map(|it| it.mirrors.as_slice());
    let status = match &branch.outcome {
        Outcome::Redirect(it) => Some(it.status),
        Outcome::Fail(_) => Some(500),
        Outcome::Forward(_) => endpoints.is_empty().then_some(503),
    };
    ChosenBranch {
        share: f64::from(branch.weight) * 100.0 / f64::from(total.max(1)),
        outcome: text::outcome(&branch.outcome),
        filters: text::filters(&branch.filters),
        endpoints,
        mirrors: mirrors.unwrap_or_default().iter().map(chosen_mirror).collect(),
        status,
    }
}

fn forward(branch: &Branch) -> Option<&Forward> {
    match &branch.outcome {
        Outcome::Forward(it) => Some(it),
        Outcome::Redirect(_) | Outcome::Fail(_) => None,
    }
}

fn endpoints(it: &Service) -> Vec<String> {
    it.endpoints.iter().map(ToString::to_string).collect()
}

fn chosen_mirror(it: &Mirror) -> ChosenMirror {
    ChosenMirror {
        service: it.service.to_string(),
        share: f64::from(it.numerator) * 100.0 / f64::from(it.denominator.max(1)),
        endpoints: endpoints(&it.backend),
    }
}

/// What the cache does. Of a rule's backends, some may have mirrors and others none.
fn cache(request: &Request, rule: &Rule) -> String {
    let mut forwards = rule.branches.iter().filter_map(forward);
    let others = looked_up(request);
    match (forwards.clone().all(|it| it.mirrors.is_empty()), forwards.any(|it| it.mirrors.is_empty())) {
        (true, _) => others,
        (false, false) => "pass: requests that are copied are not looked up".to_owned(),
        (false, true) => format!("pass where the request is copied, else {others}"),
    }
}

fn looked_up(request: &Request) -> String {
    let carries = |name: &str| request.header(name).is_some();
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        format!("pass: method {} is not looked up", request.method)
    } else if carries("authorization") || carries("cookie") {
        "pass: the request has Authorization or Cookie".to_owned()
    } else {
        "look-up; stored if the response says for how long (Cache-Control, Expires)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::model::{
        HostPattern, ObjectKey, Rewrite, RuleId, ServicePort, Timeouts, TlsPort, VirtualHosts,
    };

    #[test]
    fn what_goes_past_varnish_is_told_by_the_most_specific_name() {
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        let share = |weight| Share { weight, endpoints: ["10.0.0.1:1".parse().unwrap()].into() };
        let mut model = Model::default();
        model.passthrough.insert(443, [(pattern("*.a.test"), [share(3), share(1)].into())].into());
        model.plain.insert(443, [(pattern("b.test"), [].into())].into());
        let certificates = ["", "b.test", "x.a.test"].map(|it| (pattern(it), Vec::new()));
        model.tls.insert(443, TlsPort { certificates: certificates.into(), ..TlsPort::default() });
        for (scheme, port, host, expected) in [
            (Scheme::Https, 443, "y.a.test", Some((2, "75.0 %: 10.0.0.1:1"))),
            (Scheme::Https, 443, "b.test", Some((0, "  refused"))),
            (Scheme::Https, 443, "x.a.test", None),
            (Scheme::Https, 443, "a.test", None),
            (Scheme::Http, 443, "y.a.test", None),
            (Scheme::Https, 444, "y.a.test", None),
        ] {
            let headers = vec![("host".to_owned(), host.to_owned())];
            let request = Request { scheme, port, method: "GET".into(), url: "/".into(), headers };
            let explanation = explain(&model, &request);
            let streams = explanation.past_varnish.as_ref().map(Vec::len);
            assert_eq!(streams, expected.map(|(count, _)| count), "{host}");
            let text = explanation.to_string();
            assert!(expected.is_none_or(|(_, line)| text.contains(line)), "{text}");
        }
    }

    fn rule(mirrors: &[&[u32]]) -> Rule {
        let port = |name: &str| ServicePort { service: ObjectKey::new("default", name), port: 80 };
        let backend =
            Arc::new(Service { endpoints: ["10.0.0.1:80".parse().unwrap()].into(), ..Service::default() });
        let mirror = |numerator: &u32| Mirror {
            service: port("b"),
            backend: backend.clone(),
            numerator: *numerator,
            denominator: 50,
        };
        let branch = |mirrors: &&[u32]| Branch {
            weight: 1,
            filters: Filters::default(),
            outcome: Outcome::Forward(Forward {
                service: port("a"),
                backend: backend.clone(),
                rewrite: Rewrite::default(),
                mirrors: mirrors.iter().map(mirror).collect(),
            }),
        };
        Rule {
            id: RuleId { route: ObjectKey::new("default", "r"), index: 0, name: None },
            filters: Filters::default(),
            branches: mirrors.iter().map(branch).collect(),
            timeouts: Timeouts::default(),
            retry: None,
        }
    }

    #[test]
    fn copies_are_told_with_their_share_and_keep_requests_from_the_cache() {
        let request = Request {
            scheme: Scheme::Http,
            port: 80,
            method: "GET".into(),
            url: "/".into(),
            headers: Vec::new(),
        };
        let explained = chosen(&request, &rule(&[&[10, 50]]));
        let mirrors = serde_json::to_value(&explained.branches[0].mirrors).unwrap();
        let expected = |share: f64| serde_json::json!({"service": "default/b:80", "share": share, "endpoints": ["10.0.0.1:80"]});
        assert_eq!(mirrors, serde_json::json!([expected(20.0), expected(100.0)]));
        let text = text::mirror(&explained.branches[0].mirrors[0]);
        assert_eq!(text, "20.0 % copied to Service default/b:80 at 10.0.0.1:80");
        for (mirrors, cache) in [
            (&[&[][..], &[]][..], "look-up"),
            (&[&[1], &[2]], "pass: requests that are copied"),
            (&[&[1], &[]], "pass where the request is copied, else look-up"),
        ] {
            let explained = chosen(&request, &rule(mirrors));
            assert!(explained.cache.starts_with(cache), "{}", explained.cache);
        }
    }

    #[test]
    fn a_port_answers_in_its_own_scheme_only() {
        let mut model = Model::default();
        model.ports.extend([(80, VirtualHosts::new()), (443, VirtualHosts::new())]);
        model.tls.insert(443, TlsPort::default());
        for (scheme, port, speaks) in [
            (Scheme::Http, 80, None),
            (Scheme::Https, 443, None),
            (Scheme::Https, 80, Some("http")),
            (Scheme::Http, 443, Some("https")),
            (Scheme::Https, 8443, None),
        ] {
            let request =
                Request { scheme, port, method: "GET".into(), url: "/".into(), headers: Vec::new() };
            let explanation = explain(&model, &request);
            assert_eq!(
                (explanation.speaks, explanation.status),
                (speaks, speaks.map_or(Some(404), |_| None))
            );
        }
    }
}
