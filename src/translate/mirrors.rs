//! RequestMirror (Gateway API, `HTTPRequestMirrorFilter`): who gets copies of requests, and of which share of them.

use gateway_api::experimental::httproutes::{
    HttpRouteRulesFilters, HttpRouteRulesFiltersRequestMirror, HttpRouteRulesFiltersRequestMirrorFraction,
    HttpRouteRulesFiltersType,
};

use super::backends::Resolved;
use super::filters::RuleProblem;
use crate::model::Mirror;
use crate::snapshot::{BackendRef, Lenient};

/// What the denominator of a fraction is where none is given (`Fraction.denominator`).
const DEFAULT_DENOMINATOR: i32 = 100;

/// The references of a list's mirrors, as far as they can be read, in their order.
pub(super) fn references(list: &[Lenient<HttpRouteRulesFilters>]) -> impl Iterator<Item = BackendRef> {
    let read = list.iter().filter_map(|it| it.0.as_ref().ok());
    let mirrors = read.filter(|it| it.r#type == HttpRouteRulesFiltersType::RequestMirror);
    mirrors.filter_map(|it| it.request_mirror.as_ref()).map(|it| {
        let HttpRouteRulesFiltersRequestMirror { backend_ref: it, fraction: _, percent: _ } = it.clone();
        BackendRef {
            group: it.group,
            kind: it.kind,
            name: it.name,
            namespace: it.namespace,
            port: it.port,
            weight: None,
            filters: Vec::new(),
        }
    })
}

/// A mirror; none if it gets no request, or if its reference does not resolve: the rule does all the rest then.
pub(super) fn mirror(
    it: &HttpRouteRulesFiltersRequestMirror,
    resolved: Option<&Resolved>,
) -> Result<Option<Mirror>, RuleProblem> {
    let (numerator, denominator) = share(it)?;
    let Some(Ok((service, backend))) = resolved else { return Ok(None) };
    let mirror = Mirror { service: service.clone(), backend: backend.clone(), numerator, denominator };
    Ok((numerator > 0).then_some(mirror))
}

/// Of how many requests how many are copied: all, where nothing is said.
fn share(it: &HttpRouteRulesFiltersRequestMirror) -> Result<(u32, u32), RuleProblem> {
    let (numerator, denominator) = match (it.percent, &it.fraction) {
        (None, None) => (1, 1),
        (Some(percent), None) => (percent, 100),
        (None, Some(HttpRouteRulesFiltersRequestMirrorFraction { numerator, denominator })) => {
            (*numerator, denominator.unwrap_or(DEFAULT_DENOMINATOR))
        }
        (Some(_), Some(_)) => return Err(invalid("only one of percent and fraction is possible")),
    };
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(part), Ok(whole)) if part <= whole && whole > 0 => Ok((part, whole)),
        _ => Err(invalid(&format!("{numerator} of {denominator} requests is no share between none and all"))),
    }
}

fn invalid(message: &str) -> RuleProblem {
    RuleProblem::Unsupported(format!("requestMirror: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(rest: &Value) -> Result<(u32, u32), String> {
        let mut filter = json!({"backendRef": {"name": "a", "port": 80}});
        filter.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        share(&serde_json::from_value(filter).unwrap()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn shares() {
        for (rest, expected) in [
            (json!({}), (1, 1)),
            (json!({"percent": 0}), (0, 100)),
            (json!({"percent": 20}), (20, 100)),
            (json!({"percent": 100}), (100, 100)),
            (json!({"fraction": {"numerator": 5}}), (5, 100)),
            (json!({"fraction": {"numerator": 25, "denominator": 50}}), (25, 50)),
            (json!({"fraction": {"numerator": 0, "denominator": 1}}), (0, 1)),
        ] {
            assert_eq!(read(&rest), Ok(expected), "{rest}");
        }
    }

    #[test]
    fn what_is_no_share() {
        for rest in [
            json!({"percent": -1}),
            json!({"percent": 101}),
            json!({"fraction": {"numerator": 101}}),
            json!({"fraction": {"numerator": -1, "denominator": 2}}),
            json!({"fraction": {"numerator": 3, "denominator": 2}}),
            json!({"fraction": {"numerator": 0, "denominator": 0}}),
            json!({"percent": 20, "fraction": {"numerator": 1}}),
        ] {
            let error = read(&rest).unwrap_err();
            assert!(error.starts_with("requestMirror: "), "{rest}: {error}");
        }
    }
}
