//! What a Varnish instance has to load: complete VCL files, and the manifest that says which goes where.
//!
//! VCL names carry a hash of their text, so loading is idempotent: a name that is loaded has that text.

pub mod logging;
pub mod ncsa;
pub mod packs;
pub mod relay;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use logging::Logging;
use relay::{Certificates, Relay};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every VCL and label name of Copal's begins with; the reloader leaves all others alone.
pub const NAME_PREFIX: &str = "copal_";

/// The name of a VCL in varnishd, and of its file without `.vcl`: `copal_<part>_<hash of the text>`.
pub type VclName = String;

/// The name of a VCL label (`vcl.label`), `copal_<part>`.
pub type Label = String;

/// One complete VCL program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VclFile {
    /// Its name, which carries the hash of `text`.
    pub name: VclName,
    /// The program.
    pub text: Arc<str>,
}

impl VclFile {
    /// Names `text` after its part of the bundle (`root`, `s0110`) and its content.
    #[must_use]
    pub fn new(part: &str, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self { name: format!("{NAME_PREFIX}{part}_{}", short_hash(&text)), text }
    }

    /// Whether `text` is what `name` says it is: false for a file that was cut off or changed.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.name.rsplit_once('_').is_some_and(|(_, hash)| hash == short_hash(&self.text))
    }
}

/// A socket that varnishd listens on; VCL tells sockets apart by `local.socket`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenSocket {
    /// Varnish's name of the socket, as in `varnishd -a NAME=ADDRESS`.
    pub name: String,
    /// The listeners' port, before any offset.
    pub port: u16,
}

/// Everything that is to be loaded, and how it fits together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// What is where.
    pub manifest: Manifest,
    /// The VCL files of the manifest by name.
    pub files: BTreeMap<VclName, Arc<str>>,
    /// The certificates that the manifest's `relay` names.
    pub certificates: Certificates,
}

/// The part of a bundle that names things; written to `manifest.json`, after the files it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Hash of all the rest: equal revisions are equal bundles.
    pub revision: String,
    /// Sockets in order of port.
    pub listen: Vec<ListenSocket>,
    /// The VCL to use. Absent in an empty bundle only.
    pub root: Option<VclName>,
    /// The VCL that each label must point to before `root` can be compiled.
    pub labels: BTreeMap<Label, VclName>,
    /// What is logged of requests; none means no access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// What the relay does; none means that there is no need of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

impl Bundle {
    /// Puts a bundle together; the revision follows from the content.
    #[must_use]
    pub fn new(listen: Vec<ListenSocket>, root: VclFile, shards: BTreeMap<Label, VclFile>) -> Self {
        let labels = shards.iter().map(|(label, file)| (label.clone(), file.name.clone())).collect();
        let mut manifest = Manifest { listen, root: Some(root.name.clone()), labels, ..Manifest::default() };
        manifest.revision = manifest.hash();
        let files = shards.into_values().chain([root]).map(|file| (file.name, file.text)).collect();
        Self { manifest, files, certificates: Certificates::new() }
    }

    /// The same bundle with another access log.
    #[must_use]
    pub fn with_logging(mut self, logging: Option<Logging>) -> Self {
        self.manifest.logging = logging;
        self.manifest.revision = self.manifest.hash();
        self
    }

    /// The same bundle with another task for the relay, and the certificates that it takes.
    #[must_use]
    pub fn with_relay(mut self, relay: Option<Relay>, certificates: Certificates) -> Self {
        self.manifest.relay = relay;
        self.certificates = certificates;
        self.manifest.revision = self.manifest.hash();
        self
    }
}

impl Manifest {
    /// Whether clients can reach anything: there is a socket of varnishd's or of the relay's.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.listen.is_empty() || self.relay.as_ref().is_some_and(|relay| relay.ports().next().is_some())
    }

    /// The revision that this content should have.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut lines: Vec<String> = self.listen.iter().map(|s| format!("{}={}", s.name, s.port)).collect();
        lines.extend(self.root.clone());
        lines.extend(self.labels.iter().map(|(label, name)| format!("{label}={name}")));
        // Plain data always has a JSON form.
        lines.extend(self.logging.as_ref().map(|it| serde_json::to_string(it).unwrap_or_default()));
        lines.extend(self.relay.as_ref().map(|it| serde_json::to_string(it).unwrap_or_default()));
        short_hash(&lines.join("\n"))
    }
}

/// The first 48 bits of SHA-256 in hex: enough to tell the versions of one VCL apart.
#[must_use]
pub fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()), 6)
}

/// The first `bytes` of a digest as hexadecimal digits.
#[must_use]
pub fn hex(digest: &[u8], bytes: usize) -> String {
    let mut digits = String::with_capacity(2 * bytes);
    for byte in digest.iter().take(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
