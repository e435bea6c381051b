//! What ends the relay: SIGTERM, or the end of whoever started it.

use std::io::{self, Read as _};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::info;

/// How much time there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Time for everyone to hear that we leave.
    Usual,
    /// None: whoever comes next needs our ports.
    None,
}

impl Patience {
    /// How long to go on accepting connections.
    #[must_use]
    pub fn limit(self, usual: Duration) -> Duration {
        match self {
            Self::Usual => usual,
            Self::None => Duration::ZERO,
        }
    }
}

/// Listens for the end.
#[derive(Debug)]
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
    stdin: oneshot::Receiver<()>,
}

impl Shutdown {
    /// Listens from now on.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stdin: stdin_ended(),
        })
    }

    /// Waits until whoever started us has no more use for us.
    pub async fn released(&mut self) {
        if !self.stdin.is_terminated() {
            let _ = (&mut self.stdin).await;
        }
    }

    /// Waits until the end begins.
    pub async fn begins(&mut self) -> Patience {
        let (cause, patience) = tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Patience::Usual),
            _ = self.interrupt.recv() => ("SIGINT", Patience::Usual),
            _ = &mut self.stdin => ("end of standard input", Patience::None),
        };
        info!(cause, "the relay is asked to end");
        patience
    }
}

/// Reads standard input on a thread of its own, which does not keep the process from ending.
fn stdin_ended() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let ended = io::copy(&mut io::stdin().by_ref(), &mut io::sink());
        drop(ended);
        let _ = sender.send(());
    });
    receiver
}
