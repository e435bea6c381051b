//! Copies bytes between varnishd and an endpoint, each way at the pace of its receiver.
//!
//! The end of one direction is passed on at once (TLS: `close_notify`), so that varnishd does not use an idle
//! connection whose endpoint has closed it; the other direction goes on as far as its sender does.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, split};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::{sleep, timeout};

use super::dial::Io;

/// Bytes in flight each way, beside what the sockets hold: as many as one TLS record has.
const BUFFER: usize = 16 << 10;
/// How long a receiver may take to accept one buffer. varnishd has limits of its own, and none for an endpoint that
/// does not read.
const SEND_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether varnishd, which sends no more, still listens.
const LOOK: Duration = Duration::from_millis(100);

/// Copies until both directions have ended, one is broken, or varnishd has closed.
pub async fn both_ways(varnish: UnixStream, endpoint: Box<dyn Io>) {
    let (from_varnish, mut to_varnish) = varnish.into_split();
    let (mut from_endpoint, mut to_endpoint) = split(endpoint);
    let up = upwards(from_varnish, &mut to_endpoint);
    let down = copy(&mut from_endpoint, &mut to_varnish, None);
    tokio::pin!(up, down);
    tokio::select! {
        sent = &mut up => if let Ok(varnish) = sent {
            tokio::select! {
                _ = down => {}
                () = gone(&varnish) => {}
            }
        },
        received = &mut down => if received.is_ok() {
            let _ = up.await;
        },
    }
}

async fn upwards(
    mut varnish: OwnedReadHalf,
    endpoint: &mut (impl AsyncWrite + Unpin),
) -> io::Result<OwnedReadHalf> {
    copy(&mut varnish, endpoint, Some(SEND_LIMIT)).await?;
    Ok(varnish)
}

/// Copies until `from` has ended, and passes that on.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    limit: Option<Duration>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let bytes = match from.read(&mut buffer).await {
            // An endpoint that leaves out `close_notify` has ended as one without TLS would.
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) => return Err(error),
        };
        let sent = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        match limit {
            Some(limit) => timeout(limit, sent).await??,
            None => sent.await?,
        }
    }
    to.shutdown().await
}

/// Waits until varnishd has closed its socket, and not only ended its direction.
async fn gone(varnish: &OwnedReadHalf) {
    let varnish: &UnixStream = varnish.as_ref();
    let is_gone = || match varnish.ready(Interest::WRITABLE).now_or_never() {
        Some(Ok(ready)) => ready.is_write_closed(),
        Some(Err(_)) => true,
        None => false,
    };
    while !is_gone() {
        sleep(LOOK).await;
    }
}
