//! The transactions of varnishncsa's output become lines of JSON. Pure.
//!
//! A request's transactions come together: the client's, then those to backends. A line of a client whose endpoint is
//! asked for waits until that one is known, which is at once.

use std::mem;

use super::plan::{END, Layout, column};
use super::record::Record;

/// The longest record that is taken, in bytes. varnishd cuts what is in one, so there is none of that length.
const LONGEST: usize = 1 << 20;
/// Transactions of one request that are kept in mind; retries go up to 50.
const MANY: usize = 64;

/// Reads varnishncsa's output.
#[derive(Debug)]
pub struct Lines {
    layout: Layout,
    /// What has no end yet.
    rest: Vec<u8>,
    /// The numbers of the transactions of the request that is being read.
    request: Vec<Vec<u8>>,
    /// Route, rule and backend of that request.
    names: Vec<u8>,
    waiting: Option<Waiting>,
    written: Written,
}

/// A client's transaction that waits for its endpoint.
#[derive(Debug)]
struct Waiting {
    record: Vec<u8>,
    /// The transaction that tells.
    asked: Vec<u8>,
    endpoint: Option<String>,
}

/// Lines of JSON, each with its line feed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The lines.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl Lines {
    /// Makes lines of this layout.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            rest: Vec::new(),
            request: Vec::new(),
            names: Vec::new(),
            waiting: None,
            written: Written::default(),
        }
    }

    /// Takes some output, cut anywhere, and gives the lines that are complete.
    pub fn read(&mut self, output: &[u8]) -> Written {
        let end = |byte: &u8| char::from(*byte) == END;
        let mut rest = output;
        while let Some(place) = rest.iter().position(end) {
            let (record, after) = rest.split_at(place);
            let mut begun = mem::take(&mut self.rest);
            if begun.is_empty() {
                self.record(record);
            } else {
                begun.extend_from_slice(record);
                self.record(&begun);
            }
            rest = after.get(1..).unwrap_or_default();
        }
        if self.rest.len() + rest.len() <= LONGEST {
            self.rest.extend_from_slice(rest);
        }
        mem::take(&mut self.written)
    }

    /// Gives what has waited long enough.
    pub fn flush(&mut self) -> Written {
        self.release();
        mem::take(&mut self.written)
    }

    /// Whether something waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    fn record(&mut self, bytes: &[u8]) {
        // varnishncsa ends its lines itself, after our own end.
        let bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        let record = Record::new(bytes);
        if record.is_backend() {
            self.backend(&record);
        } else {
            self.client(&record, bytes);
        }
    }

    fn client(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.release();
        self.request = record.get(column::VXID).map(<[u8]>::to_vec).into_iter().collect();
        self.names = record.names().to_vec();
        let fetches = matches!(record.handling(), Some("miss" | "pass" | "pipe"));
        match record.get(column::CHILD).filter(|_| self.layout.has_endpoint && fetches) {
            Some(child) => {
                self.waiting =
                    Some(Waiting { record: bytes.to_vec(), asked: child.to_vec(), endpoint: None });
            }
            None => self.write(record, None),
        }
    }

    fn backend(&mut self, record: &Record<'_>) {
        let is_known = |parent| self.request.iter().any(|known| known == parent);
        if !record.get(column::PARENT).is_some_and(is_known) {
            // Of a request that is not logged itself.
            self.release();
            self.request.clear();
            self.names.clear();
        }
        if self.request.len() < MANY {
            self.request.extend(record.get(column::VXID).map(<[u8]>::to_vec));
        }
        let endpoint = record.endpoint();
        self.answer(record, endpoint.as_deref());
        if self.layout.has_backends {
            self.write(record, endpoint.as_deref());
        }
    }

    /// Tells the client's transaction that waits which endpoint it was; another try may follow.
    fn answer(&mut self, record: &Record<'_>, endpoint: Option<&str>) {
        let number = record.get(column::VXID);
        let Some(waiting) = self.waiting.as_mut().filter(|it| Some(it.asked.as_slice()) == number) else {
            return;
        };
        waiting.endpoint = endpoint.map(str::to_owned);
        match record.get(column::CHILD) {
            Some(retry) => waiting.asked = retry.to_vec(),
            None => self.release(),
        }
    }

    fn release(&mut self) {
        if let Some(Waiting { record, endpoint, .. }) = self.waiting.take() {
            self.write(&Record::new(&record), endpoint.as_deref());
        }
    }

    fn write(&mut self, record: &Record<'_>, endpoint: Option<&str>) {
        record.write(&self.layout, &self.names, endpoint, &mut self.written.bytes);
        self.written.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::plan::{SEPARATOR, plan};
    use super::*;
    use crate::bundle::logging::{Field, Format, Logging, Verbosity};

    /// A record with these first columns (side, number, parent, child, names, handling, address, port) and others.
    fn record(first: [&str; 8], others: &[&str]) -> String {
        let columns: Vec<&str> = first.into_iter().chain(others.iter().copied()).collect();
        format!("{}{END}\n", columns.join(&SEPARATOR.to_string()))
    }

    fn lines(logging: &Logging) -> Lines {
        Lines::new(plan(logging).unwrap().layout)
    }

    fn parsed(written: &Written) -> Vec<Value> {
        let text = std::str::from_utf8(&written.bytes).unwrap();
        let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values.len() as u64, written.count);
        values
    }

    fn json(fields: &[Field]) -> Logging {
        Logging { format: Format::Json(fields.to_vec()), ..Logging::default() }
    }

    const CLIENT: [&str; 8] = ["c", "2", "1", "3", "ns/r 0 ns/s:80", "miss", "-", "-"];

    #[test]
    fn fields_are_typed() {
        let logging = json(&[
            Field::Time,
            Field::Status,
            Field::BytesSent,
            Field::Duration,
            Field::Cache,
            Field::Route,
            Field::Rule,
            Field::Backend,
            Field::UserAgent,
            Field::Vxid,
        ]);
        let mut lines = lines(&logging);
        let others = [
            "1700000000.123456",
            "200",
            "-",
            "17",
            "-",
            "-",
            "0.012345",
            "-",
            "-",
            r#"curl \"\xc3\xa4\xff"#,
            "-",
        ];
        let written = lines.read(record(CLIENT, &others).as_bytes());
        let expected = json!({
            "log": "access", "time": "2023-11-14T22:13:20.123Z", "status": 200, "bytesSent": 17, "duration": 0.012_345,
            "cache": "miss", "route": "ns/r", "rule": "0", "backend": "ns/s:80", "userAgent": "curl \"ä\\xff", "vxid": 2,
        });
        assert_eq!(parsed(&written), [expected]);
    }

    #[test]
    fn what_is_not_there_is_null() {
        let logging =
            json(&[Field::Time, Field::Status, Field::Route, Field::Cache, Field::Url, Field::Endpoint]);
        let written = lines(&logging).read(format!("c{END}\n").as_bytes());
        let expected = json!({"log": "access", "time": null, "status": null, "route": null, "cache": null, "url": null, "endpoint": null});
        assert_eq!(parsed(&written), [expected]);
    }

    #[test]
    fn a_request_waits_for_the_endpoint_of_its_last_try() {
        let mut lines = lines(&json(&[Field::Endpoint]));
        assert_eq!(lines.read(record(CLIENT, &[]).as_bytes()).count, 0);
        let first = ["b", "3", "2", "4", "", "-", "10.0.0.1", "80"];
        assert_eq!(lines.read(record(first, &[]).as_bytes()).count, 0);
        let second = ["b", "4", "3", "-", "", "-", "fd00::2", "80"];
        let written = lines.read(record(second, &[]).as_bytes());
        assert_eq!(parsed(&written)[0]["endpoint"], "[fd00::2]:80");
        assert!(!lines.is_waiting());
    }

    #[test]
    fn a_request_whose_endpoint_does_not_come_is_not_lost() {
        let mut lines = lines(&json(&[Field::Endpoint, Field::Vxid]));
        let hit = ["c", "9", "8", "-", "", "hit", "-", "-"];
        let output = record(CLIENT, &[]) + &record(hit, &[]) + &record(CLIENT, &[]);
        let written = lines.read(output.as_bytes());
        let vxids: Vec<Value> = parsed(&written).into_iter().map(|line| line["vxid"].clone()).collect();
        assert_eq!(vxids, [2, 9]);
        assert_eq!(parsed(&lines.flush()).len(), 1);
    }

    #[test]
    fn requests_to_backends_have_their_requests_names() {
        let logging = Logging { verbosity: Verbosity::All, ..json(&[Field::Route, Field::Endpoint]) };
        let fetch = ["b", "3", "2", "-", "", "-", "10.0.0.1", "80"];
        let written = lines(&logging).read((record(CLIENT, &[]) + &record(fetch, &[])).as_bytes());
        let found = parsed(&written);
        assert_eq!(found[0], json!({"log": "access", "route": "ns/r", "endpoint": "10.0.0.1:80"}));
        assert_eq!(
            found[1],
            json!({"log": "access", "side": "backend", "route": "ns/r", "endpoint": "10.0.0.1:80"})
        );
        let stranger = ["b", "30", "20", "-", "", "-", "10.0.0.1", "80"];
        let found = parsed(&lines(&logging).read((record(CLIENT, &[]) + &record(stranger, &[])).as_bytes()));
        assert_eq!(found[1]["route"], Value::Null);
    }

    #[test]
    fn a_users_format_is_the_message() {
        let logging = Logging { format: Format::Ncsa("%h\\n%r".into()), ..Logging::default() };
        let written = lines(&logging).read(record(CLIENT, &["127.0.0.1\nGET \"x\" \\\"\\xff"]).as_bytes());
        assert_eq!(parsed(&written)[0]["message"], "127.0.0.1\nGET \"x\" \\\"\\\\xff");
    }

    fn any_logging() -> impl Strategy<Value = Logging> {
        let fields =
            [Field::DEFAULT, &[Field::RequestHeader("x-\"a".into()), Field::ResponseHeader("b".into())]];
        prop_oneof![
            Just(json(&fields.concat())),
            Just(Logging { verbosity: Verbosity::All, ..json(Field::DEFAULT) }),
            Just(Logging { format: Format::Ncsa("%r %{a}i".into()), ..Logging::default() }),
        ]
    }

    proptest! {
        #[test]
        fn any_output_gives_lines_of_json(logging in any_logging(), output in prop::collection::vec(any::<u8>(), 0..300), ends in prop::collection::vec(0..300_usize, 0..9), cut in 0..300_usize) {
            let mut output = output;
            for (number, end) in ends.into_iter().enumerate() {
                if let Some(byte) = output.get_mut(end) {
                    *byte = u8::try_from(u32::from(if number % 2 == 0 { END } else { SEPARATOR })).unwrap();
                }
            }
            output.extend(format!("{END}\n").bytes());
            let mut whole = lines(&logging);
            let mut written = whole.read(&output);
            let rest = whole.flush();
            parsed(&rest);
            parsed(&written);
            written.bytes.extend(rest.bytes);
            let mut halves = lines(&logging);
            let (first, second) = output.split_at(cut.min(output.len()));
            let mut joined = halves.read(first).bytes;
            joined.extend(halves.read(second).bytes);
            joined.extend(halves.flush().bytes);
            prop_assert_eq!(joined, written.bytes);
        }

        /// Whatever a client sends, as varnishncsa escapes it, arrives as it was where it is text.
        #[test]
        fn any_value_comes_out_as_it_was(value in "\\PC{0,40}") {
            let mut escaped = String::new();
            for byte in value.bytes() {
                match byte {
                    b'"' | b'\\' => escaped.extend(['\\', char::from(byte)]),
                    0x20..=0x7e => escaped.push(char::from(byte)),
                    _ => write!(escaped, "\\x{byte:02x}").unwrap(),
                }
            }
            prop_assume!(value != "-");
            let written = lines(&json(&[Field::Url])).read(record(CLIENT, &[&escaped]).as_bytes());
            prop_assert_eq!(&parsed(&written)[0]["url"], &Value::from(value));
        }
    }
}
