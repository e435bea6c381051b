//! A task, made ready to be served. It is swapped as a whole; connections keep what they began with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tracing::error;

use crate::bundle::relay::{Certificate, CertificateId, ClientValidation, Relay, Share, TlsListener};
use crate::bundle_folder::BundleFolderError;
use crate::bundle_folder::relay::{TASK, Task};

use super::certificates;
use super::clients::{Authorities, Clients};
use super::names::ServerNames;
use super::proxy::ClientCertificate;
use super::state::Problem;
use super::upstream::Upstreams;

/// In order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What to present for each server name: the first that the client can verify.
type Keys = ServerNames<Vec<Arc<CertifiedKey>>>;

/// All that is needed to serve a task.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The revision of the task; none before the first one.
    pub revision: Option<String>,
    /// By the listeners' port, before any offset.
    pub ports: BTreeMap<u16, Arc<Port>>,
    /// Ports on which there is HTTP without TLS; none of `ports`.
    pub http: BTreeSet<u16>,
    /// What cannot be presented, and why.
    pub problems: BTreeSet<Problem>,
    /// Endpoints that varnishd goes to through us.
    pub upstreams: Upstreams,
    relay: Relay,
    keys: BTreeMap<CertificateId, Arc<CertifiedKey>>,
    authorities: BTreeMap<CertificateId, Arc<Authorities>>,
}

/// How a port is served.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// TLS comes first.
    Tls(Arc<Port>),
    /// HTTP without TLS.
    Http,
}

/// One port with TLS.
#[derive(Debug)]
pub struct Port {
    keys: Arc<Keys>,
    tls: Arc<ServerConfig>,
    /// What clients have to show; none if nothing.
    clients: Option<Clients>,
    streams: Option<Streams>,
}

/// What is needed on a port whose connections do not all go to varnishd.
#[derive(Debug)]
struct Streams {
    ways: ServerNames<Way>,
    /// As for the others, but any protocol will do.
    tls: Arc<ServerConfig>,
}

/// Where a connection goes.
#[derive(Clone, Debug)]
pub enum Way {
    /// TLS ends here, and varnishd gets what is in it.
    Varnish,
    /// As it is, to one of these.
    Passthrough(Arc<[Share]>),
    /// TLS ends here, and one of these gets what is in it.
    Plain(Arc<[Share]>),
}

impl Port {
    /// How to go on with a client that asks for `name`; none if there is nothing to present for it.
    #[must_use]
    pub fn tls(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        let has_keys = self.keys.find(name).is_some_and(|keys| !keys.is_empty());
        has_keys.then(|| Arc::clone(&self.tls))
    }

    /// Whether a client is let in after its handshake. The certificate of a session that was resumed is looked at
    /// again: it may have expired since.
    #[must_use]
    pub fn admits(&self, client: &ServerConnection) -> bool {
        let Some(clients) = &self.clients else { return true };
        let is_resumed = client.handshake_kind() == Some(HandshakeKind::Resumed);
        !is_resumed || clients.admit(client.peer_certificates().unwrap_or_default())
    }

    /// What is known of the certificate that a client, which was let in, has shown.
    #[must_use]
    pub fn client_certificate(&self, client: &ServerConnection) -> Option<ClientCertificate> {
        let (clients, chain) = (self.clients.as_ref()?, client.peer_certificates()?);
        let resumed = client.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(ClientCertificate { verified: clients.verified(chain), resumed })
    }

    /// As `tls`, for a client that does not go to varnishd.
    #[must_use]
    pub fn plain_tls(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        self.tls(name).and(self.streams.as_ref()).map(|it| Arc::clone(&it.tls))
    }

    /// Whether all clients go to varnishd.
    #[must_use]
    pub fn is_varnishs(&self) -> bool {
        self.streams.is_none()
    }

    /// Where a client that asks for `name` goes; none if nowhere.
    #[must_use]
    pub fn way(&self, name: Option<&str>) -> Option<Way> {
        self.streams.as_ref().map_or(Some(Way::Varnish), |it| it.ways.find(name).cloned())
    }
}

impl Configuration {
    /// Makes a task ready. Certificates that `before` has are not read again. One that cannot be read costs the
    /// names that have no other.
    #[must_use]
    pub fn build(
        task: Task,
        before: &Self,
        read: impl Fn(&str) -> Result<Certificate, BundleFolderError>,
    ) -> Self {
        let mut built = Self { revision: Some(task.revision), ..Self::default() };
        let listeners = || task.relay.listen.values();
        let presented = listeners().flat_map(|it| it.certificates.values().flatten());
        built.keys = gather(presented, &before.keys, |id| key(id, &read), &mut built.problems);
        let trusted = listeners().filter_map(|it| it.clients.as_ref()).flat_map(|it| &it.authorities);
        built.authorities =
            gather(trusted, &before.authorities, |id| authorities(id, &read), &mut built.problems);
        let nothing = TlsListener::default();
        for port in task.relay.ports() {
            let listener = task.relay.listen.get(&port).unwrap_or(&nothing);
            match built.port(listener, before.same_clients(port, listener)) {
                Ok(ready) => {
                    let streams = streams(&task.relay, port, &ready.tls);
                    built.ports.insert(port, Arc::new(Port { streams, ..ready }));
                }
                Err(error) => drop(built.problems.insert(unusable(port, &error))),
            }
        }
        built.http = plain(&task.http, &task.relay);
        built.upstreams = Upstreams::build(&task.relay, &before.upstreams, &read, &mut built.problems);
        built.relay = task.relay;
        built
    }

    /// The same under another revision, if that is all that `task` changes.
    #[must_use]
    pub fn renamed(&self, task: &Task) -> Option<Self> {
        let is_same = self.revision.is_some() && self.relay == task.relay && self.problems.is_empty();
        is_same.then(|| Self {
            revision: Some(task.revision.clone()),
            ports: self.ports.clone(),
            http: plain(&task.http, &task.relay),
            problems: BTreeSet::new(),
            upstreams: self.upstreams.clone(),
            relay: self.relay.clone(),
            keys: self.keys.clone(),
            authorities: self.authorities.clone(),
        })
    }

    /// The ports to listen on.
    pub fn listen(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().chain(&self.http).copied()
    }

    /// How a port is served; none if it is not.
    #[must_use]
    pub fn entrance(&self, port: u16) -> Option<Entrance> {
        let tls = self.ports.get(&port).map(|it| Entrance::Tls(Arc::clone(it)));
        tls.or_else(|| self.http.contains(&port).then_some(Entrance::Http))
    }

    /// How many certificates can be presented.
    #[must_use]
    pub fn certificates(&self) -> usize {
        self.keys.len()
    }

    /// A port where clients have to show what `listener` asks for too.
    fn same_clients(&self, port: u16, listener: &TlsListener) -> Option<&Port> {
        self.relay.listen.get(&port).filter(|it| it.clients == listener.clients)?;
        self.ports.get(&port).map(AsRef::as_ref)
    }

    /// `before` is the port as it was, if clients had to show the same there: else its tickets must not be of use.
    fn port(&self, listener: &TlsListener, before: Option<&Port>) -> Result<Port, rustls::Error> {
        let found =
            |ids: &Vec<CertificateId>| ids.iter().filter_map(|id| self.keys.get(id).cloned()).collect();
        let keys: Keys = listener.certificates.iter().map(|(name, ids)| (name.clone(), found(ids))).collect();
        let keys = Arc::new(keys);
        // A ticket outlives a change of certificates, and is good for the name that it was given for only.
        let tickets = before.map_or_else(Ticketer::new, |port| Ok(Arc::clone(&port.tls.ticketer)))?;
        let clients = listener.clients.as_ref().map(|it| self.clients(it)).transpose()?;
        let verifier = clients.as_ref().map_or_else(WebPkiClientVerifier::no_client_auth, Clients::verifier);
        let tls = Arc::new(server_config(Arc::clone(&keys), verifier, tickets)?);
        Ok(Port { keys, tls, clients, streams: None })
    }

    /// Authorities that cannot be read are left out; without any, nobody could be let in.
    fn clients(&self, it: &ClientValidation) -> Result<Clients, rustls::Error> {
        let known = it.authorities.iter().filter_map(|id| self.authorities.get(id));
        let known: Vec<_> = known.map(AsRef::as_ref).collect();
        Clients::new(&known, it.insecure_fallback)
    }
}

/// A port that is one of TLS's too is about to change its protocol: what may be read in the clear is no TLS listener's.
fn plain(http: &BTreeSet<u16>, relay: &Relay) -> BTreeSet<u16> {
    let tls: BTreeSet<_> = relay.ports().collect();
    http.difference(&tls).copied().collect()
}

/// What is made of certificates, by their names. What `before` has is not made again.
fn gather<'a, T>(
    ids: impl Iterator<Item = &'a CertificateId>,
    before: &BTreeMap<CertificateId, Arc<T>>,
    make: impl Fn(&str) -> Result<T, Problem>,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<CertificateId, Arc<T>> {
    let mut gathered = BTreeMap::new();
    for id in ids.collect::<BTreeSet<_>>() {
        match before.get(id).map_or_else(|| make(id).map(Arc::new), |known| Ok(Arc::clone(known))) {
            Ok(it) => drop(gathered.insert(id.clone(), it)),
            Err(problem) => drop(problems.insert(problem)),
        }
    }
    gathered
}

/// What is needed on a port of which `tls` has been made ready; none if all goes to varnishd.
fn streams(relay: &Relay, port: u16, tls: &ServerConfig) -> Option<Streams> {
    let (passthrough, plain) = (relay.passthrough.get(&port), relay.plain.get(&port));
    let certificates = relay.listen.get(&port).map(|it| &it.certificates);
    passthrough.or(plain)?;
    // Names that nobody has are for who terminates TLS on the port, to be told so.
    let others = certificates.is_some_and(|it| !it.is_empty()).then(String::new);
    let varnish = certificates.into_iter().flat_map(BTreeMap::keys).cloned().chain(others);
    let varnish = varnish.map(|name| (name, Way::Varnish));
    let to = |way: fn(Arc<[Share]>) -> Way| {
        move |(name, shares): (&String, &Vec<Share>)| (name.clone(), way(shares.as_slice().into()))
    };
    let passthrough = passthrough.into_iter().flatten().map(to(Way::Passthrough));
    let plain = plain.into_iter().flatten().map(to(Way::Plain));
    let mut tls = tls.clone();
    tls.alpn_protocols.clear();
    Some(Streams { ways: varnish.chain(passthrough).chain(plain).collect(), tls: Arc::new(tls) })
}

fn key(
    id: &str,
    read: impl Fn(&str) -> Result<Certificate, BundleFolderError>,
) -> Result<CertifiedKey, Problem> {
    let problem = |message| Problem { file: format!("certificates/{id}.crt"), message };
    let certificate = read(id).map_err(|error| problem(error.to_string()))?;
    certificates::read(&certificate).map_err(|error| {
        error!(certificate = id, problem = %error, "a certificate cannot be presented; its names are not served");
        problem(format!("certificate {id} cannot be presented: {error}"))
    })
}

fn authorities(
    id: &str,
    read: impl Fn(&str) -> Result<Certificate, BundleFolderError>,
) -> Result<Authorities, Problem> {
    let problem = |message: String| {
        error!(certificate = id, problem = message, "authorities for clients' certificates cannot be read");
        Problem { file: format!("certificates/{id}.crt"), message }
    };
    let certificate = read(id).map_err(|error| problem(error.to_string()))?;
    certificates::chain(&certificate)
        .map_err(|error| problem(format!("authorities {id} cannot be used: {error}")))
}

fn unusable(port: u16, error: &rustls::Error) -> Problem {
    error!(port, %error, "TLS cannot be set up for a port");
    Problem { file: TASK.to_owned(), message: format!("TLS cannot be set up for port {port}: {error}") }
}

fn server_config(
    keys: Arc<Keys>,
    clients: Arc<dyn ClientCertVerifier>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Resolver(keys)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.ticketer = tickets;
    // Tickets do for TLS 1.2 as well, and take no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Chooses by server name, then by what the client can verify.
#[derive(Debug)]
struct Resolver(Arc<Keys>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.0.find(hello.server_name())?;
        let suits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // Where none suits, rustls tells the client so.
        keys.iter().find(suits).or(keys.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;

    use super::*;
    use crate::bundle::relay::{Certificates, certificate_id};

    fn certificate(name: &str) -> (CertificateId, Arc<Certificate>) {
        let made = generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate =
            Certificate { chain: made.cert.pem().into(), key: made.signing_key.serialize_pem().into() };
        (certificate_id(&certificate), Arc::new(certificate))
    }

    fn task(revision: &str, names: &[(&str, &str)]) -> Task {
        let certificates =
            names.iter().map(|(name, id)| ((*name).to_owned(), vec![(*id).to_owned()])).collect();
        let relay =
            Relay { listen: [(443, TlsListener { certificates, clients: None })].into(), ..Relay::default() };
        Task { revision: revision.into(), relay, http: BTreeSet::new() }
    }

    fn reader(all: &Certificates) -> impl Fn(&str) -> Result<Certificate, BundleFolderError> {
        |id| all.get(id).map(|it| (**it).clone()).ok_or_else(|| BundleFolderError::Damaged(id.to_owned()))
    }

    #[test]
    fn a_broken_certificate_costs_its_names_only() {
        let all: Certificates = [certificate("a.example")].into();
        let good = all.keys().next().unwrap();
        let task = task("1", &[("a.example", good), ("b.example", "missing"), ("", good)]);
        let built = Configuration::build(task, &Configuration::default(), reader(&all));
        let port = &built.ports[&443];
        assert!(port.tls(Some("a.example")).is_some() && port.tls(None).is_some());
        assert!(port.tls(Some("b.example")).is_none(), "another name's certificate must not stand in");
        let problem = built.problems.first().unwrap();
        assert_eq!(problem.file, "certificates/missing.crt");
        assert_eq!((built.certificates(), built.problems.len()), (1, 1));
    }

    #[test]
    fn the_most_specific_name_says_where_a_connection_goes() {
        let all: Certificates = [certificate("a.example")].into();
        let id = all.keys().next().unwrap();
        let mut task = task("1", &[("*.web.example", id), ("*.plain.example", id)]);
        let names = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        task.relay.passthrough.insert(443, names(&["*.example", "x.web.example"]));
        task.relay.plain.insert(443, names(&["*.plain.example"]));
        task.relay.passthrough.insert(444, names(&["a.example"]));
        let built = Configuration::build(task, &Configuration::default(), reader(&all));
        let way = |port: u16, name: &str| match built.ports[&port].way(Some(name)) {
            Some(Way::Varnish) => "varnish",
            Some(Way::Passthrough(_)) => "passthrough",
            Some(Way::Plain(_)) => "plain",
            None => "nowhere",
        };
        for (port, name, expected) in [
            (443, "a.web.example", "varnish"),
            (443, "x.web.example", "passthrough"),
            (443, "web.example", "passthrough"),
            (443, "a.plain.example", "plain"),
            (443, "example", "varnish"),
            (444, "a.example", "passthrough"),
            (444, "b.example", "nowhere"),
        ] {
            assert_eq!(way(port, name), expected, "{port} {name}");
        }
        assert!(!built.ports[&443].is_varnishs() && built.problems.is_empty());
        let protocols = |tls: Option<Arc<ServerConfig>>| tls.map(|it| it.alpn_protocols.len());
        let port = &built.ports[&443];
        assert_eq!(protocols(port.tls(Some("a.web.example"))), Some(2));
        assert_eq!(protocols(port.plain_tls(Some("a.plain.example"))), Some(0));
        assert_eq!(protocols(port.plain_tls(Some("a.example"))), None, "no certificate");
    }

    #[test]
    fn what_is_known_is_not_read_again_and_tickets_stay_good() {
        let all: Certificates = [certificate("a.example"), certificate("b.example")].into();
        let ids: Vec<_> = all.keys().collect();
        let first = task("1", &[("a.example", ids[0])]);
        let first = Configuration::build(first, &Configuration::default(), reader(&all));
        let rest: Certificates = [(ids[1].clone(), Arc::clone(&all[ids[1]]))].into();
        let second = task("2", &[("a.example", ids[0]), ("b.example", ids[1])]);
        let second = Configuration::build(second, &first, reader(&rest));
        assert_eq!((second.certificates(), second.problems.len()), (2, 0));
        let tickets = |it: &Configuration| Arc::clone(&it.ports[&443].tls.ticketer);
        assert!(Arc::ptr_eq(&tickets(&first), &tickets(&second)));
    }

    #[test]
    fn a_task_of_another_revision_only_is_not_built() {
        let all: Certificates = [certificate("a.example")].into();
        let id = all.keys().next().unwrap();
        let before = Configuration::default();
        assert!(before.renamed(&Task::default()).is_none());
        let built = Configuration::build(task("1", &[("a", id)]), &before, reader(&all));
        let renamed = built.renamed(&task("2", &[("a", id)])).unwrap();
        assert_eq!(renamed.revision.as_deref(), Some("2"));
        assert!(Arc::ptr_eq(&renamed.ports[&443], &built.ports[&443]));
        assert!(built.renamed(&task("2", &[("b", id)])).is_none());
        let more = built.renamed(&Task { http: [80, 443].into(), ..task("1", &[("a", id)]) }).unwrap();
        assert_eq!(more.listen().collect::<Vec<_>>(), [443, 80]);
        assert!(matches!(more.entrance(443), Some(Entrance::Tls(_))));
        assert!(matches!(more.entrance(80), Some(Entrance::Http)) && more.entrance(81).is_none());
    }
}
