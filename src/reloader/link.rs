//! The CLI connection, which varnishd makes to us (`-M`), and makes again a second after it broke.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::cli::{Cli, CliError};

/// How long varnishd may take to connect: its start, or a pause of one second after a break, while it may be
/// busy with a compilation.
const CONNECT_LIMIT: Duration = Duration::from_mins(1);

/// Why there is no connection, or a command failed on it.
#[derive(Debug, Error)]
pub enum LinkError {
    /// varnishd does not connect.
    #[error("varnishd did not connect to our CLI socket within {} s", CONNECT_LIMIT.as_secs())]
    NotConnected,
    /// Connections cannot be taken.
    #[error("cannot take varnishd's CLI connection")]
    Accept(#[source] io::Error),
    /// The command failed, or the connection broke.
    #[error(transparent)]
    Cli(#[from] CliError),
}

/// Our end.
#[derive(Debug)]
pub struct Link {
    listener: TcpListener,
    secret: Vec<u8>,
    cli: Option<Cli<TcpStream>>,
}

impl Link {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// When there is none.
    pub async fn listen(secret: &[u8]) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { listener, secret: secret.to_owned(), cli: None })
    }

    /// Where varnishd has to connect to.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Sends a command, once varnishd is connected, and returns the answer.
    ///
    /// # Errors
    /// A refusal leaves the connection in use. After any other error it is given up, and what became of the
    /// command is unknown.
    pub async fn request(&mut self, command: &str, limit: Duration) -> Result<String, LinkError> {
        let mut cli = match self.cli.take() {
            Some(cli) => cli,
            None => self.accept().await?,
        };
        let answer = cli.request(command, limit).await;
        match &answer {
            Err(error) if !error.is_refusal() => info!(%error, "giving up the CLI connection to varnishd"),
            Ok(_) | Err(_) => self.cli = Some(cli),
        }
        Ok(answer?)
    }

    /// Waits for varnishd. Others on this machine may connect as well; they do not know how to go on.
    async fn accept(&mut self) -> Result<Cli<TcpStream>, LinkError> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            let accepted = timeout_at(deadline, self.listener.accept()).await;
            let (stream, peer) = accepted.map_err(|_| LinkError::NotConnected)?.map_err(LinkError::Accept)?;
            match Cli::authenticate(stream, &self.secret).await {
                Ok(cli) => return Ok(cli),
                Err(error) => debug!(%peer, %error, "a connection to our CLI socket is of no use"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    fn frame(status: u16, body: &str) -> Vec<u8> {
        format!("{status:<3} {:<8}\n{body}\n", body.len()).into_bytes()
    }

    /// Connects as varnishd does, takes any answer to its challenge, answers `replies` and hangs up.
    async fn dial(address: SocketAddr, replies: &[&str]) {
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        stream.write_all(&frame(107, "abcdefghijklmnopqrstuvwxyzabcdef\n")).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("auth "), "{line}");
        stream.write_all(&frame(200, "banner")).await.unwrap();
        for reply in replies {
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(&frame(200, reply)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_broken_connection_is_taken_anew() {
        let limit = Duration::from_secs(10);
        let mut link = Link::listen(b"secret").await.unwrap();
        let address = link.address().unwrap();
        tokio::spawn(async move {
            // A stranger first: it does not know how to go on.
            let mut stranger = TcpStream::connect(address).await.unwrap();
            stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            dial(address, &["one"]).await;
            dial(address, &["two"]).await;
        });
        assert_eq!(link.request("ping", limit).await.unwrap(), "one");
        let broken = link.request("ping", limit).await.unwrap_err();
        assert!(matches!(broken, LinkError::Cli(CliError::Io(_))), "{broken}");
        assert_eq!(link.request("ping", limit).await.unwrap(), "two");
    }
}
