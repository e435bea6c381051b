//! The server name in a ClientHello (RFC 8446, section 4.1.2; RFC 6066, section 3), in however many records it comes.
//! Pure.
//!
//! This is no TLS: a connection that is passed on may speak versions and have extensions that the relay knows nothing
//! of. Only what leads to the server name is looked at.

use thiserror::Error;

/// The most bytes that a ClientHello may take, with the headers of its records. Those of today have less than 2 KiB, with
/// keys of post-quantum algorithms.
pub const LONGEST: usize = 16 << 10;

/// The content type of handshake records, and the major version of all records (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
const MAJOR: u8 = 3;
const RECORD_HEADER: usize = 5;
const LONGEST_RECORD: usize = 1 << 14;
/// The message's type (RFC 8446, section 4), and the length of type and length.
const CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER: usize = 4;
/// The version and the random of a ClientHello.
const FIXED: usize = 2 + 32;
/// The extension `server_name`, and the type of a name that is a host's.
const SERVER_NAME: usize = 0;
const HOST_NAME: u8 = 0;

/// How far a client has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// More has to come.
    Partial,
    /// All is there: the server name that it asks for, if it does.
    Whole(Option<String>),
}

/// What a client has sent is no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a ClientHello of TLS")]
pub struct NotAHello;

/// Looks at all that a client has sent so far.
///
/// # Errors
/// When it is not the beginning of a ClientHello, or that would be too long.
pub fn read(sent: &[u8]) -> Result<Hello, NotAHello> {
    match message(sent)? {
        Some(message) => server_name(&message).map(Hello::Whole),
        None if sent.len() >= LONGEST => Err(NotAHello),
        None => Ok(Hello::Partial),
    }
}

/// The content of the message, once all of it is there.
fn message(sent: &[u8]) -> Result<Option<Vec<u8>>, NotAHello> {
    let (mut rest, mut content) = (sent, Vec::new());
    while let Some(length) = record(rest)? {
        let (record, next) = rest.split_at(rest.len().min(RECORD_HEADER + length));
        content.extend_from_slice(record.get(RECORD_HEADER..).unwrap_or_default());
        rest = next;
        if let Some((header, message)) = content.split_first_chunk::<MESSAGE_HEADER>() {
            let [kind, a, b, c] = *header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != CLIENT_HELLO || length > LONGEST {
                return Err(NotAHello);
            }
            if let Some(message) = message.get(..length) {
                return Ok(Some(message.to_vec()));
            }
        }
    }
    Ok(None)
}

/// The length of the record that begins here; none if too little is there to tell.
fn record(bytes: &[u8]) -> Result<Option<usize>, NotAHello> {
    let is = |index: usize, expected: u8| bytes.get(index).is_none_or(|byte| *byte == expected);
    if !is(0, HANDSHAKE) || !is(1, MAJOR) {
        return Err(NotAHello);
    }
    let Some([_, _, _, a, b]) = bytes.first_chunk::<RECORD_HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*a, *b]));
    if (1..=LONGEST_RECORD).contains(&length) { Ok(Some(length)) } else { Err(NotAHello) }
}

fn server_name(message: &[u8]) -> Result<Option<String>, NotAHello> {
    let mut message = Cursor(message);
    message.take(FIXED)?;
    let (_session, _suites, _compression) = (message.vector(1)?, message.vector(2)?, message.vector(1)?);
    if message.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Cursor(message.vector(2)?);
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.number(2)?, extensions.vector(2)?);
        if kind == SERVER_NAME {
            return host_name(content).map(Some);
        }
    }
    Ok(None)
}

/// The one host name of the extension. No other types of names were ever defined.
fn host_name(extension: &[u8]) -> Result<String, NotAHello> {
    let mut names = Cursor(Cursor(extension).vector(2)?);
    let (kind, name) = (names.take(1)?, names.vector(2)?);
    let name = std::str::from_utf8(name).map_err(|_| NotAHello)?;
    let is_a_name = kind == [HOST_NAME] && !name.is_empty() && name.is_ascii();
    if is_a_name { Ok(name.to_owned()) } else { Err(NotAHello) }
}

/// What is left to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotAHello> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotAHello)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of some bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, NotAHello> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What stands after its length, which has some bytes.
    fn vector(&mut self, bytes: usize) -> Result<&'a [u8], NotAHello> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::crypto::ring::default_provider;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What rustls says first.
    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client =
            ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        sent
    }

    /// The same message in records of some length.
    fn in_records(hello: &[u8], length: usize) -> Vec<u8> {
        let records = hello[RECORD_HEADER..].chunks(length);
        let record = |it: &[u8]| {
            [&[HANDSHAKE, MAJOR, 1][..], &u16::try_from(it.len()).unwrap().to_be_bytes(), it].concat()
        };
        records.flat_map(record).collect()
    }

    fn name(text: &str) -> Hello {
        Hello::Whole(Some(text.to_owned()))
    }

    /// A ClientHello as old clients have it, with what follows the compression methods.
    fn old(extensions: &[u8]) -> Vec<u8> {
        let body = [&[3, 1][..], &[0; 32], &[0], &[0, 2, 0, 47], &[1, 0], extensions].concat();
        let length = u16::try_from(body.len()).unwrap();
        let message = [&[CLIENT_HELLO, 0], &length.to_be_bytes()[..], &body].concat();
        [&[HANDSHAKE, MAJOR, 0], &(length + 4).to_be_bytes()[..], &message].concat()
    }

    #[test]
    fn the_name_is_found_as_soon_as_all_is_there_and_not_before() {
        let hello = hello("a.example");
        for length in [1, 2, 3, 4, 5, 50, 500, LONGEST_RECORD] {
            let sent = in_records(&hello, length);
            for end in 0..sent.len() {
                assert_eq!(read(&sent[..end]), Ok(Hello::Partial), "{end} bytes, records of {length}");
            }
            assert_eq!(read(&sent), Ok(name("a.example")), "records of {length}");
            let more = [&sent[..], b"\x14\x03\x03\0\x01\x01"].concat();
            assert_eq!(read(&more), Ok(name("a.example")), "what follows does not matter");
        }
        assert_eq!(read(&super::tests::hello("127.0.0.1")), Ok(Hello::Whole(None)), "an address is no name");
    }

    #[test]
    fn old_clients_are_understood() {
        let name_of = |it: &[u8]| {
            let length = |it: &[u8]| u16::try_from(it.len()).unwrap().to_be_bytes();
            let entry = [&[HOST_NAME][..], &length(it), it].concat();
            let list = [&length(&entry)[..], &entry].concat();
            let extension = [&[0, 0][..], &length(&list), &list].concat();
            [&length(&extension)[..], &extension].concat()
        };
        assert_eq!(read(&old(&[])), Ok(Hello::Whole(None)));
        assert_eq!(read(&old(&[0, 0])), Ok(Hello::Whole(None)));
        assert_eq!(read(&old(&name_of(b"A.Example"))), Ok(name("A.Example")));
        for broken in [&b""[..], "ä".as_bytes(), b"\xff"] {
            assert_eq!(read(&old(&name_of(broken))), Err(NotAHello), "{broken:?}");
        }
        for broken in [&[0][..], &[0, 1], &[0, 4, 0, 0, 0, 1], &[0, 5, 0, 0, 0, 1, 0]] {
            assert_eq!(read(&old(broken)), Err(NotAHello), "{broken:?}");
        }
    }

    #[test]
    fn what_is_no_hello_is_refused_at_once() {
        for sent in [
            &b"G"[..],
            b"\x80\x2e\x01\x03\x01",
            b"\x16\x02",
            b"\x15\x03\x03\0\x02",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\0\x04\x02\0\0\0",
            b"\x16\x03\x01\0\x04\x01\0\x80\x01",
            b"\x16\x03\x01\0\x04\x01\0\0\0",
        ] {
            assert_eq!(read(sent), Err(NotAHello), "{sent:?}");
        }
    }

    #[test]
    fn it_may_only_be_so_long() {
        let long = [&[CLIENT_HELLO, 0, 0x3f, 0xff][..], &[0; LONGEST]].concat();
        let sent = in_records(&[&[0; RECORD_HEADER][..], &long].concat(), 1);
        assert_eq!(read(&sent[..LONGEST - 1]), Ok(Hello::Partial));
        assert_eq!(read(&sent[..LONGEST]), Err(NotAHello));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(mut sent in proptest::collection::vec(any::<u8>(), 0..400), keep in 0..400_usize) {
            let hello = hello("a.example");
            let _ = read(&sent);
            sent.splice(0..0, hello[..keep.min(hello.len())].iter().copied());
            let _ = read(&sent);
        }
    }
}
