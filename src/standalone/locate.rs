//! Where in a document an error is, and what it says, in terms of the whole file.

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use gateway_api::experimental::referencegrants::ReferenceGrant;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_saphyr::{MessageFormatter as _, Options, UserMessageFormatter};

use super::documents::Document;
use crate::api::logging_policy::VarnishLoggingPolicy;
use crate::api::parameters::GatewayClassParameters;
use crate::snapshot::{BackendTlsPolicy, HttpRoute, Kind, ListenerSet, Secret, TlsRoute};

/// The line of the file for a line of a document that begins on line `start`; both from 1.
#[must_use]
pub fn absolute(start: usize, line: u64) -> usize {
    start + usize::try_from(line).unwrap_or(1).saturating_sub(1)
}

/// What a YAML error says, in one line and without the place.
#[must_use]
pub fn message(error: &serde_saphyr::Error) -> String {
    let text = UserMessageFormatter.format_message(error.without_snippet());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line of the field that keeps a document from being of its kind: reading it again, straight into the
/// type, tells what reading it by way of JSON values has lost.
#[must_use]
pub fn misfit(kind: Kind, document: &Document<'_>, options: Options) -> Option<usize> {
    match kind {
        Kind::GatewayClass => error_line::<GatewayClass>(document, options),
        Kind::Gateway => error_line::<Gateway>(document, options),
        Kind::ListenerSet => error_line::<ListenerSet>(document, options),
        Kind::HttpRoute => error_line::<HttpRoute>(document, options),
        Kind::TlsRoute => error_line::<TlsRoute>(document, options),
        Kind::ReferenceGrant => error_line::<ReferenceGrant>(document, options),
        Kind::BackendTlsPolicy => error_line::<BackendTlsPolicy>(document, options),
        Kind::Service => error_line::<Service>(document, options),
        Kind::EndpointSlice => error_line::<EndpointSlice>(document, options),
        Kind::Namespace => error_line::<Namespace>(document, options),
        Kind::Secret => error_line::<Secret>(document, options),
        Kind::ConfigMap => error_line::<ConfigMap>(document, options),
        Kind::GatewayClassParameters => error_line::<GatewayClassParameters>(document, options),
        Kind::VarnishLoggingPolicy => error_line::<VarnishLoggingPolicy>(document, options),
    }
}

fn error_line<T: DeserializeOwned>(document: &Document<'_>, options: Options) -> Option<usize> {
    let error = serde_saphyr::from_str_with_options::<T>(document.text, options).err()?;
    error.location().filter(|at| at.line() > 0).map(|at| absolute(document.line, at.line()))
}
