//! One record of varnishncsa, and the JSON line that it becomes. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::custom::REDACTED;
use super::decode;
use super::plan::{Layout, SEPARATOR, Value, column};

/// What varnishncsa writes for what is not there.
const ABSENT: &[u8] = b"-";

/// The columns of a transaction. One that is missing counts as empty, so any bytes are a record.
#[derive(Debug)]
pub struct Record<'a>(Vec<&'a [u8]>);

impl<'a> Record<'a> {
    /// Takes a record apart.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.split(|byte| char::from(*byte) == SEPARATOR).collect())
    }

    /// A column, if there is something in it.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<&'a [u8]> {
        self.0.get(column).copied().filter(|value| *value != ABSENT)
    }

    /// Whether this is a request to a backend.
    #[must_use]
    pub fn is_backend(&self) -> bool {
        self.get(column::SIDE) == Some(b"b")
    }

    /// What became of it in the cache. That a miss or pass was decided earlier is no difference to who reads the log.
    #[must_use]
    pub fn handling(&self) -> Option<&'static str> {
        match self.get(column::HANDLING)? {
            b"hit" => Some("hit"),
            b"miss" | b"hitmiss" => Some("miss"),
            b"pass" | b"hitpass" => Some("pass"),
            b"synth" => Some("synth"),
            b"pipe" => Some("pipe"),
            _ => None,
        }
    }

    /// `IP:PORT` of the endpoint that was connected to.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let ip = decode::text(self.get(column::ENDPOINT)?);
        let port = decode::text(self.get(column::ENDPOINT + 1)?);
        Some(if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") })
    }

    /// Route, rule and backend as VCL names them: `ROUTE RULE BACKEND`, or nothing.
    #[must_use]
    pub fn names(&self) -> &'a [u8] {
        self.get(column::NAMES).unwrap_or_default()
    }

    /// Writes the line, with its line feed. `names` and `endpoint` may be those of another transaction of the same
    /// request.
    pub fn write(&self, layout: &Layout, names: &[u8], endpoint: Option<&str>, out: &mut Vec<u8>) {
        let line = Line { record: self, names, endpoint };
        out.extend_from_slice(if self.is_backend() {
            br#"{"log":"access","side":"backend""#
        } else {
            br#"{"log":"access""#
        });
        for (key, value) in &layout.entries {
            out.push(b',');
            json(key, out);
            out.push(b':');
            line.value(value, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

struct Line<'a> {
    record: &'a Record<'a>,
    names: &'a [u8],
    endpoint: Option<&'a str>,
}

impl Line<'_> {
    fn value(&self, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Text(columns) => json(&self.first(columns).map(decode::text), out),
            Value::Number(columns) => json(&self.parsed::<u64>(columns), out),
            Value::Seconds(columns) => json(&self.parsed::<f64>(columns).filter(|it| it.is_finite()), out),
            Value::Time(column) => json(&self.parsed::<f64>(&[*column]).and_then(time), out),
            Value::Cache => json(&self.record.handling().filter(|_| !self.record.is_backend()), out),
            Value::Name(place) => json(&self.name(*place), out),
            Value::Endpoint => json(&self.endpoint, out),
            Value::Message(column) => json(&self.record.get(*column).map(decode::message), out),
            Value::Redacted => json(REDACTED, out),
            Value::Headers(headers) => self.headers(headers, out),
        }
    }

    fn headers(&self, headers: &[(String, Value)], out: &mut Vec<u8>) {
        for (number, (name, value)) in headers.iter().enumerate() {
            out.push(if number == 0 { b'{' } else { b',' });
            json(name, out);
            out.push(b':');
            self.value(value, out);
        }
        out.push(b'}');
    }

    fn first(&self, columns: &[usize]) -> Option<&[u8]> {
        columns.iter().find_map(|column| self.record.get(*column))
    }

    fn parsed<T: std::str::FromStr>(&self, columns: &[usize]) -> Option<T> {
        std::str::from_utf8(self.first(columns)?).ok()?.parse().ok()
    }

    fn name(&self, place: usize) -> Option<String> {
        let name = self.names.split(|byte| *byte == b' ').nth(place)?;
        (!name.is_empty() && name != ABSENT).then(|| decode::text(name))
    }
}

/// RFC 3339 with milliseconds, in UTC.
fn time(seconds: f64) -> Option<String> {
    let time = Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(seconds).ok()?).ok()?;
    let mut text = String::new();
    write!(text, "{}", time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).ok()?;
    Some(text)
}

fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}
