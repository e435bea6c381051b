//! Takes requests from varnishd and sends them on, with copies for the mirrors.

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HeaderValue, UPGRADE};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;
use tracing::debug;

use crate::relay::Context;
use crate::relay::metrics::UpstreamFailure;

use super::dial::Dialer;
use super::endpoint::Endpoint;
use super::http1::Http1;
use super::http2::{Http2, SendError, Stream};
use super::tee::Tee;
use super::{BodyError, MAX_BUFFER, MAX_HEADERS, Outgoing, headers, mirror};

/// There is no answer; hyper closes the connection then.
#[derive(Debug, Error)]
#[error("the endpoint did not answer")]
struct Unanswered;

/// One connection of varnishd's.
struct Exchange {
    endpoint: Arc<Endpoint>,
    context: Arc<Context>,
    way: Way,
}

enum Way {
    Http1(Http1),
    Http2(Arc<Http2>),
}

/// Serves a connection whose endpoint speaks HTTP/1.1.
pub async fn serve_http1(
    varnish: UnixStream,
    endpoint: &Arc<Endpoint>,
    dialer: &Dialer,
    context: &Arc<Context>,
) {
    let way = Way::Http1(Http1::new(dialer.clone()));
    serve(varnish, Exchange { endpoint: Arc::clone(endpoint), context: Arc::clone(context), way }).await;
}

/// Serves a connection whose endpoint speaks HTTP/2.
pub async fn serve_http2(
    varnish: UnixStream,
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Http2>,
    context: &Arc<Context>,
) {
    let way = Way::Http2(Arc::clone(shared));
    serve(varnish, Exchange { endpoint: Arc::clone(endpoint), context: Arc::clone(context), way }).await;
}

async fn serve(varnish: UnixStream, exchange: Exchange) {
    let exchange = Arc::new(exchange);
    let answering = Arc::clone(&exchange);
    let service = service_fn(move |request| {
        let exchange = Arc::clone(&answering);
        async move { exchange.answer(request).await }
    });
    let connection = Builder::new()
        .auto_date_header(false)
        .preserve_header_case(true)
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(varnish), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = exchange.endpoint_closed() => {
            // varnishd is not to use a connection again that leads nowhere.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection of varnishd's broke off");
    }
}

impl Exchange {
    async fn endpoint_closed(&self) {
        match &self.way {
            Way::Http1(own) => own.ended().await,
            Way::Http2(_) => pending().await,
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Outgoing>, Unanswered> {
        let upgrade = self.upgrade(&mut request);
        let (mut parts, body) = request.into_parts();
        headers::strip(&mut parts.headers);
        let body = match &upgrade {
            Some((protocol, _)) => {
                headers::keep_upgrade(&mut parts.headers, Some(protocol.clone()));
                body.map_err(BodyError::from).boxed_unsync()
            }
            None => self.copied(&parts, body),
        };
        let sent = match &self.way {
            Way::Http1(own) => own.send(Request::from_parts(parts, body)).await.map(|answer| (answer, None)),
            Way::Http2(shared) => {
                if !headers::for_http2(&mut parts, shared.is_tls()) {
                    return Ok(refusal());
                }
                let sent = shared.send(Request::from_parts(parts, body)).await;
                sent.map(|(answer, stream)| (answer, Some(stream)))
            }
        };
        match sent {
            Ok((answer, stream)) => Ok(self.pass_on(answer, stream, upgrade)),
            Err(error) => {
                self.failed(&error);
                Err(Unanswered)
            }
        }
    }

    /// The protocol that the client asks for. HTTP/2 has another way for that, which is not taken.
    fn upgrade(&self, request: &mut Request<Incoming>) -> Option<(HeaderValue, OnUpgrade)> {
        let Way::Http1(own) = &self.way else { return None };
        if !headers::asks_for_upgrade(request.headers()) {
            return None;
        }
        let protocol = request.headers().get(UPGRADE).cloned()?;
        own.may_upgrade();
        Some((protocol, hyper::upgrade::on(request)))
    }

    fn copied(&self, parts: &hyper::http::request::Parts, body: Incoming) -> Outgoing {
        let feeds = mirror::begin(&self.endpoint.mirrors, parts, &body, &self.context);
        if feeds.is_empty() {
            return body.map_err(BodyError::from).boxed_unsync();
        }
        Tee::new(body, feeds).boxed_unsync()
    }

    fn pass_on(
        &self,
        mut answer: Response<Incoming>,
        stream: Option<Stream>,
        upgrade: Option<(HeaderValue, OnUpgrade)>,
    ) -> Response<Outgoing> {
        let protocol = answer.headers().get(UPGRADE).cloned();
        headers::strip(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some((_, varnish)) = upgrade
        {
            headers::keep_upgrade(answer.headers_mut(), protocol);
            tokio::spawn(tunnel(varnish, hyper::upgrade::on(&mut answer)));
        }
        let (endpoint, context) = (Arc::clone(&self.endpoint), Arc::clone(&self.context));
        answer.map(|body| Watched { body, endpoint, context, stream }.boxed_unsync())
    }

    fn failed(&self, error: &SendError) {
        match error {
            SendError::Dial(error) => self.endpoint.not_connected(&self.context.metrics, error),
            SendError::Http(_) => self.endpoint.failed(&self.context.metrics, UpstreamFailure::Broken, error),
        }
    }
}

/// HTTP/2 has no requests without a host.
fn refusal() -> Response<Outgoing> {
    let mut answer = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

async fn tunnel(varnish: OnUpgrade, endpoint: OnUpgrade) {
    let both: Result<(Upgraded, Upgraded), hyper::Error> = tokio::try_join!(varnish, endpoint);
    match both {
        Ok((varnish, endpoint)) => {
            drop(copy_bidirectional(&mut TokioIo::new(varnish), &mut TokioIo::new(endpoint)).await);
        }
        Err(error) => debug!(%error, "a change of protocol failed"),
    }
}

/// The body of an answer, whose breaking off is told.
struct Watched {
    body: Incoming,
    endpoint: Arc<Endpoint>,
    context: Arc<Context>,
    #[expect(dead_code, reason = "the stream is in use as long as it lives")]
    stream: Option<Stream>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &polled {
            self.endpoint.failed(&self.context.metrics, UpstreamFailure::Broken, error);
        }
        Poll::Ready(polled.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
