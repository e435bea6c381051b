//! The addresses that clients are to find us at, tried out before anything is given up for them. varnishd's own are those
//! of the bundle that it was started with; HTTP ports that come later are the relay's.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use thiserror::Error;

use crate::bundle::relay::Relay;
use crate::bundle::{Bundle, ListenSocket, Manifest, VclFile};

use super::options::Options;
use super::varnishd::args::{self, ArgsError};

/// Why an address is not to be had.
#[derive(Debug, Error)]
pub enum SocketError {
    /// There is no such address.
    #[error(transparent)]
    Address(#[from] ArgsError),
    /// It is taken, or not ours to take.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// HTTP ports as addresses on this machine.
///
/// # Errors
/// When a port is out of range.
pub fn addresses(options: &Options, listen: &[ListenSocket]) -> Result<Vec<SocketAddr>, ArgsError> {
    listen.iter().map(|socket| args::address(options.bind, socket.port, options.port_offset)).collect()
}

/// Tries all addresses out.
///
/// # Errors
/// Names the first that cannot be had.
pub fn try_out<'a>(addresses: impl IntoIterator<Item = &'a SocketAddr>) -> Result<(), SocketError> {
    addresses.into_iter().try_for_each(|address| {
        let bound = TcpListener::bind(address);
        bound.map(drop).map_err(|source| SocketError::Bind { address: *address, source })
    })
}

/// The HTTP ports of a manifest that varnishd, which has these sockets from its start, cannot listen on: the relay does.
#[must_use]
pub fn relayed(own: &[ListenSocket], to: &Manifest) -> BTreeSet<u16> {
    to.listen.iter().filter(|socket| !own.contains(socket)).map(|socket| socket.port).collect()
}

/// Whether a manifest can do without another start of varnishd: there is a root, and varnishd's sockets are not in the
/// relay's way, which has TLS ports for itself.
#[must_use]
pub fn suit(own: &[ListenSocket], to: &Manifest) -> bool {
    let mut tls = to.relay.iter().flat_map(Relay::ports);
    to.root.is_some() && !tls.any(|port| own.iter().any(|socket| socket.port == port))
}

/// The same bundle for a varnishd with these sockets, under the same revision: what comes in on those that are not the
/// bundle's is answered with 404, whatever the root makes of it. So is what comes in on connections that the relay has
/// accepted on ports that were `relayed`.
#[must_use]
pub fn without_others(own: &[ListenSocket], relayed: &BTreeSet<u16>, bundle: &Arc<Bundle>) -> Arc<Bundle> {
    let listen = &bundle.manifest.listen;
    let own = own.iter().filter(|socket| !listen.contains(socket));
    let own = own.map(|socket| format!("local.socket == \"{}\"", socket.name));
    let has = |port: &u16| listen.iter().any(|socket| socket.port == *port);
    let tls: BTreeSet<_> = bundle.manifest.relay.iter().flat_map(Relay::ports).collect();
    let gone = relayed.difference(&tls).filter(|port| !has(port));
    let gone = gone.map(|port| format!("local.socket == \"relay\" && std.port(server.ip) == {port}"));
    let others: Vec<_> = own.chain(gone).collect();
    let root = bundle.manifest.root.as_ref().and_then(|name| Some((name, bundle.files.get(name)?)));
    let Some((name, text)) = root.filter(|_| !others.is_empty()) else { return Arc::clone(bundle) };
    let refusals: String = others.iter().map(|condition| refusal(condition)).collect();
    let guard =
        format!("{VERSION}\nimport std;\n\n# Ports that were listeners'.\nsub vcl_recv {{\n{refusals}}}\n");
    let root = VclFile::new("root", text.replacen(VERSION, &guard, 1));
    let mut changed = Bundle::clone(bundle);
    changed.files.remove(name);
    changed.manifest.root = Some(root.name.clone());
    changed.files.insert(root.name, root.text);
    Arc::new(changed)
}

/// What all VCL begins with, but for comments.
const VERSION: &str = "vcl 4.1;\n";

fn refusal(condition: &str) -> String {
    format!("\tif ({condition}) {{\n\t\treturn (synth(404));\n\t}}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bundle::relay::{Certificates, TlsListener};

    fn sockets(ports: &[u16]) -> Vec<ListenSocket> {
        ports.iter().map(|port| ListenSocket { name: format!("http-{port}"), port: *port }).collect()
    }

    fn bundle(http: &[u16], tls: &[u16]) -> Arc<Bundle> {
        let root = VclFile::new("root", "# Root\nvcl 4.1;\n\nsub vcl_recv {\n}\n");
        let listen = tls.iter().map(|port| (*port, TlsListener::default())).collect();
        let relay = (!tls.is_empty()).then(|| Relay { listen, ..Relay::default() });
        let bundle = Bundle::new(sockets(http), root, BTreeMap::new());
        Arc::new(bundle.with_relay(relay, Certificates::new()))
    }

    #[test]
    fn varnishd_goes_on_unless_its_sockets_are_in_the_relays_way() {
        let own = sockets(&[80, 81]);
        for (http, tls, relayed_ports, goes_on) in [
            (&[80, 81][..], &[][..], &[][..], true),
            (&[80], &[], &[], true),
            (&[80, 81, 82], &[443], &[82], true),
            (&[82], &[], &[82], true),
            (&[], &[443], &[], true),
            (&[80], &[81], &[], false),
            (&[443], &[80], &[443], false),
            (&[], &[], &[], true),
        ] {
            let to = &bundle(http, tls).manifest;
            let expected: BTreeSet<u16> = relayed_ports.iter().copied().collect();
            assert_eq!((relayed(&own, to), suit(&own, to)), (expected, goes_on), "{http:?} {tls:?}");
        }
        assert!(!suit(&own, &Manifest::default()), "nothing is to be served");
    }

    #[test]
    fn what_comes_in_on_sockets_that_were_listeners_is_refused() {
        let own = sockets(&[80, 81]);
        let same = bundle(&[80, 81, 82], &[]);
        assert!(Arc::ptr_eq(&without_others(&own, &[82].into(), &same), &same));
        let less = bundle(&[80], &[]);
        let changed = without_others(&own, &[80, 82].into(), &less);
        assert_eq!(changed.manifest.revision, less.manifest.revision);
        let root = changed.manifest.root.as_ref().unwrap();
        assert_ne!(Some(root), less.manifest.root.as_ref());
        let expected = "# Root\nvcl 4.1;\n\nimport std;\n\n# Ports that were listeners'.\nsub vcl_recv {\n\
             \tif (local.socket == \"http-81\") {\n\t\treturn (synth(404));\n\t}\n\
             \tif (local.socket == \"relay\" && std.port(server.ip) == 82) {\n\t\treturn (synth(404));\n\t}\n\
             }\n\nsub vcl_recv {\n}\n";
        assert_eq!((changed.files.len(), &*changed.files[root]), (1, expected));
        assert!(VclFile { name: root.clone(), text: changed.files[root].clone() }.is_intact());
    }
}
