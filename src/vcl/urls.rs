//! Changed URLs, as VCL expressions.

use super::literal::{VclExpr, VclRegex, VclString, regex_escape};
use crate::model::{PathRewrite, Redirect};

/// The request's URL with its path changed; the query stays.
pub(super) fn rewritten(path: &PathRewrite) -> VclExpr {
    VclExpr::joined(&rewritten_parts(path), " + ")
}

fn rewritten_parts(path: &PathRewrite) -> Vec<String> {
    match path {
        PathRewrite::Full(path) => {
            let query = format!(r#"regsub(req.url, {}, "")"#, VclRegex::own("^[^?]*"));
            vec![VclString::new(path.as_str()).to_string(), query]
        }
        PathRewrite::Prefix { matched, replacement } => {
            let prefix = VclRegex::own(&format!("^{}", regex_escape(matched.trimmed())));
            let rest = format!(r#"regsub(req.url, {prefix}, "")"#);
            if replacement.trimmed().is_empty() {
                // What is left must begin with a slash.
                return vec![format!(r#"regsub({rest}, {}, "/")"#, VclRegex::own("^(?!/)"))];
            }
            vec![VclString::new(replacement.trimmed()).to_string(), rest]
        }
    }
}

/// The value of `Location`.
pub(super) fn location(it: &Redirect) -> VclExpr {
    let scheme = VclString::new(&format!("{}://", it.scheme.as_str()));
    let host = it.host.as_ref().map_or_else(
        || format!(r#"regsub(req.http.host, {}, "")"#, VclRegex::own(":[0-9]*$")),
        |host| VclString::new(host.as_str()).to_string(),
    );
    let port = it.port.map(|port| VclString::new(&format!(":{port}")).to_string());
    let url = it.path.as_ref().map_or_else(|| vec!["req.url".to_owned()], rewritten_parts);
    let parts: Vec<String> = [scheme.to_string(), host].into_iter().chain(port).chain(url).collect();
    VclExpr::joined(&parts, " + ")
}
