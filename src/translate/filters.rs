//! Filters of rules and backendRefs.

use std::time::Duration;

use gateway_api::experimental::httproutes::{
    HttpRouteRulesFilters, HttpRouteRulesFiltersCors, HttpRouteRulesFiltersRequestHeaderModifier,
    HttpRouteRulesFiltersRequestRedirect, HttpRouteRulesFiltersRequestRedirectPath,
    HttpRouteRulesFiltersRequestRedirectScheme, HttpRouteRulesFiltersResponseHeaderModifier,
    HttpRouteRulesFiltersType, HttpRouteRulesFiltersUrlRewrite, HttpRouteRulesFiltersUrlRewritePath,
};

use super::backends::Resolved;
use super::listeners::Entrance;
use super::mirrors::mirror;
use crate::model::{
    Cors, Filters, HeaderChange, HeaderChanges, HeaderList, HeaderName, HeaderValue, Hostname, InvalidText,
    Mirror, Origin, PathRewrite, Redirect, Rewrite, Scheme, UrlPath,
};
use crate::snapshot::Lenient;

/// Why a rule cannot be served as it is written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum RuleProblem {
    /// A value that is not supported, or not valid.
    #[error("{0}")]
    Unsupported(String),
    /// Filters that do not go together.
    #[error("{0}")]
    Incompatible(String),
}

impl From<InvalidText> for RuleProblem {
    fn from(error: InvalidText) -> Self {
        Self::Unsupported(error.to_string())
    }
}

/// What else than the filters a redirect or a rewrite depends on.
pub(super) struct Site<'a> {
    /// The scheme that clients use, and the port that they connect to.
    pub entrance: Entrance,
    /// The path prefix that the rule matches on, if it has exactly one match and that is a prefix.
    pub prefix: Option<&'a UrlPath>,
}

/// A list of filters, read.
#[derive(Debug, Default)]
pub(super) struct FilterList {
    pub filters: Filters,
    pub redirect: Option<Redirect>,
    pub rewrite: Option<Rewrite>,
    /// Whether requests are to be copied, be it to nobody.
    pub copies: bool,
    pub mirrors: Vec<Mirror>,
}

impl FilterList {
    /// Only what goes to a backend can be copied.
    pub(super) fn check_redirect(&self, copies: bool) -> Result<(), RuleProblem> {
        let both = |message: &str| Err(RuleProblem::Incompatible(message.into()));
        match &self.redirect {
            Some(_) if self.rewrite.is_some() => both("RequestRedirect and URLRewrite exclude each other"),
            Some(_) if copies => both("RequestRedirect and RequestMirror exclude each other"),
            _ => Ok(()),
        }
    }
}

/// Reads a list of filters. A filter is never ignored: what is not supported is a problem of the rule. `mirrors` is what
/// the references of the list's mirrors resolve to; what is left is not the list's.
pub(super) fn filters<'a>(
    list: &[Lenient<HttpRouteRulesFilters>],
    site: &Site,
    mirrors: &mut impl Iterator<Item = &'a Resolved>,
) -> Result<FilterList, RuleProblem> {
    let mut read = FilterList::default();
    let mut seen = Vec::new();
    for (index, it) in list.iter().enumerate() {
        let problem = |problem| at(index, problem);
        let it = it.0.as_ref().map_err(|error| problem(RuleProblem::Unsupported(error.clone())))?;
        let may_repeat = it.r#type == HttpRouteRulesFiltersType::RequestMirror;
        if !may_repeat && seen.contains(&&it.r#type) {
            let message = format!("a second filter of type {:?}", it.r#type);
            return Err(problem(RuleProblem::Incompatible(message)));
        }
        seen.push(&it.r#type);
        one(it, site, mirrors, &mut read).map_err(problem)?;
    }
    read.check_redirect(read.copies)?;
    Ok(read)
}

fn at(index: usize, problem: RuleProblem) -> RuleProblem {
    match problem {
        RuleProblem::Unsupported(message) => RuleProblem::Unsupported(format!("filters[{index}]: {message}")),
        RuleProblem::Incompatible(message) => {
            RuleProblem::Incompatible(format!("filters[{index}]: {message}"))
        }
    }
}

fn one<'a>(
    it: &HttpRouteRulesFilters,
    site: &Site,
    mirrors: &mut impl Iterator<Item = &'a Resolved>,
    read: &mut FilterList,
) -> Result<(), RuleProblem> {
    match it.r#type {
        HttpRouteRulesFiltersType::RequestHeaderModifier => {
            read.filters.request =
                request_headers(required(it.request_header_modifier.as_ref(), "requestHeaderModifier")?)?;
        }
        HttpRouteRulesFiltersType::ResponseHeaderModifier => {
            read.filters.response =
                response_headers(required(it.response_header_modifier.as_ref(), "responseHeaderModifier")?)?;
        }
        HttpRouteRulesFiltersType::RequestRedirect => {
            read.redirect = Some(redirect(required(it.request_redirect.as_ref(), "requestRedirect")?, site)?);
        }
        HttpRouteRulesFiltersType::UrlRewrite => {
            read.rewrite = Some(rewrite(required(it.url_rewrite.as_ref(), "urlRewrite")?, site)?);
        }
        HttpRouteRulesFiltersType::Cors => {
            read.filters.cors = Some(cors(required(it.cors.as_ref(), "cors")?)?);
        }
        HttpRouteRulesFiltersType::RequestMirror => {
            read.copies = true;
            let it = required(it.request_mirror.as_ref(), "requestMirror")?;
            read.mirrors.extend(mirror(it, mirrors.next())?);
        }
        HttpRouteRulesFiltersType::ExtensionRef | HttpRouteRulesFiltersType::ExternalAuth => {
            return Err(RuleProblem::Unsupported(format!("type {:?} is not supported", it.r#type)));
        }
    }
    Ok(())
}

fn required<'a, T>(part: Option<&'a T>, field: &str) -> Result<&'a T, RuleProblem> {
    part.ok_or_else(|| RuleProblem::Unsupported(format!("{field} is missing")))
}

fn request_headers(it: &HttpRouteRulesFiltersRequestHeaderModifier) -> Result<HeaderChanges, RuleProblem> {
    let set = it.set.iter().flatten().map(|it| (it.name.as_str(), it.value.as_str()));
    let add = it.add.iter().flatten().map(|it| (it.name.as_str(), it.value.as_str()));
    header_changes(set, add, it.remove.iter().flatten())
}

fn response_headers(it: &HttpRouteRulesFiltersResponseHeaderModifier) -> Result<HeaderChanges, RuleProblem> {
    let set = it.set.iter().flatten().map(|it| (it.name.as_str(), it.value.as_str()));
    let add = it.add.iter().flatten().map(|it| (it.name.as_str(), it.value.as_str()));
    header_changes(set, add, it.remove.iter().flatten())
}

/// Of several entries for one name in a list the first counts (Gateway API, `HTTPHeader.name`); a name in two lists
/// is invalid (`HTTPHeaderFilter`).
fn header_changes<'a>(
    set: impl Iterator<Item = (&'a str, &'a str)>,
    add: impl Iterator<Item = (&'a str, &'a str)>,
    remove: impl Iterator<Item = &'a String>,
) -> Result<HeaderChanges, RuleProblem> {
    let checked = |(name, value)| Ok((HeaderName::changeable(name)?, HeaderValue::new(value)?));
    let set = set.map(|it| checked(it).map(|(name, value)| HeaderChange::Set(name, value)));
    let add = add.map(|it| checked(it).map(|(name, value)| HeaderChange::Add(name, value)));
    let remove = remove.map(|name| HeaderName::changeable(name).map(HeaderChange::Remove));
    let mut changes = HeaderChanges::new();
    for change in set.chain(add).chain(remove) {
        let change = change?;
        let name = changed(&change);
        match changes.iter().find(|known| changed(known) == name) {
            None => changes.push(change),
            Some(known) if std::mem::discriminant(known) == std::mem::discriminant(&change) => {}
            Some(_) => {
                let message = format!("header {name}: only one of set, add and remove is possible");
                return Err(RuleProblem::Unsupported(message));
            }
        }
    }
    Ok(changes)
}

fn changed(it: &HeaderChange) -> &HeaderName {
    match it {
        HeaderChange::Set(name, _) | HeaderChange::Add(name, _) | HeaderChange::Remove(name) => name,
    }
}

fn redirect(it: &HttpRouteRulesFiltersRequestRedirect, site: &Site) -> Result<Redirect, RuleProblem> {
    let status = it.status_code.unwrap_or(302);
    let Some(status) = u16::try_from(status).ok().filter(|it| matches!(it, 301 | 302 | 303 | 307 | 308))
    else {
        return Err(RuleProblem::Unsupported(format!(
            "requestRedirect.statusCode {status} is not supported"
        )));
    };
    let scheme = it.scheme.as_ref().map(|scheme| match scheme {
        HttpRouteRulesFiltersRequestRedirectScheme::Http => Scheme::Http,
        HttpRouteRulesFiltersRequestRedirectScheme::Https => Scheme::Https,
    });
    let path = it.path.as_ref().map(|path| redirect_path(path, site)).transpose()?;
    let host = it.hostname.as_deref().map(Hostname::new).transpose()?;
    Ok(Redirect {
        status,
        scheme: scheme.unwrap_or(site.entrance.scheme),
        host,
        port: redirect_port(it, scheme, site)?,
        path,
    })
}

/// The port of `Location`: what is given, else the scheme's if one is given, else the listener's; left out
/// where it is the scheme's own (Gateway API, `HTTPRequestRedirectFilter.port`).
fn redirect_port(
    it: &HttpRouteRulesFiltersRequestRedirect,
    scheme: Option<Scheme>,
    site: &Site,
) -> Result<Option<u16>, RuleProblem> {
    let port = match it.port {
        Some(port) => u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
            RuleProblem::Unsupported(format!("requestRedirect.port {port} is not a port number"))
        })?,
        None => scheme.map_or(site.entrance.port, Scheme::default_port),
    };
    Ok((port != scheme.unwrap_or(site.entrance.scheme).default_port()).then_some(port))
}

fn redirect_path(
    it: &HttpRouteRulesFiltersRequestRedirectPath,
    site: &Site,
) -> Result<PathRewrite, RuleProblem> {
    path_rewrite(it.replace_full_path.as_deref(), it.replace_prefix_match.as_deref(), &it.r#type, site)
}

fn rewrite(it: &HttpRouteRulesFiltersUrlRewrite, site: &Site) -> Result<Rewrite, RuleProblem> {
    let path = |it: &HttpRouteRulesFiltersUrlRewritePath| {
        path_rewrite(it.replace_full_path.as_deref(), it.replace_prefix_match.as_deref(), &it.r#type, site)
    };
    Ok(Rewrite {
        host: it.hostname.as_deref().map(Hostname::new).transpose()?,
        path: it.path.as_ref().map(path).transpose()?,
    })
}

/// `HTTPPathModifier`; the library has a type of it for each filter, so its kind is told by its name.
fn path_rewrite(
    full: Option<&str>,
    prefix: Option<&str>,
    kind: &impl std::fmt::Debug,
    site: &Site,
) -> Result<PathRewrite, RuleProblem> {
    let is_full = format!("{kind:?}") == "ReplaceFullPath";
    if let (true, _, Some(_)) | (false, Some(_), _) = (is_full, full, prefix) {
        let message = format!("path of type {kind:?} has the field of the other type too");
        return Err(RuleProblem::Unsupported(message));
    }
    if is_full {
        let path = full.ok_or_else(|| RuleProblem::Unsupported("path.replaceFullPath is missing".into()))?;
        return Ok(PathRewrite::Full(absolute(path)?));
    }
    let path = prefix.ok_or_else(|| RuleProblem::Unsupported("path.replacePrefixMatch is missing".into()))?;
    let Some(matched) = site.prefix else {
        let message = "ReplacePrefixMatch needs exactly one match, of type PathPrefix";
        return Err(RuleProblem::Incompatible(message.into()));
    };
    Ok(PathRewrite::Prefix { matched: matched.clone(), replacement: absolute(path)? })
}

/// An empty replacement means the root.
fn absolute(path: &str) -> Result<UrlPath, InvalidText> {
    UrlPath::new(if path.is_empty() { "/" } else { path })
}

fn cors(it: &HttpRouteRulesFiltersCors) -> Result<Cors, RuleProblem> {
    let origins = it.allow_origins.iter().flatten().map(|it| origin(it)).collect::<Result<_, _>>()?;
    let max_age = it.max_age.unwrap_or(5);
    let max_age = u64::try_from(max_age)
        .map_err(|_| RuleProblem::Unsupported(format!("cors.maxAge {max_age} is negative")))?;
    Ok(Cors {
        origins,
        credentials: it.allow_credentials.unwrap_or(false),
        methods: header_list(it.allow_methods.as_deref())?,
        headers: header_list(it.allow_headers.as_deref())?,
        expose: header_list(it.expose_headers.as_deref())?,
        max_age: Duration::from_secs(max_age),
    })
}

fn header_list(list: Option<&[String]>) -> Result<HeaderList, InvalidText> {
    let list = list.unwrap_or_default();
    if list.iter().any(|it| it == "*") {
        return Ok(HeaderList::Any);
    }
    let names =
        list.iter().map(|it| HeaderName::new(it).map(|_| it.as_str())).collect::<Result<Vec<_>, _>>()?;
    HeaderValue::new(&names.join(", ")).map(HeaderList::These)
}

/// `CORSOrigin`: `*`, or a scheme and a host with wildcards and perhaps a port.
fn origin(text: &str) -> Result<Origin, RuleProblem> {
    if text == "*" {
        return Ok(Origin::Any);
    }
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-*:".contains(c);
    match host {
        Some(host) if !host.is_empty() && host.chars().all(plain) => {
            Ok(Origin::Pattern(HeaderValue::new(text)?))
        }
        _ => Err(RuleProblem::Unsupported(format!("cors.allowOrigins: {text:?} is not an origin"))),
    }
}
