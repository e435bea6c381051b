//! VarnishLoggingPolicies: which of them holds for a Gateway, and what access log comes of it (GEP-713).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::listeners::by_age;
use super::merge;
use super::remembered::Remembered;
use super::report::{MAX_ANCESTORS, PolicyAccepted, PolicyReport, Report};
use crate::api::logging_policy::{
    JsonFormat, LogFormat, LoggingSpec, TargetRef, VarnishLoggingPolicy, Verbosity as SpecVerbosity,
};
use crate::bundle::logging::{Field, Format, Logging, Verbosity};
use crate::model::ObjectKey;
use crate::snapshot::Snapshot;

/// Whether policies are as their CRD wants them, as checked for the last translation.
pub(super) type KnownPolicies = Remembered<ObjectKey, Arc<VarnishLoggingPolicy>, Result<(), String>>;

/// The policies in force.
pub(super) struct Policies<'a> {
    by_gateway: BTreeMap<ObjectKey, (&'a ObjectKey, &'a LoggingSpec)>,
}

impl<'a> Policies<'a> {
    /// Finds them, after the Gateways have been reported, and reports all that are ours to speak about: those of a
    /// Gateway of ours, and those of a Gateway that does not exist.
    pub(super) fn new(snapshot: &'a Snapshot, known: &mut KnownPolicies, report: &mut Report) -> Self {
        let mut policies = Self { by_gateway: BTreeMap::new() };
        let all = snapshot.logging_policies.iter().map(|(key, it)| (key, it, &it.metadata));
        for (key, policy) in by_age(all) {
            let valid = known.of(key, policy, Arc::ptr_eq, |it| it.spec.validate());
            let targets = policies.attach(key, policy, valid, snapshot, report);
            if !targets.is_empty() {
                let it = PolicyReport { generation: policy.metadata.generation, targets };
                report.logging_policies.insert(key.clone(), it);
            }
        }
        policies
    }

    /// What holds for a Gateway.
    pub(super) fn of(&self, gateway: &ObjectKey) -> Option<&'a LoggingSpec> {
        self.by_gateway.get(gateway).map(|(_, it)| *it)
    }

    fn attach(
        &mut self,
        key: &'a ObjectKey,
        policy: &'a VarnishLoggingPolicy,
        valid: Result<(), String>,
        snapshot: &Snapshot,
        report: &Report,
    ) -> Vec<(TargetRef, PolicyAccepted)> {
        let invalid = valid.err();
        let distinct: BTreeSet<&TargetRef> = policy.spec.target_refs.iter().collect();
        let targets = distinct.into_iter().filter_map(|target| {
            let gateway = ObjectKey::new(key.namespace.as_str(), target.name.as_str());
            let ours = report.gateways.contains_key(&gateway);
            if snapshot.gateways.contains_key(&gateway) && !ours {
                return None;
            }
            let accepted = match &invalid {
                Some(message) => PolicyAccepted::Invalid(message.clone()),
                None if !ours => PolicyAccepted::TargetNotFound(format!("Gateway {gateway} does not exist")),
                None => self.claim(gateway, key, &policy.spec.logging),
            };
            Some((target.clone(), accepted))
        });
        targets.take(MAX_ANCESTORS).collect()
    }

    /// The first that comes has the Gateway.
    fn claim(&mut self, gateway: ObjectKey, key: &'a ObjectKey, it: &'a LoggingSpec) -> PolicyAccepted {
        let (owner, _) = self.by_gateway.entry(gateway).or_insert((key, it));
        if *owner == key {
            return PolicyAccepted::Yes;
        }
        let message = format!("VarnishLoggingPolicy {owner} has this Gateway: it is older, or first by name");
        PolicyAccepted::Conflicted(message)
    }
}

/// The access log for these defaults and this policy; `None` if there is to be none.
pub(super) fn logging(defaults: Option<&LoggingSpec>, policy: Option<&LoggingSpec>) -> Option<Logging> {
    let enabled = match policy {
        Some(policy) => policy.enabled.unwrap_or(true),
        None => defaults.and_then(|it| it.enabled).unwrap_or(false),
    };
    let merged = merge::logging(defaults.cloned().unwrap_or_default(), policy.cloned().unwrap_or_default());
    enabled.then(|| Logging {
        format: merged.format.map(format).unwrap_or_default(),
        query: merged.query,
        verbosity: match merged.verbosity.unwrap_or_default() {
            SpecVerbosity::Client => Verbosity::Client,
            SpecVerbosity::All => Verbosity::All,
        },
        redact: merged.redact_headers.iter().map(|it| it.to_ascii_lowercase()).collect(),
    })
}

fn format(it: LogFormat) -> Format {
    it.ncsa.map_or_else(|| Format::Json(fields(&it.json.unwrap_or_default())), Format::Ncsa)
}

/// Each field once.
fn fields(it: &JsonFormat) -> Vec<Field> {
    let named: Vec<Field> = it.fields.iter().filter_map(|name| Field::from_name(name)).collect();
    let mut fields = if it.fields.is_empty() { Field::DEFAULT.to_vec() } else { named };
    fields.extend(it.request_headers.iter().map(|it| Field::RequestHeader(it.to_ascii_lowercase())));
    fields.extend(it.response_headers.iter().map(|it| Field::ResponseHeader(it.to_ascii_lowercase())));
    let mut seen = BTreeSet::new();
    fields.retain(|it| seen.insert(it.clone()));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::logging_policy::FIELDS;

    fn spec(yaml: &str) -> LoggingSpec {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn every_field_of_the_api_is_one_of_the_bundle() {
        for name in FIELDS {
            assert_eq!(Field::from_name(name).and_then(|it| it.name()), Some(name));
        }
        assert!(Field::DEFAULT.iter().all(|it| it.name().is_some_and(|name| FIELDS.contains(&name))));
    }

    #[test]
    fn a_policy_turns_the_log_on_and_parameters_need_to_say_so() {
        for (defaults, policy, expected) in [
            (None, None, false),
            (Some("{query: a}"), None, false),
            (Some("{enabled: true}"), None, true),
            (Some("{enabled: false}"), Some("{}"), true),
            (None, Some("{}"), true),
            (Some("{enabled: true}"), Some("{enabled: false}"), false),
        ] {
            let (one, other) = (defaults.map(spec), policy.map(spec));
            assert_eq!(logging(one.as_ref(), other.as_ref()).is_some(), expected, "{defaults:?} {policy:?}");
        }
    }

    #[test]
    fn fields_of_both_make_the_log() {
        let defaults = spec("{verbosity: All, query: a, redactHeaders: [Cookie]}");
        let policy = spec(
            "{format: {json: {fields: [url, time, url], requestHeaders: [X-A]}}, query: b, redactHeaders: [x-b]}",
        );
        let expected = Logging {
            format: Format::Json(vec![Field::Url, Field::Time, Field::RequestHeader("x-a".into())]),
            query: Some("b".into()),
            verbosity: Verbosity::All,
            redact: ["cookie".to_owned(), "x-b".to_owned()].into(),
        };
        assert_eq!(logging(Some(&defaults), Some(&policy)), Some(expected));
        let headers = spec("{format: {json: {responseHeaders: [Age]}}}");
        let Some(Logging { format: Format::Json(fields), .. }) = logging(None, Some(&headers)) else {
            panic!("no JSON")
        };
        assert_eq!(fields.len(), Field::DEFAULT.len() + 1);
        let ncsa = spec("{format: {ncsa: '%h'}}");
        assert_eq!(logging(None, Some(&ncsa)).map(|it| it.format), Some(Format::Ncsa("%h".into())));
    }
}
