//! `HTTPRouteMatch` to what a request must be.

use gateway_api::experimental::httproutes::{
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeaders, HttpRouteRulesMatchesHeadersType,
    HttpRouteRulesMatchesPath, HttpRouteRulesMatchesPathType, HttpRouteRulesMatchesQueryParams,
    HttpRouteRulesMatchesQueryParamsType,
};

use crate::model::{
    HeaderMatch, HeaderName, InvalidText, Method, PathMatch, QueryMatch, Regex, UrlPath, ValueMatch,
};

/// What one entry of `matches` asks for.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub path: PathMatch,
    pub method: Option<Method>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
}

/// Reads one entry; what is absent has the API's defaults.
pub(super) fn conditions(it: &HttpRouteRulesMatches) -> Result<Conditions, InvalidText> {
    Ok(Conditions {
        path: path(it.path.as_ref())?,
        method: it.method.as_ref().map(method).transpose()?,
        headers: headers(it.headers.as_deref().unwrap_or_default())?,
        query: query(it.query_params.as_deref().unwrap_or_default())?,
    })
}

/// The match of a rule that names none: every path.
pub(super) fn every_request() -> Result<Conditions, InvalidText> {
    conditions(&HttpRouteRulesMatches::default())
}

fn path(it: Option<&HttpRouteRulesMatchesPath>) -> Result<PathMatch, InvalidText> {
    let value = it.and_then(|it| it.value.as_deref()).unwrap_or("/");
    match it.and_then(|it| it.r#type.as_ref()).unwrap_or(&HttpRouteRulesMatchesPathType::PathPrefix) {
        HttpRouteRulesMatchesPathType::Exact => UrlPath::new(value).map(PathMatch::Exact),
        HttpRouteRulesMatchesPathType::PathPrefix => UrlPath::new(value).map(PathMatch::Prefix),
        HttpRouteRulesMatchesPathType::RegularExpression => Regex::new(value).map(PathMatch::Regex),
    }
}

/// The library's enum of methods, by its names in the API.
fn method(it: &impl serde::Serialize) -> Result<Method, InvalidText> {
    let name = serde_json::to_value(it).ok().and_then(|it| it.as_str().map(str::to_owned));
    Method::new(&name.unwrap_or_default())
}

/// Of several entries for one name the first counts (Gateway API, `HTTPHeaderMatch.name`).
fn headers(list: &[HttpRouteRulesMatchesHeaders]) -> Result<Vec<HeaderMatch>, InvalidText> {
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for it in list {
        let name = HeaderName::new(&it.name)?;
        let value = match it.r#type.as_ref().unwrap_or(&HttpRouteRulesMatchesHeadersType::Exact) {
            HttpRouteRulesMatchesHeadersType::Exact => exact(&it.value)?,
            HttpRouteRulesMatchesHeadersType::RegularExpression => ValueMatch::Regex(Regex::new(&it.value)?),
        };
        if headers.iter().all(|known| known.name != name) {
            headers.push(HeaderMatch { name, value });
        }
    }
    Ok(headers)
}

fn query(list: &[HttpRouteRulesMatchesQueryParams]) -> Result<Vec<QueryMatch>, InvalidText> {
    let mut query: Vec<QueryMatch> = Vec::new();
    for it in list {
        if it.name.is_empty() || it.name.chars().any(char::is_control) {
            return Err(InvalidText::QueryName);
        }
        let value = match it.r#type.as_ref().unwrap_or(&HttpRouteRulesMatchesQueryParamsType::Exact) {
            HttpRouteRulesMatchesQueryParamsType::Exact => exact(&it.value)?,
            HttpRouteRulesMatchesQueryParamsType::RegularExpression => {
                ValueMatch::Regex(Regex::new(&it.value)?)
            }
        };
        if query.iter().all(|known| known.name != it.name) {
            query.push(QueryMatch { name: it.name.clone(), value });
        }
    }
    Ok(query)
}

fn exact(value: &str) -> Result<ValueMatch, InvalidText> {
    if value.chars().any(char::is_control) {
        return Err(InvalidText::HeaderValue(value.to_owned()));
    }
    Ok(ValueMatch::Exact(value.to_owned()))
}
