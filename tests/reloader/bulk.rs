//! A backend for long bodies and for bytes that are no HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Answers `GET /N` with N MiB, and anything with a body with the body's length. After a request for `/pipe` it
/// reads bytes until there are no more, and then says how many.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (path, length) = request(&mut reader)?;
        if path == "/pipe" {
            let count = std::io::copy(&mut reader, &mut std::io::sink())?;
            return write!(stream, "{count} bytes, then the end");
        }
        if let Some(length) = length {
            let count = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?.to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}", count.len())?;
            continue;
        }
        let mebibytes: usize = path.trim_start_matches('/').parse().unwrap_or(0);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", mebibytes << 20)?;
        let block = vec![b'x'; 1 << 20];
        for _ in 0..mebibytes {
            stream.write_all(&block)?;
        }
    }
}

fn request(reader: &mut impl BufRead) -> std::io::Result<(String, Option<u64>)> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
    }
    Ok((first.split(' ').nth(1).unwrap_or_default().to_owned(), length))
}
