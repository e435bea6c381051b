//! HTTP/1.1 by hand, so that a test says exactly which bytes go over the wire; HTTP/2 by curl.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// No answer that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request: what is written is the request line, `Host` if not empty, these headers, nothing else.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub host: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The listener's port before the offset; 0 for the gateway's first.
    pub port: u16,
}

/// A GET request.
pub fn get(host: &str, target: &str) -> Request {
    Request::new("GET", host, target)
}

impl Request {
    pub fn new(method: &str, host: &str, target: &str) -> Self {
        Self { method: method.into(), host: host.into(), target: target.into(), ..Self::default() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The bytes of the request.
    pub fn wire(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.host.is_empty() {
            head += &format!("Host: {}\r\n", self.host);
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        let mut wire = head.into_bytes();
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&self.body);
        wire
    }
}

/// A response; header names in lower case, lines in their order.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first line of that header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every line of that header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The members of a list header, from all of its lines, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let lines = self.all(name).join(",");
        let mut members: Vec<String> = lines.split(',').map(|part| part.trim().to_owned()).collect();
        members.retain(|member| !member.is_empty());
        members.sort();
        members
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the backend said of the request; `null` when the answer is not a backend's.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The name of the backend that answered; empty when none did.
    pub fn backend(&self) -> &str {
        self.header("x-backend").unwrap_or_default()
    }

    /// The lines of a request header as the backend received them.
    pub fn received(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let lines = json["headers"][name].as_array().cloned().unwrap_or_default();
        lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect()
    }

    /// A field of the backend's account as text: `path`, `host`, `method`, `serial`.
    pub fn told(&self, field: &str) -> String {
        match &self.json()[field] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// A keep-alive connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// One request and its response.
    pub fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.wire())?;
        self.read_response(request.method == "HEAD")
    }

    /// Reads one response; `head` when it is the answer to a HEAD request and so has no body.
    pub fn read_response(&mut self, head: bool) -> io::Result<Response> {
        let mut response = self.read_head()?;
        if !(head || response.status < 200 || response.status == 204 || response.status == 304) {
            response.body = self.read_body(&response)?;
        }
        Ok(response)
    }

    /// Reads up to `limit` bytes that are not part of a response (a tunnel's).
    pub fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the other side closes within the time, without sending anything more.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(limit)).expect("the limit is not zero");
        matches!(self.reader.fill_buf(), Ok([]))
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed before the end of the response",
            ));
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read_head(&mut self) -> io::Result<Response> {
        let line = self.read_line()?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {line}")))?;
        let mut response = Response { status, ..Response::default() };
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(response) };
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn read_body(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks();
        }
        if let Some(length) = response.header("content-length") {
            return self.read_exact(length.parse().map_err(io::Error::other)?);
        }
        let mut body = Vec::new();
        self.reader.read_to_end(&mut body).map(|_| body)
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.read_line()?, 16).map_err(io::Error::other)?;
            let chunk = self.read_exact(size)?;
            self.read_line()?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
        }
    }
}

/// Sends a GET request as HTTP/2 with prior knowledge; the protocol that was spoken comes with the answer.
pub fn h2c(address: SocketAddr, host: &str, target: &str) -> (String, Response) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--http2-prior-knowledge", "--include", "--max-time", "20"])
        .args(["--header", &format!("Host: {host}"), &format!("http://{address}{target}")])
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let protocol = first.next().unwrap_or_default().to_owned();
    let status = first.next().and_then(|code| code.parse().ok()).unwrap_or(0);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    (protocol, Response { status, headers, body: body.as_bytes().to_vec() })
}
