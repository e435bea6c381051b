//! A small HTTP client that shows what happens to its connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A connection that is kept alive.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    pub fn send(&mut self, host: &str, path: &str) -> io::Result<()> {
        write!(self.reader.get_mut(), "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    /// Sends these bytes.
    pub fn send_raw(&mut self, request: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(request)
    }

    pub fn receive(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head, body: String::new() };
        let mut body = Vec::new();
        match answer.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                body.resize(length, 0);
                self.reader.read_exact(&mut body)?;
            }
            None => drop(self.reader.read_to_end(&mut body)?),
        }
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }

    pub fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.send(host, path)?;
        self.receive()
    }

    /// Waits for the peer to close the connection.
    pub fn is_closed_by_peer(&mut self, limit: Duration) -> bool {
        self.reader.get_mut().set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0];
        matches!(self.reader.read(&mut byte), Ok(0))
    }
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<Answer> {
    Connection::open(address)?.get(host, path)
}
