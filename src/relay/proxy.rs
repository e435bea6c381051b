//! The header of the PROXY protocol, version 2, which tells varnishd about the client's connection. Pure.
//!
//! The numbers are those of the protocol's specification, sections 2.2 and 2.2.1 to 2.2.7.

use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CIPHER: u8 = 0x23;

/// The client connected over TLS; showed a certificate on this connection; on one of the session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;
/// What is said of the client's certificate: zero only if it was verified.
const VERIFIED: u32 = 0;
const NOT_VERIFIED: u32 = 1;

/// What varnishd is told.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to, with the listener's port.
    pub destination: SocketAddr,
    /// TLS, if it is spoken.
    pub tls: Option<Tls<'a>>,
}

/// What is told of TLS.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'a> {
    /// The protocol that was agreed on, `h2` or `http/1.1`.
    pub alpn: Option<&'a [u8]>,
    /// The server name that the client asked for.
    pub authority: Option<&'a str>,
    /// The TLS version as OpenSSL writes it, `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite's name.
    pub cipher: &'a str,
    /// The certificate that the client showed, if any.
    pub certificate: Option<ClientCertificate>,
}

/// What is known of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whether it is valid, and issued by one of those who may.
    pub verified: bool,
    /// Whether the client showed it on an earlier connection, whose session it resumed.
    pub resumed: bool,
}

impl ClientCertificate {
    fn flags(self) -> u8 {
        if self.resumed { CLIENT_CERT_SESS } else { CLIENT_CERT_CONN | CLIENT_CERT_SESS }
    }
}

impl Header<'_> {
    /// The bytes to send before anything else.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (family, addresses) = self.addresses();
        let rest = [addresses, self.tls.map_or_else(Vec::new, Tls::options)].concat();
        let mut bytes = Vec::with_capacity(SIGNATURE.len() + 4 + rest.len());
        bytes.extend(SIGNATURE);
        bytes.extend([VERSION_AND_COMMAND, family]);
        bytes.extend(length(&rest));
        bytes.extend(rest);
        bytes
    }

    /// Both addresses have one family: where they differ, both are written as IPv6.
    fn addresses(&self) -> (u8, Vec<u8>) {
        let (from, to) = (self.source.ip().to_canonical(), self.destination.ip().to_canonical());
        let (family, mut bytes) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (TCP_OVER_IPV4, [from.octets(), to.octets()].concat()),
            (from, to) => (TCP_OVER_IPV6, [ipv6(from), ipv6(to)].concat()),
        };
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        (family, bytes)
    }
}

impl Tls<'_> {
    fn options(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(alpn) = self.alpn {
            option(&mut bytes, TYPE_ALPN, alpn);
        }
        if let Some(authority) = self.authority {
            option(&mut bytes, TYPE_AUTHORITY, authority.as_bytes());
        }
        let mut ssl = vec![CLIENT_SSL | self.certificate.map_or(0, ClientCertificate::flags)];
        let verified = self.certificate.is_some_and(|it| it.verified);
        ssl.extend(if verified { VERIFIED } else { NOT_VERIFIED }.to_be_bytes());
        option(&mut ssl, SUBTYPE_SSL_VERSION, self.version.as_bytes());
        option(&mut ssl, SUBTYPE_SSL_CIPHER, self.cipher.as_bytes());
        option(&mut bytes, TYPE_SSL, &ssl);
        bytes
    }
}

fn ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn option(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    bytes.push(kind);
    bytes.extend(length(value));
    bytes.extend(value);
}

/// The lengths of all that is written here are below 1,000: server names have 255 characters at most.
fn length(value: &[u8]) -> [u8; 2] {
    u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(source: &str, destination: &str) -> Header<'a> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Header { source, destination, tls: Some(TLS) }
    }

    const TLS: Tls<'_> =
        Tls { alpn: None, authority: None, version: "TLSv1.3", cipher: "X", certificate: None };

    const SSL: &[u8] = b"\x20\0\x13\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x01X";

    #[test]
    fn ipv4_byte_by_byte() {
        let bytes = header("192.0.2.1:4660", "198.51.100.2:443").encode();
        let expected =
            [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x22\xc0\0\x02\x01\xc6\x33\x64\x02\x12\x34\x01\xbb", SSL]
                .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn ipv6_byte_by_byte() {
        let bytes = header("[2001:db8::1]:1", "[2001:db8::2]:8443").encode();
        let zeros = [0; 11];
        let addresses =
            [b"\x20\x01\x0d\xb8", &zeros[..], b"\x01\x20\x01\x0d\xb8", &zeros, b"\x02\0\x01\x20\xfb"]
                .concat();
        assert_eq!(bytes, [b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x3a", &addresses[..], SSL].concat());
    }

    #[test]
    fn without_tls_there_are_addresses_only() {
        let bytes = Header { tls: None, ..header("192.0.2.1:4660", "198.51.100.2:80") }.encode();
        assert_eq!(bytes, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x12\x34\0\x50");
    }

    #[test]
    fn options_byte_by_byte() {
        let tls = Some(Tls { alpn: Some(b"h2"), authority: Some("a.example"), ..TLS });
        let bytes = Header { tls, ..header("192.0.2.1:1", "192.0.2.2:2") }.encode();
        let (length, rest) = (12 + 5 + 12 + SSL.len(), &bytes[28..]);
        assert_eq!(bytes[14..16], [0, u8::try_from(length).unwrap()]);
        assert_eq!(rest, [b"\x01\0\x02h2\x02\0\x09a.example", SSL].concat());
    }

    #[test]
    fn client_certificates_byte_by_byte() {
        for (verified, resumed, flags, result) in
            [(true, false, 7, 0), (true, true, 5, 0), (false, false, 7, 1), (false, true, 5, 1)]
        {
            let certificate = Some(ClientCertificate { verified, resumed });
            let tls = Some(Tls { certificate, ..TLS });
            let bytes = Header { tls, ..header("192.0.2.1:1", "192.0.2.2:2") }.encode();
            assert_eq!(bytes[31..36], [flags, 0, 0, 0, result], "{verified} {resumed}");
        }
    }

    #[test]
    fn ipv4_clients_of_a_dual_stack_socket_are_ipv4() {
        let mapped = header("[::ffff:192.0.2.1]:4660", "[::ffff:198.51.100.2]:443").encode();
        assert_eq!(mapped, header("192.0.2.1:4660", "198.51.100.2:443").encode());
    }

    #[test]
    fn lengths_fit() {
        let name = "a".repeat(255);
        let tls = Some(Tls { authority: Some(&name), ..TLS });
        let bytes = Header { tls, ..header("192.0.2.1:1", "192.0.2.2:2") }.encode();
        assert_eq!(usize::from(u16::from_be_bytes([bytes[14], bytes[15]])), bytes.len() - 16);
    }
}
