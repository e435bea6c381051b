//! From the task to endpoints that can be spoken to. What stays is taken over, with its connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tracing::error;

use crate::bundle::relay::{self, Certificate, CertificateId, Relay, Upstream, UpstreamId, UpstreamTls};
use crate::bundle_folder::BundleFolderError;
use crate::bundle_folder::relay::TASK;
use crate::relay::state::Problem;

use super::dial::{Dialer, Security};
use super::endpoint::Endpoint;
use super::mirror::Mirror;
use super::tls;

/// All endpoints of a task.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    /// By the name of their socket.
    pub endpoints: BTreeMap<UpstreamId, Arc<Endpoint>>,
    tls: BTreeMap<(UpstreamTls, bool), Arc<ClientConfig>>,
    client_certificate: Option<CertificateId>,
}

impl Upstreams {
    /// Makes those of a task ready; what cannot be done of it goes to `problems`, and its endpoints fail.
    #[must_use]
    pub fn build(
        relay: &Relay,
        before: &Self,
        read: &impl Fn(&str) -> Result<Certificate, BundleFolderError>,
        problems: &mut BTreeSet<Problem>,
    ) -> Self {
        let client_certificate = relay.client_certificate.clone();
        let same_client = client_certificate == before.client_certificate;
        let shows = client_certificate.as_ref();
        let mut builder = Builder { before, read, problems, shows, same_client, tls: BTreeMap::new() };
        let mut endpoints = BTreeMap::new();
        for (id, upstream) in &relay.upstreams {
            if let Some(endpoint) = builder.endpoint(id, upstream) {
                endpoints.insert(id.clone(), endpoint);
            }
        }
        let usable = builder.tls.into_iter().filter_map(|(settings, made)| Some((settings, made.ok()?)));
        Self { endpoints, tls: usable.collect(), client_certificate }
    }
}

struct Builder<'a, R> {
    before: &'a Upstreams,
    read: &'a R,
    problems: &'a mut BTreeSet<Problem>,
    /// The certificate that we show.
    shows: Option<&'a CertificateId>,
    /// Whether that is the one of before: if not, neither connections nor sessions may go on.
    same_client: bool,
    tls: BTreeMap<(UpstreamTls, bool), Result<Arc<ClientConfig>, Arc<str>>>,
}

impl<R: Fn(&str) -> Result<Certificate, BundleFolderError>> Builder<'_, R> {
    fn endpoint(&mut self, id: &str, upstream: &Upstream) -> Option<Arc<Endpoint>> {
        if !relay::is_upstream_id(id) {
            self.problem(format!("{id:?} is no name of an upstream"));
            return None;
        }
        let dialer = self.dialer(upstream);
        let mirrors: Vec<Mirror> = upstream.mirrors.iter().map(|mirror| self.mirror(mirror)).collect();
        let stays = self.same_client || upstream.with_mirrors().all(|it| it.tls.is_none());
        let before = self.before.endpoints.get(id).filter(|before| stays && before.is_usable());
        Some(before.map_or_else(|| Arc::new(Endpoint::new(id, dialer, mirrors)), Arc::clone))
    }

    fn mirror(&mut self, mirror: &relay::Mirror) -> Mirror {
        let dialers = mirror.endpoints.iter().map(|endpoint| self.dialer(endpoint)).collect();
        Mirror::new(dialers, mirror.numerator, mirror.denominator)
    }

    fn dialer(&mut self, upstream: &Upstream) -> Dialer {
        let security = match &upstream.tls {
            None => Security::None,
            Some(tls) => self.security(tls, upstream.http2),
        };
        Dialer { address: upstream.address, security, http2: upstream.http2 }
    }

    fn security(&mut self, settings: &UpstreamTls, http2: bool) -> Security {
        let name = match ServerName::try_from(settings.server_name.clone()) {
            Ok(name) => name,
            Err(error) => {
                let message = format!("{:?} is no server name: {error}", settings.server_name);
                self.problem(message.clone());
                return Security::Unusable(message.into());
            }
        };
        match self.config(settings, http2) {
            Ok(config) => Security::Tls(config, name),
            Err(message) => Security::Unusable(message),
        }
    }

    fn config(&mut self, settings: &UpstreamTls, http2: bool) -> Result<Arc<ClientConfig>, Arc<str>> {
        let key = (settings.clone(), http2);
        if let Some(made) = self.tls.get(&key) {
            return made.clone();
        }
        let known = self.before.tls.get(&key).filter(|_| self.same_client).map(Arc::clone);
        let new = || tls::config(settings, http2, self.shows, self.read).map(Arc::new);
        let made = known.map_or_else(|| new().map_err(Arc::<str>::from), Ok);
        if let Err(message) = &made {
            let name = &settings.server_name;
            error!(server_name = name, problem = %message, "TLS towards backends cannot be set up");
            self.problem(format!("TLS towards {name} cannot be set up: {message}"));
        }
        self.tls.insert(key, made.clone());
        made
    }

    fn problem(&mut self, message: String) {
        self.problems.insert(Problem { file: TASK.to_owned(), message });
    }
}
