//! What happens to a request that a rule is for.

use std::sync::Arc;
use std::time::Duration;

use super::{HeaderName, HeaderValue, Hostname, Mirror, RuleId, Service, ServicePort, UrlPath};

/// A rule of an HTTPRoute: its filters, then one of its branches, chosen by weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it comes from.
    pub id: RuleId,
    /// The rule's filters; redirects and rewrites are in the branches' outcomes.
    pub filters: Filters,
    /// At least one; those of weight 0 are left out.
    pub branches: Vec<Branch>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Repeated tries.
    pub retry: Option<Retry>,
}

/// One way to answer: most often a backendRef.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its share, in proportion to the sum of the rule's weights; at least 1.
    pub weight: u32,
    /// The backendRef's own filters, applied after the rule's.
    pub filters: Filters,
    /// What answers.
    pub outcome: Outcome,
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A redirection, made by the gateway.
    Redirect(Redirect),
    /// A backend.
    Forward(Forward),
    /// An error 500, as the configuration is broken here; the text says why.
    Fail(String),
}

/// Filters that a rule and a backendRef can both have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// RequestHeaderModifier.
    pub request: HeaderChanges,
    /// ResponseHeaderModifier.
    pub response: HeaderChanges,
    /// CORS.
    pub cors: Option<Cors>,
}

/// Changes of headers, in the order in which they are made.
pub type HeaderChanges = Vec<HeaderChange>;

/// One change of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// Replaces what is there.
    Set(HeaderName, HeaderValue),
    /// Appends to what is there, after a comma.
    Add(HeaderName, HeaderValue),
    /// Removes all lines of that name.
    Remove(HeaderName),
}

/// Forwarding to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The Service.
    pub service: ServicePort,
    /// Its endpoints.
    pub backend: Arc<Service>,
    /// Changes of host and path.
    pub rewrite: Rewrite,
    /// Copies of the request, of the rule's and of the backendRef's own filters.
    pub mirrors: Vec<Mirror>,
}

/// URLRewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The host that the backend gets.
    pub host: Option<Hostname>,
    /// The path that the backend gets.
    pub path: Option<PathRewrite>,
}

/// A change of the path; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// ReplaceFullPath.
    Full(UrlPath),
    /// ReplacePrefixMatch.
    Prefix {
        /// The prefix that the rule matches on.
        matched: UrlPath,
        /// What stands in its place.
        replacement: UrlPath,
    },
}

/// RequestRedirect, with everything but host and path decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The scheme of `Location`.
    pub scheme: Scheme,
    /// The host of `Location`; none means the request's.
    pub host: Option<Hostname>,
    /// The port of `Location`; none where it is the scheme's own.
    pub port: Option<u16>,
    /// The path of `Location`; none means the request's.
    pub path: Option<PathRewrite>,
}

/// A URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the scheme of its name")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The port that a URL need not name.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// CORS (Gateway API, `HTTPCORSFilter`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Who may read the response.
    pub origins: Vec<Origin>,
    /// Whether requests may carry credentials.
    pub credentials: bool,
    /// `Access-Control-Allow-Methods`.
    pub methods: HeaderList,
    /// `Access-Control-Allow-Headers`.
    pub headers: HeaderList,
    /// `Access-Control-Expose-Headers`.
    pub expose: HeaderList,
    /// `Access-Control-Max-Age`.
    pub max_age: Duration,
}

/// A list in a CORS header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderList {
    /// All: `*`, or what the preflight asks for where `*` may not be said.
    Any,
    /// These, joined by commas; empty for none.
    These(HeaderValue),
}

/// Origins that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Every origin.
    Any,
    /// `SCHEME://HOST[:PORT]`, in which `*` in the host stands for any text without `/` and `:`.
    Pattern(HeaderValue),
}

/// Time limits of a rule; zero means none, absent means Varnish's own parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For the whole request, with all tries.
    pub request: Option<Duration>,
    /// For each try.
    pub backend_request: Option<Duration>,
}

/// When a request is tried again. Only requests without a body are: Varnish does not keep bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Statuses that ask for another try; a backend that cannot be reached always does.
    pub codes: Vec<u16>,
    /// Tries after the first.
    pub attempts: u32,
}
