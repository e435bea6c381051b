//! Which requests a rule is for, and which rule wins (Gateway API, `HTTPRouteRule.matches`).

use std::cmp::Reverse;
use std::sync::Arc;

use super::{HeaderName, Method, ObjectKey, Regex, Rule, UrlPath};

/// One entry of a rule's `matches`: all that it says must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// The path, without query.
    pub path: PathMatch,
    /// The method; none means all.
    pub method: Option<Method>,
    /// Headers, each name once.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, each name once.
    pub query: Vec<QueryMatch>,
    /// Its precedence among the matches of a host.
    pub rank: Rank,
    /// What happens to the request.
    pub rule: Arc<Rule>,
}

/// What a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This, byte by byte.
    Exact(UrlPath),
    /// All of the path matches this pattern.
    Regex(Regex),
    /// The path begins with these elements.
    Prefix(UrlPath),
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// This, byte by byte.
    Exact(String),
    /// The pattern matches somewhere in it.
    Regex(Regex),
}

/// A header that must be there. Several lines of one name count as one value, joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: ValueMatch,
}

/// A query parameter that must be there; where a name is given several times, the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// Its name, decoded.
    pub name: String,
    /// Its value, decoded.
    pub value: ValueMatch,
}

/// The order of matches: the smallest wins. The fields stand in the order in which they decide.
///
/// The spec leaves the place of regular expressions open: here they come after exact paths and before
/// prefixes, the longer pattern first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    path: PathRank,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created: Age,
    route: ObjectKey,
    rule: usize,
    index: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Regex(Reverse<usize>, String),
    Prefix(Reverse<usize>),
}

/// When an object was created, in seconds since 1970; objects that do not say so are the youngest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Known(i64),
    Unknown,
}

impl Rank {
    /// The rank of match `index` of rule `rule` of `route`, which was created at that second of Unix time.
    #[must_use]
    pub fn new(
        it: &RouteMatchParts<'_>,
        created: Option<i64>,
        route: &ObjectKey,
        rule: usize,
        index: usize,
    ) -> Self {
        let (path, method, headers, query) = *it;
        let path = match path {
            PathMatch::Exact(_) => PathRank::Exact,
            PathMatch::Regex(regex) => {
                PathRank::Regex(Reverse(regex.as_str().len()), regex.as_str().to_owned())
            }
            PathMatch::Prefix(prefix) => PathRank::Prefix(Reverse(prefix.trimmed().len())),
        };
        Self {
            path,
            method: Reverse(method),
            headers: Reverse(headers),
            query: Reverse(query),
            created: created.map_or(Age::Unknown, Age::Known),
            route: route.clone(),
            rule,
            index,
        }
    }
}

/// Path, whether there is a method, and the numbers of headers and of query parameters.
pub type RouteMatchParts<'a> = (&'a PathMatch, bool, usize, usize);
