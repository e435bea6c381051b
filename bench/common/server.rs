//! The backend: this program again, as a process of its own, so that it shares nothing but the cores.

use std::convert::Infallible;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// How many addresses 127.0.1.1 and up it listens on, all with one port.
pub const ADDRESSES: u16 = 240;
const FLAG: &str = "--serve-backend";
static BODY: [u8; 1024] = [b'x'; 1024];

/// The address number `number`, counted around.
pub fn address(number: usize) -> Ipv4Addr {
    let last = u8::try_from(number % usize::from(ADDRESSES)).expect("fewer than 256") + 1;
    Ipv4Addr::new(127, 0, 1, last)
}

/// The process; it ends when this is dropped, or when the bench ends.
pub struct BackendProcess {
    child: Child,
    pub port: u16,
}

impl BackendProcess {
    pub fn start(port: u16) -> Self {
        let program = std::env::current_exe().expect("the bench knows its own program");
        let child = Command::new(program).arg(FLAG).arg(port.to_string()).stdin(Stdio::piped()).spawn();
        let backend = Self { child: child.expect("the bench can start itself"), port };
        let last = SocketAddr::from((address(usize::from(ADDRESSES) - 1), port));
        for _ in 0..1000 {
            if std::net::TcpStream::connect(last).is_ok() {
                return backend;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the backend does not listen on {last}");
    }
}

impl Drop for BackendProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// Serves until standard input ends, when this process was started as a backend; else returns at once.
pub fn serve_if_asked() {
    let mut arguments = std::env::args().skip_while(|it| it != FLAG).skip(1);
    let Some(port) = arguments.next().and_then(|text| text.parse().ok()) else { return };
    std::thread::spawn(|| {
        drop(std::io::stdin().read(&mut [0]));
        std::process::exit(0);
    });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime can be started");
    runtime.block_on(async {
        let listeners = (0..usize::from(ADDRESSES)).map(|number| listen((address(number), port).into()));
        let tasks: Vec<_> = listeners.map(tokio::spawn).collect();
        for task in tasks {
            drop(task.await);
        }
    });
}

async fn listen(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.expect("the bench chose a free port");
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        tokio::spawn(async move {
            let service = service_fn(answer);
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

/// 1 KiB; to be cached when the query begins with `cached`.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(&BODY)));
    if request.uri().query().is_some_and(|query| query.starts_with("cached")) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    }
    Ok(response)
}
