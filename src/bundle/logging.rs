//! What a data plane logs of requests: part of the manifest, so that a change of it restarts nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The access log of a data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logging {
    /// How a line looks.
    pub format: Format,
    /// Only transactions for which this VSL query is true (vsl-query(7)) are logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Which transactions are logged.
    #[serde(default)]
    pub verbosity: Verbosity,
    /// Header names, in lower case, whose values are never logged.
    #[serde(default)]
    pub redact: BTreeSet<String>,
}

/// How a line of the access log looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// One JSON object with these fields.
    Json(Vec<Field>),
    /// A varnishncsa(1) format, whose result is the field `message` of a JSON object.
    Ncsa(String),
}

impl Default for Format {
    fn default() -> Self {
        Self::Json(Field::DEFAULT.to_vec())
    }
}

/// Which transactions are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verbosity {
    /// Requests of clients.
    #[default]
    Client,
    /// Requests of clients, and requests to backends.
    All,
}

/// A field of a JSON access log line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    /// When the request began (RFC 3339).
    Time,
    /// The client's address.
    ClientAddress,
    /// The request's method.
    Method,
    /// The request's `Host`.
    Host,
    /// The request's target, as the client sent it.
    Url,
    /// The request's protocol version.
    Protocol,
    /// The response's status.
    Status,
    /// Bytes of the response's body.
    BytesSent,
    /// Bytes of the request's body.
    BytesReceived,
    /// Seconds from the request's begin to the response's end.
    Duration,
    /// Seconds from the request's begin to the response's first byte.
    TimeToFirstByte,
    /// `hit`, `miss`, `pass`, `synth` or `pipe`.
    Cache,
    /// Namespace and name of the HTTPRoute that answered.
    Route,
    /// Place or name of its rule.
    Rule,
    /// Namespace, name and port of the Service.
    Backend,
    /// The endpoint's address.
    Endpoint,
    /// The request's `User-Agent`.
    UserAgent,
    /// The request's `Referer`.
    Referer,
    /// The transaction's number in Varnish.
    Vxid,
    /// A header of the request.
    RequestHeader(String),
    /// A header of the response.
    ResponseHeader(String),
}

impl Field {
    /// The fields of a line where none are chosen.
    pub const DEFAULT: &[Self] = &[
        Self::Time,
        Self::ClientAddress,
        Self::Method,
        Self::Host,
        Self::Url,
        Self::Protocol,
        Self::Status,
        Self::BytesReceived,
        Self::BytesSent,
        Self::Duration,
        Self::TimeToFirstByte,
        Self::Cache,
        Self::Route,
        Self::Rule,
        Self::Backend,
        Self::Endpoint,
        Self::UserAgent,
        Self::Vxid,
    ];

    /// All fields that a name by itself stands for.
    const NAMED: &[(&str, Self)] = &[
        ("time", Self::Time),
        ("clientAddress", Self::ClientAddress),
        ("method", Self::Method),
        ("host", Self::Host),
        ("url", Self::Url),
        ("protocol", Self::Protocol),
        ("status", Self::Status),
        ("bytesSent", Self::BytesSent),
        ("bytesReceived", Self::BytesReceived),
        ("duration", Self::Duration),
        ("timeToFirstByte", Self::TimeToFirstByte),
        ("cache", Self::Cache),
        ("route", Self::Route),
        ("rule", Self::Rule),
        ("backend", Self::Backend),
        ("endpoint", Self::Endpoint),
        ("userAgent", Self::UserAgent),
        ("referer", Self::Referer),
        ("vxid", Self::Vxid),
    ];

    /// The field of that name; headers have none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone())
    }

    /// The field's name, also in JSON; headers have none.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(_, field)| field == self).map(|(name, _)| *name)
    }
}
