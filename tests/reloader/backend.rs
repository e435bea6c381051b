//! A small HTTP backend that counts its requests and can hold answers back.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Answers 200 with `NAME HITS`; a path with `held` is answered only after [`Backend::release`], one with `stored` may
/// be cached.
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    hits: AtomicUsize,
    waiting: AtomicUsize,
    last: Mutex<String>,
    released: Mutex<bool>,
    wake: Condvar,
}

impl Backend {
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            hits: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            last: Mutex::default(),
            released: Mutex::new(false),
            wake: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// The head of the last request, in lower case.
    pub fn last_head(&self) -> String {
        self.shared.last.lock().unwrap().clone()
    }

    /// How many requests are held back.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Lets all held requests go on, now and later.
    pub fn release(&self) {
        *self.shared.released.lock().unwrap() = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((path, head)) = read_request(&mut reader) {
            *self.last.lock().unwrap() = head;
            let hit = self.hits.fetch_add(1, Ordering::SeqCst) + 1;
            if path.contains("held") {
                self.hold();
            }
            let body = format!("{} {hit}", self.name);
            let cache = if path.contains("stored") { "Cache-Control: max-age=60\r\n" } else { "" };
            let head = format!("HTTP/1.1 200 OK\r\n{cache}Content-Length: {}\r\n\r\n", body.len());
            if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn hold(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut released = self.released.lock().unwrap();
        while !*released {
            released = self.wake.wait(released).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Path and head of the next request, which has no body.
fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    reader.read_line(&mut head).ok().filter(|length| *length > 0)?;
    let path = head.split(' ').nth(1)?.to_owned();
    while reader.read_line(&mut head).ok()? > 2 {}
    Some((path, head.to_lowercase()))
}
