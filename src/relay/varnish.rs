//! The way to varnishd: its socket, and the header that goes first.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// How long varnishd may be away: that is about what it takes to restart it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Connects to varnishd and introduces a client.
///
/// # Errors
/// When varnishd is not there, or its queue is full, for 5 s.
pub async fn connect(socket: &Path, header: &[u8]) -> io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(error) if may_pass(&error) && Instant::now() < deadline => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    stream.write_all(header).await?;
    Ok(stream)
}

/// Not there yet, nobody listening, or (as a socket of this kind says at once) a full queue.
fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock)
}
