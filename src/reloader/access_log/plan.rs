//! What varnishncsa is asked for, and what is made of its answer. Pure.
//!
//! varnishncsa writes columns with a separator between them that it escapes wherever a value has it.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::bundle::logging::{Field, Format, Logging, Verbosity};
use crate::bundle::ncsa::FormatError;

use super::super::varnishd::mask::{self, Tags};
use super::custom;

/// Between columns.
pub const SEPARATOR: char = '\u{1f}';
/// At a record's end, since text of a user's format may have line feeds.
pub const END: char = '\u{1e}';

/// How many requests may be unfinished before the oldest are written as far as they are known.
const UNFINISHED: &str = "20000";

/// The columns that each record begins with.
pub mod column {
    /// `c` or `b`: client or backend.
    pub const SIDE: usize = 0;
    /// The transaction's number.
    pub const VXID: usize = 1;
    /// The number of the transaction that this one belongs to.
    pub const PARENT: usize = 2;
    /// The number of the first transaction that this one has begun.
    pub const CHILD: usize = 3;
    /// `ROUTE RULE BACKEND`.
    pub const NAMES: usize = 4;
    /// What became of the request in the cache.
    pub const HANDLING: usize = 5;
    /// The address of the endpoint, and its port.
    pub const ENDPOINT: usize = 6;
}

const FIRST: [&str; 8] = [
    "%{Varnish:side}x",
    "%{Varnish:vxid}x",
    "%{VSL:Begin[2]}x",
    "%{VSL:Link[2]}x",
    "%{VCL_Log:copal}x",
    "%{Varnish:handling}x",
    "%{VSL:BackendOpen[3]}x",
    "%{VSL:BackendOpen[4]}x",
];

/// A reader, and how its output is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// varnishncsa's arguments, without its working directory.
    pub arguments: Vec<OsString>,
    /// The log tags that it reads, of those that may be masked.
    pub tags: Tags,
    /// What a line is made of.
    pub layout: Layout,
}

/// What a line is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In the order in which they are written.
    pub entries: Vec<(String, Value)>,
    /// Whether requests to backends are logged.
    pub has_backends: bool,
    /// Whether a request waits for the endpoint that answers it.
    pub has_endpoint: bool,
}

/// Where a value comes from. Of several columns the first that has something counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Vec<usize>),
    /// A whole number.
    Number(Vec<usize>),
    /// A number of seconds.
    Seconds(Vec<usize>),
    /// Seconds since 1970.
    Time(usize),
    /// What became of it in the cache.
    Cache,
    /// The route, the rule or the backend: 0, 1, 2.
    Name(usize),
    /// The endpoint.
    Endpoint,
    /// The result of a user's format.
    Message(usize),
    /// Nobody may see it.
    Redacted,
    /// Headers by name.
    Headers(Vec<(String, Value)>),
}

/// Plans a reader.
///
/// # Errors
/// When the user's format is none.
pub fn plan(logging: &Logging) -> Result<Plan, FormatError> {
    let mut writer = Writer::new(logging);
    match &logging.format {
        Format::Json(fields) => writer.json(fields),
        Format::Ncsa(format) => writer.ncsa(format)?,
    }
    let mut tags = writer.tags;
    if !writer.layout.has_backends {
        tags.retain(|tag| !tag.starts_with("Bere") && *tag != "BackendOpen");
    }
    if writer.layout.has_endpoint {
        tags.extend(["BackendOpen", "VCL_call", "VCL_return", "HitMiss", "HitPass"]);
    }
    tags.extend(logging.query.iter().flat_map(|query| words(query)).flat_map(mask::named));
    let layout = writer.layout;
    let mut arguments: Vec<OsString> = ["-t", "off", "-g", "request", "-c"].map(OsString::from).into();
    if layout.has_backends || layout.has_endpoint {
        arguments.push("-b".into());
    }
    arguments.extend(["-L", UNFINISHED].map(OsString::from));
    arguments.extend(["-F".into(), format!("{}{END}", writer.columns.join(&SEPARATOR.to_string())).into()]);
    arguments.extend(logging.query.iter().flat_map(|query| ["-q".into(), query.into()]));
    Ok(Plan { arguments, tags, layout })
}

/// The words of a VSL query that may be tags: not what is quoted, and not the names of headers after a colon.
fn words(query: &str) -> Vec<&str> {
    let unquoted = query.split(['"', '\'']).step_by(2);
    let terms = unquoted.flat_map(|text| text.split(|c: char| c.is_whitespace() || "()<>=!~{}".contains(c)));
    let tags = terms.map(|term| term.split([':', '[']).next().unwrap_or_default());
    tags.flat_map(|tags| tags.split(',')).filter(|word| !word.is_empty()).collect()
}

struct Writer<'a> {
    logging: &'a Logging,
    columns: Vec<String>,
    tags: Tags,
    layout: Layout,
}

impl<'a> Writer<'a> {
    fn new(logging: &'a Logging) -> Self {
        let has_backends = logging.verbosity == Verbosity::All;
        let layout = Layout { has_backends, ..Layout::default() };
        Self { logging, columns: FIRST.map(str::to_owned).into(), tags: Tags::new(), layout }
    }

    fn json(&mut self, fields: &[Field]) {
        let (mut seen, mut requests, mut responses) = (BTreeSet::new(), Vec::new(), Vec::new());
        for field in fields.iter().filter(|field| seen.insert(*field)) {
            match field {
                Field::RequestHeader(name) => requests.extend(self.header(name, Self::request_header)),
                Field::ResponseHeader(name) => responses.extend(self.header(name, Self::response_header)),
                _ => {
                    let (key, value) = (field.name().unwrap_or_default(), self.value(field));
                    self.layout.entries.push((key.to_owned(), value));
                }
            }
        }
        for (key, headers) in [("requestHeaders", requests), ("responseHeaders", responses)] {
            if !headers.is_empty() {
                self.layout.entries.push((key.to_owned(), Value::Headers(headers)));
            }
        }
    }

    fn ncsa(&mut self, format: &str) -> Result<(), FormatError> {
        let format = custom::rewrite(format, &self.logging.redact)?;
        self.tags.extend(format.tags);
        let column = self.column(format.text, []);
        self.layout.entries.push(("message".to_owned(), Value::Message(column)));
        Ok(())
    }

    fn column(
        &mut self,
        directive: impl Into<String>,
        tags: impl IntoIterator<Item = &'static str>,
    ) -> usize {
        self.tags.extend(tags);
        self.columns.push(directive.into());
        self.columns.len() - 1
    }

    /// Columns for records, each with what it wants of them: `("ReqAcct", "[2]")`.
    fn records<const N: usize>(&mut self, records: [(&'static str, &str); N]) -> Vec<usize> {
        records.map(|(tag, part)| self.column(format!("%{{VSL:{tag}{part}}}x"), [tag])).into()
    }

    fn value(&mut self, field: &Field) -> Value {
        match field {
            Field::Time => Value::Time(self.column("%{VSL:Timestamp:Start[1]}x", ["Timestamp"])),
            Field::ClientAddress => Value::Text(self.records([("ReqStart", "[1]")])),
            Field::Method => Value::Text(self.records([("ReqMethod", ""), ("BereqMethod", "")])),
            Field::Url => Value::Text(self.records([("ReqURL", ""), ("BereqURL", "")])),
            Field::Protocol => Value::Text(self.records([("ReqProtocol", ""), ("BereqProtocol", "")])),
            Field::Status => Value::Number(vec![self.column("%s", ["RespStatus", "BerespStatus"])]),
            Field::BytesSent => Value::Number(self.accounts("[5]", "[4]")),
            Field::BytesReceived => Value::Number(self.accounts("[2]", "[3]")),
            Field::Duration => Value::Seconds(self.times(["Resp", "PipeSess", "BerespBody", "Error"])),
            Field::TimeToFirstByte => Value::Seconds(self.times(["Process", "Pipe", "Beresp"])),
            Field::Cache => {
                self.tags.extend(["VCL_call", "VCL_return", "HitMiss", "HitPass"]);
                Value::Cache
            }
            Field::Route => self.name(0),
            Field::Rule => self.name(1),
            Field::Backend => self.name(2),
            Field::Endpoint => {
                self.layout.has_endpoint = true;
                Value::Endpoint
            }
            Field::UserAgent => self.request_header("user-agent"),
            Field::Referer => self.request_header("referer"),
            Field::Host => self.request_header("host"),
            Field::Vxid => Value::Number(vec![column::VXID]),
            Field::RequestHeader(name) => self.request_header(name),
            Field::ResponseHeader(name) => self.response_header(name),
        }
    }

    fn accounts(&mut self, field: &str, piped: &str) -> Vec<usize> {
        self.records([("ReqAcct", field), ("PipeAcct", piped), ("BereqAcct", field)])
    }

    /// Seconds since the transaction's begin at which these were reached.
    fn times<const N: usize>(&mut self, events: [&str; N]) -> Vec<usize> {
        events.map(|event| self.column(format!("%{{VSL:Timestamp:{event}[2]}}x"), ["Timestamp"])).into()
    }

    fn name(&mut self, place: usize) -> Value {
        self.tags.insert("VCL_Log");
        Value::Name(place)
    }

    /// `None` for what cannot be a header's name.
    fn header(&mut self, name: &str, value: fn(&mut Self, &str) -> Value) -> Option<(String, Value)> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$&'*+-.^_`|~".contains(c);
        let is_name = !name.is_empty() && name.len() <= 200 && name.chars().all(token);
        is_name.then(|| (name.to_ascii_lowercase(), value(self, name)))
    }

    fn is_redacted(&self, name: &str) -> bool {
        self.logging.redact.iter().any(|redacted| redacted.eq_ignore_ascii_case(name))
    }

    /// As the client sent it: the first record of that name.
    fn request_header(&mut self, name: &str) -> Value {
        if self.is_redacted(name) {
            return Value::Redacted;
        }
        let part = format!(":{name}");
        Value::Text(self.records([("ReqHeader", &part), ("BereqHeader", &part)]))
    }

    /// As the client gets it: the last record of that name.
    fn response_header(&mut self, name: &str) -> Value {
        if self.is_redacted(name) {
            return Value::Redacted;
        }
        let tags = ["RespHeader", "RespUnset", "BerespHeader", "BerespUnset", "VCL_call"];
        Value::Text(vec![self.column(format!("%{{{name}}}o"), tags)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(logging: &Logging) -> Vec<&'static str> {
        plan(logging).unwrap().tags.into_iter().collect()
    }

    fn json(fields: &[Field]) -> Logging {
        Logging { format: Format::Json(fields.to_vec()), ..Logging::default() }
    }

    #[test]
    fn only_what_is_read_is_asked_for() {
        assert_eq!(tags(&json(&[Field::Url, Field::Status])), ["ReqURL", "RespStatus"]);
        assert_eq!(tags(&json(&[Field::Route])), ["VCL_Log"]);
        let all = Logging { verbosity: Verbosity::All, ..json(&[Field::Url]) };
        assert_eq!(tags(&all), ["BereqURL", "ReqURL"]);
        let query = Logging { query: Some("BerespStatus >= 500 or Resp* eq \"x\"".into()), ..json(&[]) };
        assert_eq!(
            tags(&query),
            ["BerespStatus", "RespHeader", "RespProtocol", "RespReason", "RespStatus", "RespUnset"]
        );
        let ncsa = Logging { format: Format::Ncsa("%h %{X-A}o".into()), ..Logging::default() };
        assert_eq!(tags(&ncsa), ["ReqStart", "RespHeader", "RespUnset", "VCL_call"]);
    }

    #[test]
    fn the_tags_of_a_query_are_told_from_its_other_words() {
        let query =
            r#"ReqHeader:x-debug eq "Hash" and (Timestamp:Resp[2]>1.0 or {2}Req*,VCL_Log ~ 'x') and not Hit"#;
        assert_eq!(
            words(query),
            ["ReqHeader", "eq", "and", "Timestamp", "1.0", "or", "2", "Req*", "VCL_Log", "and", "not", "Hit"]
        );
    }

    #[test]
    fn backend_transactions_are_read_where_they_are_needed() {
        let has = |logging: &Logging| plan(logging).unwrap().arguments.contains(&"-b".into());
        assert!(!has(&json(&[Field::Url])));
        assert!(has(&json(&[Field::Endpoint])));
        assert!(has(&Logging { verbosity: Verbosity::All, ..json(&[]) }));
    }

    #[test]
    fn redacted_headers_are_not_even_read() {
        let fields = [
            Field::Host,
            Field::UserAgent,
            Field::RequestHeader("Authorization".into()),
            Field::ResponseHeader("Set-Cookie".into()),
        ];
        let redact = ["host", "user-agent", "authorization", "set-cookie"].map(str::to_owned).into();
        let plan = plan(&Logging { redact, ..json(&fields) }).unwrap();
        assert!(plan.tags.is_empty());
        let format = plan.arguments.iter().find(|it| it.to_string_lossy().contains('%')).unwrap();
        let format = format.to_string_lossy().to_lowercase();
        assert!(!format.contains("host") && !format.contains("authorization"), "{format}");
    }

    #[test]
    fn what_cannot_be_a_header_is_left_out() {
        let fields = ["", "a}x", "a b", "a:first", "ok"].map(|name| Field::RequestHeader(name.into()));
        let entries = plan(&json(&fields)).unwrap().layout.entries;
        let [(key, Value::Headers(headers))] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((key.as_str(), headers.len()), ("requestHeaders", 1));
    }

    #[test]
    fn a_format_that_is_none_is_an_error() {
        assert!(plan(&Logging { format: Format::Ncsa("%Z".into()), ..Logging::default() }).is_err());
    }
}
