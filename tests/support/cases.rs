//! Tables of requests and what is expected of them.

use super::{Gateway, Request, Response};

/// One line of a table: `METHOD [:PORT ]HOST/PATH[ | HEADER: VALUE]… -> STATUS[ BACKEND]`.
struct Case {
    line: String,
    request: Request,
    status: u16,
    backend: String,
}

impl Gateway {
    /// Sends the request of each line and compares status and backend; all differences are shown at once.
    ///
    /// ```text
    /// GET a.test/one                  -> 200 one
    /// GET :8080 a.test/one | x-a: 1   -> 200 two
    /// POST a.test/none                -> 404
    /// ```
    pub fn check(&self, table: &str) {
        let cases = table.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse);
        let wrong: Vec<String> = cases.filter_map(|case| self.difference(&case)).collect();
        assert!(wrong.is_empty(), "unexpected answers:\n{}\n{}", wrong.join("\n"), self.log_tail());
    }

    fn difference(&self, case: &Case) -> Option<String> {
        let response = self.send(&case.request);
        let got = outcome(&response);
        let same = response.status == case.status && response.backend() == case.backend;
        (!same).then(|| format!("  {}\n    but got {got}", case.line))
    }
}

fn outcome(response: &Response) -> String {
    format!("{} {} {:?}", response.status, response.backend(), response.headers)
}

fn parse(line: &str) -> Case {
    let (request, expected) = line.split_once("->").expect("a case has an arrow");
    let mut expected = expected.split_whitespace();
    let status = expected.next().and_then(|code| code.parse().ok()).expect("a status after the arrow");
    let backend = expected.next().unwrap_or_default().to_owned();
    Case { line: line.to_owned(), request: parse_request(request.trim()), status, backend }
}

/// `METHOD [:PORT ]HOST/PATH[ | HEADER: VALUE]…`
fn parse_request(text: &str) -> Request {
    let mut parts = text.split(" | ");
    let mut words = parts.next().unwrap_or_default().split_whitespace();
    let method = words.next().expect("a method");
    let mut target = words.next().expect("a host and path");
    let mut port = 0;
    if let Some(number) = target.strip_prefix(':') {
        port = number.parse().expect("a port");
        target = words.next().expect("a host and path");
    }
    let (host, path) = target.split_once('/').expect("a slash after the host");
    let request = Request::new(method, host, &format!("/{path}")).port(port);
    parts
        .filter_map(|header| header.split_once(':'))
        .fold(request, |request, (name, value)| request.header(name.trim(), value.trim()))
}
