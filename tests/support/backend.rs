//! A real HTTP/1.1 server that says what it received, and misbehaves on request.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What to do with one request instead of answering it with 200.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Answer with that status.
    Status(u16),
    /// Close the connection without an answer.
    Close,
    /// Answer as usual, but so much later.
    Delay(Duration),
}

/// A server with a name. It answers 200 with a JSON account of the request (`backend`, `method`, `path`
/// with the query, `host`, `headers` as name → lines, `serial` the number of the request), and `x-backend`.
///
/// The request may ask for more: path `/status/CODE`; query `delay_ms=N`, `cc=CACHE-CONTROL`, `size=N` (a
/// body of so many `x`), `close` (no answer), `status=CODE`. `Upgrade: websocket` gets 101 and an echo.
/// It stops when it is dropped.
pub struct Backend {
    pub name: String,
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    name: String,
    requests: AtomicUsize,
    connections: AtomicUsize,
    script: Mutex<VecDeque<Step>>,
    extra: Mutex<Vec<(String, String)>>,
    /// The accounts that were given, if they are to be kept.
    record: Mutex<Option<Vec<serde_json::Value>>>,
}

/// All backends of a test process share one, which lives as long as the process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime can be started")
    })
}

impl Backend {
    /// Starts on a free port of 127.0.0.1.
    pub fn start(name: &str) -> Self {
        Self::bind(name, "127.0.0.1:0").expect("127.0.0.1 has a free port")
    }

    /// Starts one for each name.
    pub fn group<const N: usize>(names: [&str; N]) -> [Self; N] {
        names.map(Self::start)
    }

    /// Starts on that address.
    ///
    /// # Errors
    /// When the address cannot be bound, as `[::1]:0` on a machine without IPv6.
    pub fn bind(name: &str, address: &str) -> io::Result<Self> {
        let listener = runtime().block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { name: name.to_owned(), ..Shared::default() });
        let (stop, stopped) = watch::channel(false);
        runtime().spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Self { name: name.to_owned(), address, shared, stop })
    }

    /// What it does with the next requests, one step each.
    pub fn script(&self, steps: &[Step]) {
        *self.shared.script.lock().unwrap() = steps.iter().copied().collect();
    }

    /// Adds these headers to every response from now on.
    pub fn respond_with(&self, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        *self.shared.extra.lock().unwrap() = headers.collect();
    }

    /// Keeps the accounts of requests from now on.
    pub fn record(&self) {
        *self.shared.record.lock().unwrap() = Some(Vec::new());
    }

    /// The accounts of requests since [`Backend::record`].
    pub fn recorded(&self) -> Vec<serde_json::Value> {
        self.shared.record.lock().unwrap().clone().unwrap_or_default()
    }

    /// How many requests it has received.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Cuts its connections and refuses new ones.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let refused = || std::net::TcpStream::connect(self.address).is_err();
        while !refused() {
            std::thread::yield_now();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        if let Ok((stream, _)) = stream {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, Arc::clone(&shared), stopped.clone()));
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection.with_upgrades() => (),
        _ = stopped.changed() => (),
    }
}

/// An error closes the connection without an answer.
async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let serial = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let mut wish = Wish::of(&request);
    match shared.script.lock().unwrap().pop_front() {
        Some(Step::Status(code)) => wish.status = code,
        Some(Step::Close) => wish.close = true,
        Some(Step::Delay(delay)) => wish.delay = delay,
        None => (),
    }
    tokio::time::sleep(wish.delay).await;
    if wish.close {
        return Err(io::Error::other("closed as the test wishes"));
    }
    let mut response = if request.headers().contains_key(UPGRADE) {
        tunnel(request)
    } else {
        // An answer before the end of the body would have the server close the connection on the rest of it.
        let received = body_size(&mut request).await?;
        account(&shared, &request, &wish, serial, received)
    };
    let extra = shared.extra.lock().unwrap().clone();
    for (name, value) in extra {
        let name = HeaderName::try_from(name).expect("the test gives a header name");
        response.headers_mut().append(name, HeaderValue::try_from(value).expect("and a value"));
    }
    let name = HeaderValue::try_from(&shared.name).expect("names are plain");
    response.headers_mut().insert("x-backend", name);
    Ok(response)
}

async fn body_size(request: &mut Request<Incoming>) -> io::Result<usize> {
    let mut size = 0;
    while let Some(frame) = request.body_mut().frame().await {
        size += frame.map_err(io::Error::other)?.data_ref().map_or(0, Bytes::len);
    }
    Ok(size)
}

/// What a request asks the backend to do.
struct Wish {
    status: u16,
    delay: Duration,
    close: bool,
    size: Option<usize>,
    cache_control: Option<String>,
}

impl Wish {
    fn of(request: &Request<Incoming>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let pairs: BTreeMap<&str, &str> =
            query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let number = |name: &str| pairs.get(name).and_then(|text| text.parse::<u64>().ok());
        let path = request.uri().path().rsplit_once("/status/").map(|(_, code)| code);
        let status = path.and_then(|code| code.parse().ok()).or_else(|| number("status"));
        Self {
            status: status.and_then(|code| u16::try_from(code).ok()).unwrap_or(200),
            delay: Duration::from_millis(number("delay_ms").unwrap_or(0)),
            close: pairs.contains_key("close"),
            size: number("size").and_then(|size| usize::try_from(size).ok()),
            cache_control: pairs.get("cc").map(|value| (*value).to_owned()),
        }
    }
}

fn account(
    shared: &Shared,
    request: &Request<Incoming>,
    wish: &Wish,
    serial: usize,
    received: usize,
) -> Response<Full<Bytes>> {
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        headers
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let told = serde_json::json!({
        "backend": shared.name, "method": request.method().as_str(), "serial": serial, "bytes": received,
        "headers": headers,
        "path": request.uri().to_string(), "host": headers.get("host").and_then(|lines| lines.first()),
    });
    if let Some(record) = shared.record.lock().unwrap().as_mut() {
        record.push(told.clone());
    }
    let body = wish.size.map_or_else(|| told.to_string().into_bytes(), |size| vec![b'x'; size]);
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(wish.status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(value) = wish.cache_control.as_ref().and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert("cache-control", value);
    }
    response
}

/// 101, and from then on every byte comes back.
fn tunnel(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response
}
