//! Copies bytes between a client and varnishd, each way at the pace of its receiver.
//!
//! The end of one direction is passed on (TLS: `close_notify`) and leaves the other one open, as far as its
//! sender goes on. varnishd mostly ends both at once, which is told apart from the end of one.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest, ReadHalf, WriteHalf, split};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

/// Bytes in flight each way, beside what the sockets hold: as many as one TLS record has.
const BUFFER: usize = 16 << 10;
/// How long a client may take to accept one buffer, as in varnishd's `idle_send_timeout`. varnishd cannot see
/// whether it does.
const SEND_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether varnishd, which sends no more, still listens.
const LOOK: Duration = Duration::from_millis(100);
/// How long a client may go on sending to nobody, so that it gets to read the last answer: closing while bytes
/// arrive would take that from it.
const LINGER: Duration = Duration::from_secs(2);

type ClientReader = ReadHalf<TlsStream<TcpStream>>;
type ClientWriter = WriteHalf<TlsStream<TcpStream>>;

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its sender has nothing more to send.
    Finished,
    /// varnishd takes no more.
    VarnishGone,
    /// The connection to the client is broken.
    ClientGone,
}

/// Copies until both directions have ended.
pub async fn both_ways(client: TlsStream<TcpStream>, varnish: UnixStream) {
    let (mut from_client, to_client) = split(client);
    let (from_varnish, to_varnish) = varnish.into_split();
    let end = exchange(&mut from_client, to_client, from_varnish, to_varnish).await;
    if end == End::VarnishGone {
        let _ = timeout(LINGER, discard(&mut from_client)).await;
    }
}

async fn exchange(
    from_client: &mut ClientReader,
    mut to_client: ClientWriter,
    from_varnish: OwnedReadHalf,
    mut to_varnish: OwnedWriteHalf,
) -> End {
    let up = upwards(from_client, &mut to_varnish);
    let down = downwards(from_varnish, &mut to_client);
    tokio::pin!(up, down);
    tokio::select! {
        end = &mut up => match end {
            End::ClientGone => end,
            End::Finished | End::VarnishGone => match down.await.0 {
                End::ClientGone => End::ClientGone,
                End::Finished | End::VarnishGone => end,
            },
        },
        (end, varnish) = &mut down => match end {
            End::ClientGone => end,
            End::Finished | End::VarnishGone => tokio::select! {
                end = up => end,
                () = gone(varnish.as_ref()) => End::VarnishGone,
            },
        },
    }
}

async fn upwards(client: &mut ClientReader, varnish: &mut OwnedWriteHalf) -> End {
    let mut buffer = vec![0; BUFFER];
    loop {
        let bytes = match client.read(&mut buffer).await {
            // A client that leaves out `close_notify` has ended as one without TLS would.
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(_) => return End::ClientGone,
        };
        if varnish.write_all(bytes).await.is_err() {
            return End::VarnishGone;
        }
    }
    if varnish.shutdown().await.is_err() { End::VarnishGone } else { End::Finished }
}

async fn downwards(mut varnish: OwnedReadHalf, client: &mut ClientWriter) -> (End, OwnedReadHalf) {
    let mut buffer = vec![0; BUFFER];
    // An error says as much as an end: varnishd closed while it had something to read.
    while let Ok(length @ 1..) = varnish.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if !matches!(timeout(SEND_LIMIT, send(client, bytes)).await, Ok(Ok(()))) {
            return (End::ClientGone, varnish);
        }
    }
    let ended = timeout(SEND_LIMIT, client.shutdown()).await;
    (if matches!(ended, Ok(Ok(()))) { End::Finished } else { End::ClientGone }, varnish)
}

/// Without the flush, the rest of a record could wait for the next one.
async fn send(client: &mut ClientWriter, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await
}

/// Waits until varnishd has closed its socket, and not only ended its direction.
async fn gone(varnish: &UnixStream) {
    let is_gone = || match varnish.ready(Interest::WRITABLE).now_or_never() {
        Some(Ok(ready)) => ready.is_write_closed(),
        Some(Err(_)) => true,
        None => false,
    };
    while !is_gone() {
        sleep(LOOK).await;
    }
}

async fn discard(client: &mut ClientReader) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(1..) = client.read(&mut buffer).await {}
}
