//! VCL that names sockets of the relay's is not to be used before they are there.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use crate::bundle::{Bundle, Manifest};

use super::Context;
use super::watch::Bundles;

/// How long the relay may take: it makes thousands of sockets in less. Then it is no use to wait, since a relay that
/// fails must not keep all else from changing.
const LIMIT: Duration = Duration::from_secs(2);

/// Waits until the relay serves what is new of `to`; not at all if nothing is.
pub async fn wait(context: &Context, from: Option<&Manifest>, to: &Bundle, bundles: &Bundles) {
    if !has_new(from, &to.manifest) {
        return;
    }
    let revision = &to.manifest.revision;
    let mut statuses = context.board.subscribe();
    // Where a newer bundle has come, the relay goes on to that one.
    let is_newest =
        |served: &String| bundles.borrow().as_ref().is_some_and(|newest| newest.manifest.revision == *served);
    let served = statuses.wait_for(|status| {
        let served = status.relay.as_ref().and_then(|relay| relay.revision.as_ref());
        served.is_some_and(|served| served == revision || is_newest(served))
    });
    if timeout(LIMIT, served).await.is_err() {
        warn!(revision, "the relay does not serve this revision yet; its backends fail until it does");
    }
}

fn has_new(from: Option<&Manifest>, to: &Manifest) -> bool {
    let upstreams = |manifest: &Manifest, id: &str| {
        manifest.relay.as_ref().is_some_and(|relay| relay.upstreams.contains_key(id))
    };
    let mut wanted = to.relay.iter().flat_map(|relay| relay.upstreams.keys());
    wanted.any(|id| !from.is_some_and(|from| upstreams(from, id)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::bundle::relay::{Relay, Upstream};

    fn manifest(ports: &[u16]) -> Manifest {
        let upstreams = ports.iter().map(|port| {
            let address = SocketAddr::from(([192, 0, 2, 1], *port));
            let upstream = Upstream { address, http2: true, tls: None, mirrors: Vec::new() };
            (upstream.id(), upstream)
        });
        let relay = Relay { upstreams: upstreams.collect(), ..Relay::default() };
        Manifest { relay: Some(relay), ..Manifest::default() }
    }

    #[test]
    fn only_new_upstreams_are_waited_for() {
        assert!(has_new(None, &manifest(&[1])) && has_new(Some(&manifest(&[1])), &manifest(&[1, 2])));
        assert!(!has_new(Some(&manifest(&[1, 2])), &manifest(&[2])) && !has_new(None, &manifest(&[])));
        assert!(!has_new(None, &Manifest::default()));
        assert!(has_new(Some(&Manifest::default()), &manifest(&[1])));
    }
}
