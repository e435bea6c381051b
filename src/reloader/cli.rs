//! Varnish's management protocol, and nothing else: framing, challenge authentication, one command at a time.
//!
//! A command is a line (or a here-document). A reply is a header of 13 bytes, `%-3d %-8d\n` with status and
//! length of the body, then the body and a line feed. A peer that wants authentication speaks first, with
//! status 107 and a challenge; the answer is a SHA-256 over challenge and secret.

use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::bundle::hex;

/// Bytes in the header of a reply, its line feed included.
const HEADER_LEN: usize = 13;
/// Bytes at the start of the body of a 107 that are the challenge.
const CHALLENGE_LEN: usize = 32;
/// The longest body that is taken. varnishd cuts replies at its `cli_limit`, which Copal sets to 1 MiB.
const MAX_BODY: usize = 16 << 20;
/// How long a peer may take for the challenge, and then for its verdict.
const AUTH_LIMIT: Duration = Duration::from_secs(5);
/// How much of a command is shown in an error.
const SHOWN: usize = 60;

const OK: u16 = 200;
const TRUNCATED: u16 = 201;
const AUTH_REQUIRED: u16 = 107;

/// Why a command had no effect, or an unknown one.
#[derive(Debug, Error)]
pub enum CliError {
    /// The connection failed.
    #[error("the CLI connection to varnishd failed")]
    Io(#[from] std::io::Error),
    /// The peer does not speak the protocol.
    #[error("varnishd's CLI sent {0:?} where a reply header was expected")]
    Header(String),
    /// The peer announced a body beyond all reason.
    #[error("varnishd's CLI announced a reply of {0} bytes, more than the {MAX_BODY} that are taken")]
    TooLong(usize),
    /// The peer did not begin with a challenge.
    #[error("varnishd's CLI began with status {0} where a challenge (107) was expected")]
    NoChallenge(u16),
    /// The peer has another secret.
    #[error("varnishd's CLI does not accept our secret: it was started by someone else")]
    WrongSecret,
    /// No reply in time. The connection is of no further use, since the reply may still come.
    #[error("varnishd's CLI did not answer `{command}` within {} s", limit.as_secs())]
    Timeout {
        /// The beginning of the command.
        command: String,
        /// How long it was given.
        limit: Duration,
    },
    /// An earlier command was left unanswered, so what is read next belongs to that one.
    #[error("the CLI connection is out of step after an unanswered command")]
    OutOfStep,
    /// varnishd says no; the connection is fine.
    #[error("varnishd refused `{command}` with status {status}: {}", message.trim())]
    Refused {
        /// The beginning of the command.
        command: String,
        /// 101 unknown, 104–106 syntax, parameter or compilation, 300 not now.
        status: u16,
        /// What varnishd says, often several lines.
        message: String,
    },
}

impl CliError {
    /// Whether another command may be sent on the same connection.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// An authenticated connection to varnishd's management process.
#[derive(Debug)]
pub struct Cli<S> {
    stream: S,
    in_step: bool,
}

struct Reply {
    status: u16,
    body: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Cli<S> {
    /// Answers the challenge that the peer begins with. `secret` is the whole content of varnishd's `-S` file.
    ///
    /// # Errors
    /// When the peer does not speak the protocol, does not know the secret, or takes longer than 5 s.
    pub async fn authenticate(stream: S, secret: &[u8]) -> Result<Self, CliError> {
        let mut cli = Self { stream, in_step: true };
        let challenge = cli.timed("(challenge)", AUTH_LIMIT, None).await?;
        if challenge.status != AUTH_REQUIRED {
            return Err(CliError::NoChallenge(challenge.status));
        }
        let answer = format!("auth {}\n", auth_response(&challenge.body, secret));
        match cli.timed("auth", AUTH_LIMIT, Some(&answer)).await?.status {
            OK => Ok(cli),
            _ => Err(CliError::WrongSecret),
        }
    }

    /// Sends one command, without its final line feed, and returns the body of the reply.
    ///
    /// # Errors
    /// [`CliError::Refused`] leaves the connection usable; after any other it is not.
    pub async fn request(&mut self, command: &str, limit: Duration) -> Result<String, CliError> {
        let shown: String = command.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
        let reply = self.timed(&shown, limit, Some(&format!("{command}\n"))).await?;
        match reply.status {
            OK | TRUNCATED => Ok(reply.body),
            status => Err(CliError::Refused { command: shown, status, message: reply.body }),
        }
    }

    async fn timed(&mut self, shown: &str, limit: Duration, text: Option<&str>) -> Result<Reply, CliError> {
        if !std::mem::replace(&mut self.in_step, false) {
            return Err(CliError::OutOfStep);
        }
        let reply = timeout(limit, self.exchange(text)).await;
        let reply = reply.map_err(|_| CliError::Timeout { command: shown.to_owned(), limit })??;
        self.in_step = true;
        Ok(reply)
    }

    async fn exchange(&mut self, text: Option<&str>) -> Result<Reply, CliError> {
        if let Some(text) = text {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await?;
        }
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).await?;
        let (status, length) = parse_header(&header)?;
        let mut body = vec![0; length.saturating_add(1)];
        self.stream.read_exact(&mut body).await?;
        body.pop();
        Ok(Reply { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn parse_header(header: &[u8; HEADER_LEN]) -> Result<(u16, usize), CliError> {
    let bad = || CliError::Header(String::from_utf8_lossy(header).into_owned());
    let text = std::str::from_utf8(header).ok().and_then(|h| h.strip_suffix('\n')).ok_or_else(bad)?;
    let (status, length) = text.trim_end().split_once(' ').ok_or_else(bad)?;
    let status = status.parse().map_err(|_| bad())?;
    let length = length.trim_start().parse().map_err(|_| bad())?;
    if length > MAX_BODY { Err(CliError::TooLong(length)) } else { Ok((status, length)) }
}

fn auth_response(body: &str, secret: &[u8]) -> String {
    let challenge = body.get(..CHALLENGE_LEN).unwrap_or(body).as_bytes();
    let digest = Sha256::new()
        .chain_update(challenge)
        .chain_update(b"\n")
        .chain_update(secret)
        .chain_update(challenge)
        .chain_update(b"\n")
        .finalize();
    hex(&digest, digest.len())
}

/// The command that loads `text` as the VCL `name`: a here-document whose end mark does not occur in the text.
#[must_use]
pub fn inline_command(name: &str, text: &str) -> String {
    let mut mark = String::from("COPAL_END");
    while text.contains(&mark) {
        mark.push('_');
    }
    format!("vcl.inline {name} << {mark}\n{text}\n{mark}")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const CHALLENGE: &str = "abcdefghijklmnopqrstuvwxyzabcdef";
    const SECRET: &[u8] = b"open sesame\n";

    fn frame(status: u16, body: &str) -> String {
        format!("{status:<3} {:<8}\n{body}\n", body.len())
    }

    async fn line(peer: &mut DuplexStream) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.push(peer.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap()
    }

    /// A peer that challenges, checks the answer against `secret`, then sends `replies`, one a line it gets.
    async fn peer(mut stream: DuplexStream, secret: &[u8], replies: Vec<String>) {
        let challenge = format!("{CHALLENGE}\n\nAuthentication required.\n");
        stream.write_all(frame(107, &challenge).as_bytes()).await.unwrap();
        let expected = format!("auth {}\n", auth_response(&challenge, secret));
        let granted = line(&mut stream).await == expected;
        let verdict = if granted { frame(200, "banner") } else { frame(107, &challenge) };
        stream.write_all(verdict.as_bytes()).await.unwrap();
        for reply in replies {
            line(&mut stream).await;
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    }

    async fn connected(replies: Vec<String>) -> Cli<DuplexStream> {
        let (ours, theirs) = duplex(64 << 10);
        tokio::spawn(peer(theirs, SECRET, replies));
        Cli::authenticate(ours, SECRET).await.unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_answer_to_a_challenge_is_varnishds() {
        // The example of varnish-cli(7).
        let body = "ixslvvxrgkjptxmcgnnsdxsvdmvfympg\n\nAuthentication required.\n";
        let expected = "455ce847f0073c7ab3b1465f74507b75d3dc064c1e7de3b71e00de9092fdc89a";
        assert_eq!(auth_response(body, b"foo\n"), expected);
    }

    #[tokio::test]
    async fn replies_are_told_apart_by_status() {
        let mut cli = connected(vec![frame(200, "PONG"), frame(300, "not now"), frame(201, "cut")]).await;
        assert_eq!(cli.request("ping", SECOND).await.unwrap(), "PONG");
        let refused = cli.request("stop", SECOND).await.unwrap_err();
        assert!(refused.is_refusal());
        assert_eq!(refused.to_string(), "varnishd refused `stop` with status 300: not now");
        assert_eq!(cli.request("vcl.list", SECOND).await.unwrap(), "cut");
    }

    #[tokio::test]
    async fn a_long_answer_arrives_whole() {
        let long = "x".repeat(900_000);
        let mut cli = connected(vec![frame(200, &long)]).await;
        assert_eq!(cli.request("vcl.show", SECOND * 10).await.unwrap(), long);
    }

    #[tokio::test]
    async fn a_wrong_secret_is_named() {
        let (ours, theirs) = duplex(1 << 10);
        tokio::spawn(peer(theirs, b"another", vec![]));
        assert!(matches!(Cli::authenticate(ours, SECRET).await, Err(CliError::WrongSecret)));
    }

    #[tokio::test]
    async fn a_peer_without_challenge_is_refused() {
        let (ours, mut theirs) = duplex(1 << 10);
        theirs.write_all(frame(200, "welcome").as_bytes()).await.unwrap();
        assert!(matches!(Cli::authenticate(ours, SECRET).await, Err(CliError::NoChallenge(200))));
    }

    #[tokio::test]
    async fn a_truncated_header_is_a_closed_connection() {
        let mut cli = connected(vec!["200 12".to_owned()]).await;
        assert!(matches!(cli.request("ping", SECOND).await, Err(CliError::Io(_))));
        assert!(matches!(cli.request("ping", SECOND).await, Err(CliError::OutOfStep)));
    }

    #[tokio::test]
    async fn nonsense_is_not_taken_for_a_reply() {
        for nonsense in ["HTTP/1.1 400 Bad Request\r\n", "200 abcdefgh\n", "200 12345678 "] {
            let mut cli = connected(vec![nonsense.to_owned()]).await;
            assert!(matches!(cli.request("ping", SECOND).await, Err(CliError::Header(_))), "{nonsense:?}");
        }
        let mut cli = connected(vec!["200 99999999\n".to_owned()]).await;
        assert!(matches!(cli.request("ping", SECOND).await, Err(CliError::TooLong(99_999_999))));
    }

    #[tokio::test]
    async fn a_late_reply_is_never_taken_for_the_next_one() {
        let (ours, mut theirs) = duplex(1 << 10);
        let silent = tokio::spawn(async move {
            theirs.write_all(frame(107, CHALLENGE).as_bytes()).await.unwrap();
            line(&mut theirs).await;
            theirs.write_all(frame(200, "").as_bytes()).await.unwrap();
            theirs
        });
        let mut cli = Cli::authenticate(ours, SECRET).await.unwrap();
        let mut theirs = silent.await.unwrap();
        let late = cli.request("ping", Duration::from_millis(10)).await.unwrap_err();
        assert!(matches!(late, CliError::Timeout { .. }), "{late}");
        theirs.write_all(frame(200, "PONG").as_bytes()).await.unwrap();
        assert!(matches!(cli.request("status", SECOND).await, Err(CliError::OutOfStep)));
    }

    #[test]
    fn the_end_mark_never_occurs_in_the_text() {
        assert_eq!(
            inline_command("copal_a_1", "vcl 4.1;"),
            "vcl.inline copal_a_1 << COPAL_END\nvcl 4.1;\nCOPAL_END"
        );
        let command = inline_command("a", "# COPAL_END\n# COPAL_END_\n");
        assert!(command.ends_with("\nCOPAL_END__"), "{command}");
    }
}
