//! Standard output, on a thread of its own: whoever reads it slowly holds up nobody. What it cannot take is dropped and
//! counted.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::super::metrics::Metrics;
use super::lines::Written;

/// How many bytes may wait: some 10,000 lines.
const ROOM: usize = 4 << 20;
/// How long what waits may take at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Writes lines.
#[derive(Debug)]
pub struct Output {
    sender: Sender<Written>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    ended: oneshot::Receiver<()>,
}

impl Output {
    /// Starts the thread.
    pub fn start(metrics: &Arc<Metrics>) -> Self {
        let (sender, lines) = channel();
        let (end, ended) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (room, counters) = (Arc::clone(&waiting), Arc::clone(metrics));
        thread::spawn(move || {
            write_all(&lines, &room, &counters);
            // Nobody may be waiting for it.
            let _ = end.send(());
        });
        Self { sender, waiting, metrics: Arc::clone(metrics), ended }
    }

    /// Takes lines, or drops them.
    pub fn write(&self, written: Written) {
        let (length, count) = (written.bytes.len(), written.count);
        if count == 0 {
            return;
        }
        if self.waiting.load(Ordering::Relaxed) + length > ROOM {
            self.metrics.access_lines_dropped(count);
            return;
        }
        self.waiting.fetch_add(length, Ordering::Relaxed);
        if self.sender.send(written).is_err() {
            self.metrics.access_lines_dropped(count);
        }
    }

    /// Waits until everything is written, though not for long.
    pub async fn finish(self) {
        drop(self.sender);
        if timeout(LAST_LINES, self.ended).await.is_err() {
            debug!("the last lines of the access log are not taken");
        }
    }
}

fn write_all(lines: &Receiver<Written>, waiting: &AtomicUsize, metrics: &Metrics) {
    let mut is_broken = false;
    for Written { bytes, count } in lines {
        let result = put(&bytes);
        waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        match result {
            Ok(()) => metrics.access_lines_written(count),
            Err(error) => {
                metrics.access_lines_dropped(count);
                if !std::mem::replace(&mut is_broken, true) {
                    warn!(%error, "the access log cannot be written to standard output");
                }
                continue;
            }
        }
        is_broken = false;
    }
}

fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
