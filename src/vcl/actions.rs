//! What a rule does when a request comes in.

use sha2::{Digest, Sha256};

use super::literal::{VclComment, VclExpr, VclIdent, VclString};
use super::programs::{ChangeVcl, Fetch, Response, changes};
use super::services::Target;
use super::shard::Numbered;
use super::urls::{location, rewritten};
use crate::bundle::hex;
use crate::model::{Branch, Filters, Forward, ListenerId, Outcome, Rewrite, Rule};

/// A rule's subroutine. It never returns to its caller: each branch ends the request's way through `vcl_recv`.
pub(super) struct RuleVcl {
    pub sub: VclIdent,
    pub comment: VclComment,
    /// The number of its fetch program.
    pub fetch: Option<VclString>,
    pub request: Vec<ChangeVcl>,
    pub preflight: Option<PreflightVcl>,
    pub branches: Vec<BranchVcl>,
}

/// The answer to a CORS preflight.
pub(super) struct PreflightVcl {
    /// The number of its response program.
    pub program: VclString,
    /// Names the rule to the access log, where that is not done yet.
    pub name: Option<VclString>,
}

/// A branch, taken if the draw says so.
pub(super) struct BranchVcl {
    /// Its own subroutine, where there are several branches.
    pub sub: Option<VclIdent>,
    /// Taken when a random number below the second is below the first; always, if absent.
    pub draw: Option<(u32, u32)>,
    /// Names rule and backend to the access log.
    pub name: VclString,
    pub request: Vec<ChangeVcl>,
    pub preflight: Option<PreflightVcl>,
    /// The number of its response program.
    pub response: Option<VclString>,
    pub outcome: OutcomeVcl,
}

/// How a branch ends.
pub(super) enum OutcomeVcl {
    Synth { status: u16, comment: VclComment },
    Redirect { status: u16, location: VclExpr },
    Forward(ForwardVcl),
}

/// Forwarding to a director.
pub(super) struct ForwardVcl {
    /// What the cache key has besides host and URL.
    pub key: VclString,
    pub host: Option<VclString>,
    pub url: Option<VclExpr>,
    pub backend: VclExpr,
    pub websocket: bool,
    /// What is called last.
    pub sub: VclIdent,
}

/// A rule that only forwards: all there is to know of it fits into an entry of the look-up table.
#[derive(Clone)]
pub(super) struct PlainVcl {
    /// What the cache key has besides host and URL.
    pub key: VclString,
    pub backend: VclExpr,
    /// Names rule and backend to the access log.
    pub name: VclString,
}

/// `None` if a rule does more than to forward.
pub(super) fn plain(listener: &ListenerId, rule: &Rule) -> Option<PlainVcl> {
    let [branch] = rule.branches.as_slice() else { return None };
    let Outcome::Forward(forward) = &branch.outcome else { return None };
    let unfiltered = [&rule.filters, &branch.filters].iter().all(|filters| **filters == Filters::default());
    let is_plain = unfiltered
        && Fetch::of(rule).is_none()
        && forward.rewrite == Rewrite::default()
        && !forward.backend.websocket
        && forward.mirrors.is_empty()
        && !forward.backend.endpoints.is_empty();
    is_plain.then(|| PlainVcl {
        key: key(listener, rule, branch, forward),
        backend: Target::of(forward).backend(),
        name: name(rule, Some(forward)),
    })
}

/// What the access log is told of a request: `copal:ROUTE RULE BACKEND`, each without white space.
fn name(rule: &Rule, forward: Option<&Forward>) -> VclString {
    let id = &rule.id;
    let number = id.index.to_string();
    let backend = forward.map_or_else(|| "-".to_owned(), |it| it.service.to_string());
    let parts = [&id.route.to_string(), id.name.as_ref().unwrap_or(&number), &backend];
    VclString::new(&format!("copal:{}", parts.map(|part| word(part)).join(" ")))
}

/// Names of Kubernetes have no white space; nobody checks those that come from a folder.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() || c.is_control() { '?' } else { c }).collect()
}

/// Programs that the rules of a shard share.
#[derive(Default)]
pub(super) struct Programs {
    pub fetches: Numbered<Fetch>,
    pub responses: Numbered<Response>,
}

impl RuleVcl {
    pub(super) fn new(sub: VclIdent, listener: &ListenerId, rule: &Rule, programs: &mut Programs) -> Self {
        let mut rest: u32 = rule.branches.iter().map(|branch| branch.weight).sum();
        let mut branches = Vec::new();
        for (number, branch) in rule.branches.iter().enumerate() {
            let draw = (branch.weight < rest).then_some((branch.weight, rest));
            rest = rest.saturating_sub(branch.weight);
            let own = (rule.branches.len() > 1).then(|| sub.with_branch(number));
            let vcl = BranchVcl::new(listener, rule, branch, programs);
            branches.push(BranchVcl { sub: own, draw, ..vcl });
        }
        let own = Filters::default();
        let preflight = rule.filters.cors.as_ref().and_then(|_| Response::of(&rule.filters, &own));
        Self {
            sub,
            comment: VclComment::new(&rule.id),
            fetch: Fetch::of(rule).map(|it| programs.fetches.number(it)),
            request: changes(&rule.filters.request),
            preflight: preflight.map(|it| PreflightVcl {
                program: programs.responses.number(it),
                name: Some(name(rule, None)),
            }),
            branches,
        }
    }
}

impl BranchVcl {
    fn new(listener: &ListenerId, rule: &Rule, branch: &Branch, programs: &mut Programs) -> Self {
        let response = Response::of(&rule.filters, &branch.filters).map(|it| programs.responses.number(it));
        let preflight = branch.filters.cors.is_some().then(|| response.clone()).flatten();
        let forward = match &branch.outcome {
            Outcome::Forward(it) => Some(it),
            Outcome::Redirect(_) | Outcome::Fail(_) => None,
        };
        Self {
            sub: None,
            draw: None,
            name: name(rule, forward),
            request: changes(&branch.filters.request),
            preflight: preflight.map(|program| PreflightVcl { program, name: None }),
            response,
            outcome: outcome(listener, rule, branch),
        }
    }
}

fn outcome(listener: &ListenerId, rule: &Rule, branch: &Branch) -> OutcomeVcl {
    match &branch.outcome {
        Outcome::Fail(reason) => OutcomeVcl::Synth { status: 500, comment: VclComment::new(reason) },
        Outcome::Redirect(it) => OutcomeVcl::Redirect { status: it.status, location: location(it) },
        Outcome::Forward(it) if it.backend.endpoints.is_empty() => OutcomeVcl::Synth {
            status: 503,
            comment: VclComment::new(format_args!("Service {} has no ready endpoint", it.service)),
        },
        Outcome::Forward(it) => OutcomeVcl::Forward(ForwardVcl {
            key: key(listener, rule, branch, it),
            host: it.rewrite.host.as_ref().map(|host| VclString::new(host.as_str())),
            url: it.rewrite.path.as_ref().map(rewritten),
            backend: Target::of(it).backend(),
            websocket: it.backend.websocket,
            sub: if it.mirrors.is_empty() { VclIdent::word("forward") } else { copied() },
        }),
    }
}

/// What forwards a request that is copied: never from the cache, so that there is something to copy.
pub(super) fn copied() -> VclIdent {
    VclIdent::word("forward_copied")
}

/// Everything that makes a stored response differ from that of another rule for the same host and URL. It follows
/// from the content, so that rules may be moved and inserted without mixing or flushing anything. What is done to
/// responses on delivery is not in it: that is never stored. 64 bits do, as rules only compete for the URLs of their
/// own host; and a key of usual length is then hashed in one block of SHA-256 instead of two.
fn key(listener: &ListenerId, rule: &Rule, branch: &Branch, it: &Forward) -> VclString {
    let request = (&rule.filters.request, &branch.filters.request);
    let content = format!("{listener}\n{}\n{request:?}\n{:?}", it.service, it.rewrite);
    VclString::new(&hex(&Sha256::digest(content.as_bytes()), 8))
}
