//! The parts of a model in words.

use std::fmt::Write;

use super::{
    ChosenMirror, Explanation, Filters, HeaderChange, Outcome, PathRewrite, Redirect, RouteMatch, Rule,
};
use crate::model::{PathMatch, Rewrite, Transport, ValueMatch};

/// What a match asks for.
pub(super) fn wants(it: &RouteMatch) -> String {
    let mut text = match &it.path {
        PathMatch::Exact(path) => format!("path {}", path.as_str()),
        PathMatch::Regex(regex) => format!("path like {}", regex.as_str()),
        PathMatch::Prefix(path) => format!("path prefix {}", path.as_str()),
    };
    let method = it.method.iter().map(|method| format!("method {method}"));
    let headers = it.headers.iter().map(|header| format!("header {} {}", header.name, value(&header.value)));
    let query =
        it.query.iter().map(|query| format!("query parameter {} {}", query.name, value(&query.value)));
    for part in method.chain(headers).chain(query) {
        text.push_str(", ");
        text.push_str(&part);
    }
    text
}

fn value(it: &ValueMatch) -> String {
    match it {
        ValueMatch::Exact(value) => format!("= {value:?}"),
        ValueMatch::Regex(regex) => format!("like {}", regex.as_str()),
    }
}

/// A list of filters.
pub(super) fn filters(it: &Filters) -> Vec<String> {
    let change = |what: &str, change: &HeaderChange| match change {
        HeaderChange::Set(name, value) => format!("{what} header {name} set to {:?}", value.as_str()),
        HeaderChange::Add(name, value) => format!("{what} header {name} gets {:?} added", value.as_str()),
        HeaderChange::Remove(name) => format!("{what} header {name} removed"),
    };
    let request = it.request.iter().map(|it| change("request", it));
    let response = it.response.iter().map(|it| change("response", it));
    request
        .chain(response)
        .chain(it.cors.iter().map(|it| format!("CORS for {} origins", it.origins.len())))
        .collect()
}

/// Time limits and retries.
pub(super) fn limits(it: &Rule) -> Vec<String> {
    let limit = |what: &str, it: std::time::Duration| {
        if it.is_zero() { format!("timeout {what}: none") } else { format!("timeout {what}: {it:?}") }
    };
    let request = it.timeouts.request.map(|it| limit("request", it));
    let each = it.timeouts.backend_request.map(|it| limit("backendRequest", it));
    let retry =
        it.retry.as_ref().map(|it| format!("up to {} more tries on statuses {:?}", it.attempts, it.codes));
    request.into_iter().chain(each).chain(retry).collect()
}

/// What a branch does.
pub(super) fn outcome(it: &Outcome) -> String {
    match it {
        Outcome::Fail(reason) => format!("error 500: {reason}"),
        Outcome::Redirect(it) => redirect(it),
        Outcome::Forward(it) => {
            format!("Service {}{}{}", it.service, transport(&it.backend.transport), rewrite(&it.rewrite))
        }
    }
}

fn transport(it: &Transport) -> &'static str {
    match (it.http2, it.tls.is_some()) {
        (false, false) => "",
        (true, false) => " by HTTP/2",
        (false, true) => " by TLS",
        (true, true) => " by HTTP/2 over TLS",
    }
}

fn rewrite(it: &Rewrite) -> String {
    let host = it.host.as_ref().map(|host| format!(", host rewritten to {host}"));
    let path = it.path.as_ref().map(|path| format!(", {}", path_rewrite(path)));
    host.into_iter().chain(path).collect()
}

fn redirect(it: &Redirect) -> String {
    let host = it.host.as_ref().map_or_else(|| "the request's host".to_owned(), ToString::to_string);
    let port = it.port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = it.path.as_ref().map_or_else(|| "the request's path".to_owned(), path_rewrite);
    format!("redirect {} to {}://{host}{port}, {path}", it.status, it.scheme.as_str())
}

fn path_rewrite(it: &PathRewrite) -> String {
    match it {
        PathRewrite::Full(path) => format!("path replaced by {}", path.as_str()),
        PathRewrite::Prefix { matched, replacement } => {
            format!("path prefix {} replaced by {}", matched.as_str(), replacement.as_str())
        }
    }
}

fn or_refused(endpoints: &[String]) -> String {
    if endpoints.is_empty() { "refused: no ready endpoint".to_owned() } else { endpoints.join(", ") }
}

/// A Service that requests are copied to.
pub(super) fn mirror(it: &ChosenMirror) -> String {
    let endpoints = if it.endpoints.is_empty() {
        ", which has no ready endpoint".to_owned()
    } else {
        format!(" at {}", it.endpoints.join(", "))
    };
    format!("{:.1} % copied to Service {}{endpoints}", it.share, it.service)
}

impl std::fmt::Display for Explanation {
    /// For people: a line a step.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "port {}, host {}", self.port, self.host)?;
        if let Some(scheme) = self.speaks {
            return writeln!(f, "no answer: this port speaks {scheme}");
        }
        if let Some(streams) = &self.past_varnish {
            let name = self.virtual_host.as_deref().unwrap_or_default();
            writeln!(f, "  connections for server name {name} go past Varnish, as a TLSRoute says")?;
            let refused = streams.is_empty().then_some("  refused: no TLSRoute has a backend for it\n");
            f.write_str(refused.unwrap_or_default())?;
            return streams
                .iter()
                .try_for_each(|it| writeln!(f, "  {:.1} %: {}", it.share, or_refused(&it.endpoints)));
        }
        match (&self.virtual_host, &self.listener) {
            (Some(host), Some(listener)) => writeln!(f, "  served by {listener}, as {host}")?,
            _ => writeln!(f, "  no listener on this port has this host")?,
        }
        for it in &self.tried {
            let misfit = it
                .misfit
                .as_ref()
                .map_or_else(|| "fits".to_owned(), |misfit| format!("does not fit: {misfit}"));
            writeln!(f, "  HTTPRoute {} rule {} ({}): {misfit}", it.route, it.rule, it.wants)?;
        }
        let Some(rule) = &self.rule else { return writeln!(f, "status 404: no rule fits") };
        let name = rule.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        writeln!(f, "HTTPRoute {} rule {}{name}", rule.route, rule.rule)?;
        rule.filters.iter().try_for_each(|filter| writeln!(f, "  {filter}"))?;
        for branch in &rule.branches {
            let mut line = format!("  {:.1} %: {}", branch.share, branch.outcome);
            if !branch.endpoints.is_empty() {
                write!(line, " at {}", branch.endpoints.join(", "))?;
            }
            writeln!(f, "{line}")?;
            branch.filters.iter().try_for_each(|filter| writeln!(f, "    {filter}"))?;
            branch.mirrors.iter().try_for_each(|it| writeln!(f, "    {}", mirror(it)))?;
        }
        writeln!(f, "cache: {}", rule.cache)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{BackendTls, Hostname};

    #[test]
    fn it_is_said_how_backends_are_spoken_to() {
        let hostname = Hostname::new("a.test").unwrap();
        let tls = Some(Arc::new(BackendTls { hostname, names: Vec::new(), authorities: None }));
        for (http2, tls, said) in [
            (false, None, ""),
            (true, None, " by HTTP/2"),
            (false, tls.clone(), " by TLS"),
            (true, tls, " by HTTP/2 over TLS"),
        ] {
            assert_eq!(transport(&Transport { http2, tls }), said);
        }
    }
}
