//! Whether a match fits a request.

use super::request::{Request, decoded};
use crate::model::{PathMatch, RouteMatch, ValueMatch};

/// The first condition of a match that a request does not fulfil.
pub(super) fn misfit(it: &RouteMatch, request: &Request) -> Option<String> {
    if !path_fits(&it.path, request.path()) {
        return Some(format!("the path is {}", request.path()));
    }
    if it.method.as_ref().is_some_and(|method| method.as_str() != request.method) {
        return Some(format!("the method is {}", request.method));
    }
    let headers = it.headers.iter().find_map(|header| match request.header(header.name.as_str()) {
        None => Some(format!("there is no header {}", header.name)),
        Some(value) => {
            (!value_fits(&header.value, &value)).then(|| format!("header {} is {value:?}", header.name))
        }
    });
    headers.or_else(|| it.query.iter().find_map(|query| query_misfit(&query.name, &query.value, request)))
}

fn query_misfit(name: &str, wanted: &ValueMatch, request: &Request) -> Option<String> {
    let Some(value) = request.query(name) else { return Some(format!("there is no query parameter {name}")) };
    let fits = match wanted {
        ValueMatch::Exact(wanted) => decoded(value) == *wanted,
        // Patterns see the value as it was sent.
        ValueMatch::Regex(regex) => regex.is_match(value, false),
    };
    (!fits).then(|| format!("query parameter {name} is {value:?}"))
}

fn path_fits(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(wanted) => wanted.as_str() == path,
        PathMatch::Regex(regex) => regex.is_match(path, true),
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(prefix.trimmed()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

fn value_fits(wanted: &ValueMatch, value: &str) -> bool {
    match wanted {
        ValueMatch::Exact(wanted) => wanted == value,
        ValueMatch::Regex(regex) => regex.is_match(value, false),
    }
}
