//! Servers by hyper, over TLS or not, by HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use copal::bundle::relay::Certificate;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// Answers by path, see [`answer`].
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    /// Ends the server, and cuts its connections.
    #[expect(dead_code, reason = "it runs as long as it lives")]
    runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    hits: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Server {
    pub fn plain(http: Http) -> Self {
        Self::start(http, None)
    }

    pub fn tls(http: Http, certificate: &Certificate, clients: Option<&str>) -> Self {
        Self::start(http, Some(TlsAcceptor::from(Arc::new(config(http, certificate, clients)))))
    }

    fn start(http: Http, tls: Option<TlsAcceptor>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        runtime.spawn(accept(listener, http, tls, Arc::clone(&seen)));
        Self { address, seen, runtime }
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests that were read to their end.
    pub fn hits(&self) -> usize {
        self.seen.hits.load(Ordering::SeqCst)
    }

    /// What was received, with the length of the body.
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }
}

fn config(http: Http, certificate: &Certificate, clients: Option<&str>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::from_pem_slice(&certificate.chain).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&certificate.key).unwrap();
    let mut config = builder.with_single_cert(vec![chain], key).unwrap();
    config.alpn_protocols = vec![if http == Http::Two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}

async fn accept(listener: TcpListener, http: Http, tls: Option<TlsAcceptor>, seen: Arc<Seen>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, seen) = (tls.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            match tls {
                None => serve(tcp, http, seen).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(tcp).await {
                        serve(stream, http, seen).await;
                    }
                }
            }
        });
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http: Http, seen: Arc<Seen>) {
    let goodbye = Arc::new(Notify::new());
    let says = Arc::clone(&goodbye);
    let service = service_fn(move |request: Request<Incoming>| {
        if request.uri().path() == "/goaway" {
            says.notify_one();
        }
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(request, &seen).await) }
    });
    let io = TokioIo::new(io);
    let _ = match http {
        Http::One => {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.auto_date_header(false).max_headers(256);
            builder.serve_connection(io, service).with_upgrades().await
        }
        Http::Two => {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.auto_date_header(false).max_header_list_size(64 << 10).max_concurrent_streams(20);
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = goodbye.notified() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
}

/// `/MIB/n` n MiB; `/goaway` ends the connection after this request; `/die` breaks off; `/slow` takes 3 s; `/204`, `/304`; `/upgrade` echoes after 101; anything else
/// what was received, and the length of the body.
async fn answer(mut request: Request<Incoming>, seen: &Seen) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let head = head(&request);
    if path == "/upgrade" {
        return upgrade(&mut request);
    }
    let is_head = request.method() == "HEAD";
    let mut length = 0;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return empty(500) };
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    let text = format!("{head}body: {length}\n");
    seen.heads.lock().unwrap().push(text.clone());
    seen.hits.fetch_add(1, Ordering::SeqCst);
    match path.as_str() {
        "/die" => breaks_off(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(3)).await;
            full(text)
        }
        "/204" | "/304" => empty(path[1..].parse().unwrap()),
        _ if is_head => {
            let mut answer = empty(200);
            answer.headers_mut().insert("content-length", "12345".parse().unwrap());
            answer
        }
        _ => match path.strip_prefix("/MIB/") {
            Some(count) => mebibytes(count.parse().unwrap()),
            None => full(text),
        },
    }
}

fn head(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text
}

fn full(text: String) -> Response<Body> {
    Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
}

fn empty(status: u16) -> Response<Body> {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn mebibytes(count: usize) -> Response<Body> {
    let block = Bytes::from(vec![b'x'; 1 << 20]);
    let frames = (0..count).map(move |_| Ok(Frame::data(block.clone())));
    Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync())
}

fn breaks_off() -> Response<Body> {
    let frames = [Ok(Frame::data(Bytes::from_static(b"beginning"))), Err(std::io::Error::other("dies"))];
    let frames = stream::unfold(frames.into_iter(), |mut frames| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((frames.next()?, frames))
    });
    Response::new(StreamBody::new(Box::pin(frames)).boxed_unsync())
}

fn upgrade(request: &mut Request<Incoming>) -> Response<Body> {
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    });
    let mut answer = empty(101);
    answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
    answer.headers_mut().insert("upgrade", "echo".parse().unwrap());
    answer
}
