//! The body of a request on its way to the endpoint, and its copies, which never hold it up: one that is not taken
//! fast enough is cut off.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::BodyError;

/// Bytes of a body that may wait for a mirror.
const QUEUE: usize = 128 << 10;
/// What a piece counts for at least, so that tiny ones cannot fill the memory with what goes with each.
const SMALLEST: usize = 1 << 10;

enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// A new copy: what feeds it, and its body. `original` has not been read yet.
pub fn copy(original: &Incoming) -> (Feed, Copy) {
    let (sender, receiver) = unbounded_channel();
    let (queued, overrun) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let feed = Feed { sender, queued: Arc::clone(&queued), overrun: Arc::clone(&overrun) };
    (feed, Copy { receiver, queued, overrun, hint: original.size_hint(), ended: false })
}

/// Feeds one copy. Dropped before the end, it cuts the copy off.
#[derive(Debug)]
pub struct Feed {
    sender: UnboundedSender<Piece>,
    queued: Arc<AtomicUsize>,
    overrun: Arc<AtomicBool>,
}

impl Feed {
    /// Says whether the copy goes on.
    fn push(&self, frame: &Frame<Bytes>) -> bool {
        if let Some(trailers) = frame.trailers_ref() {
            return self.sender.send(Piece::Trailers(trailers.clone())).is_ok();
        }
        let Some(data) = frame.data_ref() else { return true };
        let before = self.queued.fetch_add(weight(data), Ordering::Relaxed);
        if before > QUEUE {
            self.overrun.store(true, Ordering::Relaxed);
            return false;
        }
        self.sender.send(Piece::Data(data.clone())).is_ok()
    }

    fn end(self) {
        let _ = self.sender.send(Piece::End);
    }
}

fn weight(data: &Bytes) -> usize {
    data.len().max(SMALLEST)
}

/// A body that is copied as it is read.
#[derive(Debug)]
pub struct Tee {
    body: Incoming,
    feeds: Vec<Feed>,
}

impl Tee {
    /// Feeds the copies with what is read of `body`.
    pub fn new(body: Incoming, feeds: Vec<Feed>) -> Self {
        Self { body, feeds }
    }

    fn end(&mut self) {
        self.feeds.drain(..).for_each(Feed::end);
    }
}

impl Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.feeds.retain(|feed| feed.push(&frame));
                // Who knows the length does not ask for what comes after the last byte.
                if this.body.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.feeds.clear();
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a copy: ends as the original does, or breaks off.
#[derive(Debug)]
pub struct Copy {
    receiver: UnboundedReceiver<Piece>,
    queued: Arc<AtomicUsize>,
    overrun: Arc<AtomicBool>,
    hint: SizeHint,
    ended: bool,
}

impl Copy {
    /// Tells, now and later, whether it was cut off for being slow.
    #[must_use]
    pub fn overrun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.overrun)
    }
}

impl Body for Copy {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.receiver.poll_recv(cx)) {
            Some(Piece::Data(data)) => {
                self.queued.fetch_sub(weight(&data), Ordering::Relaxed);
                Some(Ok(Frame::data(data)))
            }
            Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err("the copy was cut off".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.hint.exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
