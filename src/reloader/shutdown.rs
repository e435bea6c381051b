//! Signals, turned into two states: finish what is in flight, or stop at once.

use std::io::{self, Read};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::state::{Board, State};

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not begun.
    Running,
    /// Finish what is in flight, however long it takes.
    Draining,
    /// Stop at once.
    Now,
}

/// Follows the phase.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    /// Listens for SIGTERM, SIGINT and SIGHUP, and for the end of standard input if `with_stdin`. The first
    /// one begins the drain; a second SIGINT ends it. Further SIGTERMs change nothing.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn listen(with_stdin: bool, board: Arc<Board>) -> io::Result<Self> {
        let (sender, receiver) = watch::channel(Phase::Running);
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stdin: with_stdin.then(stdin_ended),
        };
        tokio::spawn(follow(signals, sender, board));
        Ok(Self(receiver))
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() > Phase::Running
    }

    /// Waits until it has come to `phase`.
    pub async fn reaches(&mut self, phase: Phase) {
        if self.0.wait_for(|reached| *reached >= phase).await.is_err() {
            // The listener never ends before us.
            std::future::pending::<()>().await;
        }
    }
}

struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    stdin: Option<oneshot::Receiver<()>>,
}

impl Signals {
    /// Waits for the next one; says its name, and whether it was SIGINT.
    async fn next(&mut self) -> (&'static str, bool) {
        let stdin = async {
            match self.stdin.as_mut() {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        let found = tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", false),
            _ = self.hang_up.recv() => ("SIGHUP", false),
            _ = self.interrupt.recv() => ("SIGINT", true),
            () = stdin => ("end of standard input", false),
        };
        if found.0.starts_with("end") {
            self.stdin = None;
        }
        found
    }
}

async fn follow(mut signals: Signals, phase: watch::Sender<Phase>, board: Arc<Board>) {
    let mut interrupts = 0;
    loop {
        let (cause, is_interrupt) = signals.next().await;
        interrupts += u32::from(is_interrupt);
        if *phase.borrow() == Phase::Running {
            board.update(|status| status.state = State::Draining);
            info!(cause, "Starting connection draining, health check now failing");
            phase.send_replace(Phase::Draining);
        } else if interrupts >= 2 {
            warn!(cause, "stopping at once; requests in flight are cut off");
            phase.send_replace(Phase::Now);
        } else {
            info!(cause, "already draining; a second SIGINT would stop at once");
        }
    }
}

/// Reads standard input on a thread of its own, which does not keep the process from ending.
fn stdin_ended() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 512];
        loop {
            match io::stdin().read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = sender.send(());
    });
    receiver
}
