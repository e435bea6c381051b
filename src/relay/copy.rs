//! Copies bytes between a client and a server (varnishd, or who TLS is passed on to), each way at the pace of its
//! receiver. Towards endpoints varnishd is in the server's place as well: its end of a connection is a unix socket.
//!
//! The end of one direction is passed on (TLS: `close_notify`) and leaves the other one open, as far as its
//! sender goes on. varnishd mostly ends both at once, which is told apart from the end of one. Between machines that
//! shows only when more is sent.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadHalf, Ready, WriteHalf, split,
};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::time::{sleep, timeout};

/// Bytes in flight each way, beside what the sockets hold: as many as one TLS record has.
const BUFFER: usize = 16 << 10;
/// How long a client may take to accept one buffer, as in varnishd's `idle_send_timeout`. varnishd cannot see
/// whether it does.
const SEND_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether a server that sends no more still listens.
const LOOK: Duration = Duration::from_millis(100);
/// How long a client may go on sending to nobody, so that it gets to read the last answer: closing while bytes
/// arrive would take that from it.
const LINGER: Duration = Duration::from_secs(2);

/// A socket to a server, in halves.
pub trait Server {
    /// The half that is read from.
    type Reader: AsyncRead + Unpin;
    /// The half that is written to, until it is dropped or shut down.
    type Writer: AsyncWrite + Unpin;

    /// Splits it.
    fn halves(self) -> (Self::Reader, Self::Writer);

    /// What it is ready for, once it may be written to.
    fn writable(reader: &Self::Reader) -> impl Future<Output = io::Result<Ready>>;
}

impl Server for UnixStream {
    type Reader = unix::OwnedReadHalf;
    type Writer = unix::OwnedWriteHalf;

    fn halves(self) -> (Self::Reader, Self::Writer) {
        self.into_split()
    }

    fn writable(reader: &Self::Reader) -> impl Future<Output = io::Result<Ready>> {
        reader.as_ref().ready(Interest::WRITABLE)
    }
}

impl Server for TcpStream {
    type Reader = tcp::OwnedReadHalf;
    type Writer = tcp::OwnedWriteHalf;

    fn halves(self) -> (Self::Reader, Self::Writer) {
        self.into_split()
    }

    fn writable(reader: &Self::Reader) -> impl Future<Output = io::Result<Ready>> {
        reader.as_ref().ready(Interest::WRITABLE)
    }
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its sender has nothing more to send.
    Finished,
    /// The server takes no more.
    ServerGone,
    /// The connection to the client is broken.
    ClientGone,
}

/// Copies until both directions have ended; a client that goes on sending is heard for a while.
pub async fn both_ways<C: AsyncRead + AsyncWrite, S: Server>(client: C, server: S) {
    let (mut from_client, to_client) = split(client);
    let (from_server, to_server) = server.halves();
    let end = exchange::<_, S>(&mut from_client, to_client, from_server, to_server).await;
    if end == End::ServerGone {
        let _ = timeout(LINGER, discard(&mut from_client)).await;
    }
}

/// Copies until both directions have ended, one is broken, or varnishd has closed: whatever the endpoint may still send
/// then is of no use.
pub async fn with_endpoint(endpoint: impl AsyncRead + AsyncWrite, varnish: UnixStream) {
    let (mut from_endpoint, to_endpoint) = split(endpoint);
    let (from_varnish, to_varnish) = varnish.halves();
    exchange::<_, UnixStream>(&mut from_endpoint, to_endpoint, from_varnish, to_varnish).await;
}

async fn exchange<C: AsyncRead + AsyncWrite, S: Server>(
    from_client: &mut ReadHalf<C>,
    mut to_client: WriteHalf<C>,
    from_server: S::Reader,
    mut to_server: S::Writer,
) -> End {
    let up = upwards(from_client, &mut to_server);
    let down = downwards(from_server, &mut to_client);
    tokio::pin!(up, down);
    tokio::select! {
        end = &mut up => match end {
            End::ClientGone => end,
            End::Finished | End::ServerGone => match down.await.0 {
                End::ClientGone => End::ClientGone,
                End::Finished | End::ServerGone => end,
            },
        },
        (end, server) = &mut down => match end {
            End::ClientGone => end,
            End::Finished | End::ServerGone => tokio::select! {
                end = up => end,
                () = gone::<S>(&server) => End::ServerGone,
            },
        },
    }
}

async fn upwards(client: &mut (impl AsyncRead + Unpin), server: &mut (impl AsyncWrite + Unpin)) -> End {
    let mut buffer = vec![0; BUFFER];
    loop {
        let bytes = match client.read(&mut buffer).await {
            // A client that leaves out `close_notify` has ended as one without TLS would.
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(_) => return End::ClientGone,
        };
        if server.write_all(bytes).await.is_err() {
            return End::ServerGone;
        }
    }
    if server.shutdown().await.is_err() { End::ServerGone } else { End::Finished }
}

async fn downwards<R: AsyncRead + Unpin>(mut server: R, client: &mut (impl AsyncWrite + Unpin)) -> (End, R) {
    let mut buffer = vec![0; BUFFER];
    // An error says as much as an end: the server closed while it had something to read.
    while let Ok(length @ 1..) = server.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if !matches!(timeout(SEND_LIMIT, send(client, bytes)).await, Ok(Ok(()))) {
            return (End::ClientGone, server);
        }
    }
    let ended = timeout(SEND_LIMIT, client.shutdown()).await;
    (if matches!(ended, Ok(Ok(()))) { End::Finished } else { End::ClientGone }, server)
}

/// Without the flush, the rest of a record could wait for the next one.
async fn send(client: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await
}

/// Waits until the server has closed its socket, and not only ended its direction.
async fn gone<S: Server>(server: &S::Reader) {
    let is_gone = || match S::writable(server).now_or_never() {
        Some(Ok(ready)) => ready.is_write_closed(),
        Some(Err(_)) => true,
        None => false,
    };
    while !is_gone() {
        sleep(LOOK).await;
    }
}

async fn discard(client: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(1..) = client.read(&mut buffer).await {}
}
