//! The sockets: opened and closed as the configuration says, without touching connections.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::bundle_folder::relay::TASK;

use super::Context;
use super::configuration::Entrance;
use super::connection::{self, Client};
use super::state::Problem;
use super::upstream::Sockets;
use super::watch::Configurations;

/// How often a port is tried again that could not be had.
const RETRY: Duration = Duration::from_secs(1);
/// The pause after accept has failed, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All sockets that are listened on.
#[derive(Debug)]
pub struct Listeners {
    context: Arc<Context>,
    configurations: Configurations,
    open: BTreeMap<u16, Open>,
    /// Those that varnishd finds endpoints at.
    upstreams: Sockets,
    /// Each accept loop and each connection holds a clone of the sender, so that its end tells when all are gone.
    alive: mpsc::Sender<()>,
    gone: mpsc::Receiver<()>,
}

/// One socket. Dropping it closes the socket, once what is in its queue has been accepted.
#[derive(Debug)]
struct Open {
    address: SocketAddr,
    #[expect(dead_code, reason = "the accept loop waits for it to be dropped")]
    close: oneshot::Sender<()>,
}

impl Listeners {
    /// None are open yet.
    pub fn new(context: Arc<Context>, configurations: Configurations) -> Self {
        let (alive, gone) = mpsc::channel(1);
        let upstreams = Sockets::new(Arc::clone(&context));
        Self { context, configurations, open: BTreeMap::new(), upstreams, alive, gone }
    }

    /// Follows the configuration; never ends. Can be cancelled and called again.
    pub async fn run(&mut self) {
        loop {
            let all_open = self.adjust().await;
            let due = if all_open { self.upstreams.next_close() } else { Some(RETRY) };
            let changed = self.configurations.changed();
            match due {
                // Late means that it is time to try again, or to close something.
                Some(due) => drop(timeout(due, changed).await),
                None => drop(changed.await),
            }
        }
    }

    /// Closes the sockets that clients find us at and waits until each of their connections has ended. What is left
    /// are those of endpoints, which varnishd may need for other clients.
    pub async fn drain(self) -> Sockets {
        let Self { open, upstreams, alive, mut gone, .. } = self;
        drop((open, alive));
        let _ = gone.recv().await;
        upstreams
    }

    /// Opens and closes sockets; says whether all are open that should be.
    async fn adjust(&mut self) -> bool {
        let configuration = Arc::clone(&self.configurations.borrow_and_update());
        self.open.retain(|port, _| configuration.entrance(*port).is_some());
        let mut sockets = BTreeMap::new();
        for port in configuration.listen() {
            sockets.insert(port, self.keep_open(port).await);
        }
        let lacking = self.upstreams.adjust(&configuration.upstreams);
        let all_open = sockets.values().all(Result::is_ok) && lacking.is_empty();
        self.context.board.upstreams(lacking);
        self.context.board.listening(&configuration, sockets);
        all_open
    }

    async fn keep_open(&mut self, port: u16) -> Result<SocketAddr, Problem> {
        if let Some(open) = self.open.get(&port) {
            return Ok(open.address);
        }
        let opened = self.open(port).await;
        opened.map_err(|error| {
            let (bind, offset) = (self.context.options.bind, self.context.options.port_offset);
            let message = format!("cannot listen on port {port} (plus {offset}) of {bind}: {error}");
            self.say(port, &message);
            Problem { file: TASK.to_owned(), message }
        })
    }

    /// Says it once, however often it is tried.
    fn say(&self, port: u16, message: &str) {
        let known = self.context.board.status().problems.iter().any(|problem| problem.message == message);
        if !known {
            error!(port, problem = message, "a port cannot be had; trying again every second");
        }
    }

    async fn open(&mut self, port: u16) -> io::Result<SocketAddr> {
        let options = &self.context.options;
        let actual = port.checked_add(options.port_offset);
        let actual = actual.ok_or_else(|| io::Error::other("there is no port beyond 65535"))?;
        let listener = TcpListener::bind((options.bind, actual)).await?;
        let address = listener.local_addr()?;
        info!(port, %address, "listening");
        let (close, closed) = oneshot::channel();
        let accepting = Accepting {
            context: Arc::clone(&self.context),
            configurations: self.configurations.clone(),
            port,
            alive: self.alive.clone(),
        };
        tokio::spawn(accepting.run(listener, closed));
        self.open.insert(port, Open { address, close });
        Ok(address)
    }
}

/// The accept loop of one socket.
struct Accepting {
    context: Arc<Context>,
    configurations: Configurations,
    port: u16,
    alive: mpsc::Sender<()>,
}

impl Accepting {
    async fn run(self, listener: TcpListener, mut closed: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                _ = &mut closed => break,
                accepted = listener.accept() => self.take(accepted).await,
            }
        }
        // Those in the queue have connected already, as far as they know.
        while let Some(accepted @ Ok(_)) = listener.accept().now_or_never() {
            self.take(accepted).await;
        }
        info!(port = self.port, "not listening any more");
    }

    async fn take(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, port = self.port, "cannot accept a connection");
                return sleep(ACCEPT_PAUSE).await;
            }
        };
        let Some(slot) = self.context.limits.connection().await else { return };
        let entrance = self.configurations.borrow().entrance(self.port);
        // None if the port has just been taken away.
        let Some(entrance) = entrance else { return };
        let (context, alive) = (Arc::clone(&self.context), self.alive.clone());
        let client = Client { stream, source, listener: self.port };
        tokio::spawn(async move {
            let active = context.metrics.connection();
            match entrance {
                Entrance::Tls(port) => connection::serve(client, port, Arc::clone(&context)).await,
                Entrance::Http => connection::serve_plain(client, Arc::clone(&context)).await,
            }
            drop((active, slot, alive));
        });
    }
}
