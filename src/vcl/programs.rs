//! What a rule wants done at other times than when the request comes in. Rules that want the same share it.

use super::literal::{
    VclComment, VclDuration, VclExpr, VclHeader, VclIdent, VclRegex, VclString, regex_escape,
};
use crate::model::{Cors, HeaderChange, HeaderList, Origin, Retry, Rule, Timeouts};

/// A change of a header.
pub(super) enum ChangeVcl {
    Set(VclHeader, VclString),
    Add(VclHeader, VclString),
    /// `Set-Cookie` cannot be joined by commas: it gets one more line.
    AddLine(VclHeader, VclString),
    Remove(VclHeader),
}

impl ChangeVcl {
    /// The header's name.
    pub(super) fn name(&self) -> &VclHeader {
        match self {
            Self::Set(name, _) | Self::Add(name, _) | Self::AddLine(name, _) | Self::Remove(name) => name,
        }
    }
}

/// Changes in the order in which they are made.
pub(super) fn changes<'a>(changes: impl IntoIterator<Item = &'a HeaderChange>) -> Vec<ChangeVcl> {
    let change = |it: &HeaderChange| match it {
        HeaderChange::Set(name, value) => {
            ChangeVcl::Set(VclHeader::new(name), VclString::new(value.as_str()))
        }
        HeaderChange::Add(name, value) if name.as_str() == "set-cookie" => {
            ChangeVcl::AddLine(VclHeader::new(name), VclString::new(value.as_str()))
        }
        HeaderChange::Add(name, value) => {
            ChangeVcl::Add(VclHeader::new(name), VclString::new(value.as_str()))
        }
        HeaderChange::Remove(name) => ChangeVcl::Remove(VclHeader::new(name)),
    };
    changes.into_iter().map(change).collect()
}

/// What is done to a response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Response {
    pub cors: Option<Cors>,
    pub changes: Vec<HeaderChange>,
}

impl Response {
    /// The rule's filters followed by the backendRef's; `None` where there is nothing to do.
    pub(super) fn of(rule: &crate::model::Filters, branch: &crate::model::Filters) -> Option<Self> {
        let changes: Vec<_> = rule.response.iter().chain(&branch.response).cloned().collect();
        let cors = branch.cors.clone().or_else(|| rule.cors.clone());
        (cors.is_some() || !changes.is_empty()).then_some(Self { cors, changes })
    }
}

/// A [`Response`] for the template.
pub(super) struct ResponseVcl {
    pub id: VclString,
    pub sub: VclIdent,
    pub cors: Option<CorsVcl>,
    pub changes: Vec<ChangeVcl>,
}

impl ResponseVcl {
    pub(super) fn new(id: usize, it: &Response) -> Self {
        let cors = it.cors.as_ref().map(CorsVcl::new);
        let sub = VclIdent::numbered("response", id);
        Self { id: VclString::new(&id.to_string()), sub, cors, changes: changes(&it.changes) }
    }
}

/// CORS headers for an origin that is allowed.
pub(super) struct CorsVcl {
    /// What the origin must be, besides being there.
    pub origin: Option<VclRegex>,
    pub allow_origin: AllowVcl,
    pub credentials: bool,
    pub methods: Option<AllowVcl>,
    pub headers: Option<AllowVcl>,
    pub expose: Option<VclString>,
    pub max_age: VclString,
}

/// The value of a CORS header.
pub(super) enum AllowVcl {
    Value(VclString),
    /// What the request asks for: with credentials, `*` must not be said.
    Echo,
}

impl CorsVcl {
    fn new(it: &Cors) -> Self {
        let any = it.origins.contains(&Origin::Any);
        let everything = if it.credentials { AllowVcl::Echo } else { AllowVcl::Value(VclString::new("*")) };
        let expose = match allow(&it.expose, false) {
            // With credentials `*` would be a header's name, and there is no request to echo.
            Some(AllowVcl::Value(value)) if !(it.credentials && it.expose == HeaderList::Any) => Some(value),
            _ => None,
        };
        Self {
            origin: (!any).then(|| origins(&it.origins)),
            allow_origin: if any { everything } else { AllowVcl::Echo },
            credentials: it.credentials,
            methods: allow(&it.methods, it.credentials),
            headers: allow(&it.headers, it.credentials),
            expose,
            max_age: VclString::new(&it.max_age.as_secs().to_string()),
        }
    }

    /// Whether the response depends on the origin.
    pub(super) fn varies(&self) -> bool {
        matches!(self.allow_origin, AllowVcl::Echo)
    }
}

/// The value for a list; none for an empty one.
fn allow(list: &HeaderList, credentials: bool) -> Option<AllowVcl> {
    match list {
        HeaderList::Any if credentials => Some(AllowVcl::Echo),
        HeaderList::Any => Some(AllowVcl::Value(VclString::new("*"))),
        HeaderList::These(list) if list.as_str().is_empty() => None,
        HeaderList::These(list) => Some(AllowVcl::Value(VclString::new(list.as_str()))),
    }
}

/// A pattern for all origins of a list; for an empty list, one that matches none.
fn origins(list: &[Origin]) -> VclRegex {
    let patterns = list.iter().filter_map(|it| match it {
        Origin::Any => None,
        Origin::Pattern(pattern) => Some(origin(pattern.as_str())),
    });
    let patterns: Vec<_> = patterns.collect();
    VclRegex::own(&if patterns.is_empty() {
        "(?!)".to_owned()
    } else {
        format!("^(?:{})$", patterns.join("|"))
    })
}

/// The scheme's own port may be given or left out.
fn origin(pattern: &str) -> String {
    let host = pattern.split("://").nth(1).unwrap_or_default();
    let port = match (pattern.starts_with("https:"), host.contains(':')) {
        (_, true) => "",
        (true, false) => "(?::443)?",
        (false, false) => "(?::80)?",
    };
    if host == "*" {
        return format!("{}.+", regex_escape(pattern.trim_end_matches('*')));
    }
    format!("{}{port}", pattern.split('*').map(regex_escape).collect::<Vec<_>>().join("[^/:]+"))
}

/// How a backend is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fetch {
    timeouts: Timeouts,
    retry: Option<Retry>,
}

impl Fetch {
    /// `None` where the defaults do.
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        let default = rule.timeouts == Timeouts::default() && rule.retry.is_none();
        (!default).then(|| Self { timeouts: rule.timeouts, retry: rule.retry.clone() })
    }
}

/// A [`Fetch`] for the template.
pub(super) struct FetchVcl {
    pub id: VclString,
    pub comment: VclComment,
    /// Time limit of one try.
    pub one_try: Option<VclDuration>,
    /// Time limit of all tries, if there is one.
    pub all_tries: Option<VclDuration>,
    /// Tries after the first.
    pub retries: u32,
    pub has_retry: bool,
    /// Statuses that are tried again.
    pub codes: Option<VclExpr>,
}

impl FetchVcl {
    /// The time limit of one try in seconds; without one, that of all tries.
    pub(super) fn try_real(&self) -> String {
        self.one_try.or(self.all_tries).map(VclDuration::real).unwrap_or_default()
    }

    /// Whether one try may take less than Varnish's default for connecting, 3.5 s.
    pub(super) fn limits_connect(&self) -> bool {
        self.one_try.is_some_and(|it| it.get().as_millis() < 3500)
    }

    pub(super) fn new(id: usize, it: &Fetch) -> Self {
        let limit = |it: Option<std::time::Duration>| it.map(VclDuration::timeout);
        let (request, each) = (limit(it.timeouts.request), limit(it.timeouts.backend_request));
        let one_try = match (request, each) {
            (Some(request), Some(each)) => Some(if request.get() < each.get() { request } else { each }),
            (request, each) => each.or(request),
        };
        let codes: Vec<_> =
            it.retry.iter().flat_map(|it| &it.codes).map(|it| format!("beresp.status == {it}")).collect();
        Self {
            id: VclString::new(&id.to_string()),
            comment: VclComment::new(format_args!(
                "request {:?}, backendRequest {:?}, retry {:?}",
                it.timeouts.request, it.timeouts.backend_request, it.retry
            )),
            one_try,
            all_tries: it.timeouts.request.filter(|it| !it.is_zero()).map(VclDuration::timeout),
            retries: it.retry.as_ref().map_or(0, |it| it.attempts),
            has_retry: it.retry.is_some(),
            codes: (!codes.is_empty()).then(|| VclExpr::joined(&codes, " || ")),
        }
    }
}
