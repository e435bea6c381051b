//! What is the same for every start of varnishd: its folder, its secret, its release, the C compiler.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::bundle::relay::FOLDER;
use crate::bundle::{ListenSocket, hex};
use crate::bundle_folder::worker;

use super::super::options::Options;
use super::args::{Compiler, Launch, Version};

/// Bytes of randomness in the secret.
const SECRET_BYTES: usize = 32;
/// How long `varnishd -V` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Why varnishd cannot be started at all.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The state directory cannot be used.
    #[error("cannot use {} as state directory", path.display())]
    State {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No randomness.
    #[error("cannot read /dev/urandom for varnishd's secret")]
    Random(#[source] io::Error),
    /// varnishd is not there, or does not run.
    #[error("cannot run {} -V; is Varnish installed?", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// All that was found out and made.
#[derive(Debug)]
pub struct Setup {
    /// The varnishd to run.
    pub program: PathBuf,
    /// The varnishstat that belongs to it.
    pub varnishstat: PathBuf,
    /// The varnishncsa that belongs to it.
    pub varnishncsa: PathBuf,
    /// Its release; none if its output says none.
    pub version: Option<Version>,
    /// What compiles VCL.
    pub compiler: Compiler,
    /// Its working directory, absolute.
    pub workdir: PathBuf,
    /// The file with the secret, absolute.
    pub secret_file: PathBuf,
    /// The content of that file.
    pub secret: Vec<u8>,
    /// The folder of what we share with the relay, absolute.
    pub relay: PathBuf,
    /// The socket on which varnishd takes connections from the relay, in that folder.
    pub relay_socket: PathBuf,
    /// Whether we run as root.
    pub is_root: bool,
}

impl Setup {
    /// Makes the state directory with a fresh secret, and looks at varnishd and the compilers.
    ///
    /// # Errors
    /// When the directory cannot be written, or varnishd does not run.
    pub async fn prepare(program: &Path, state: &Path) -> Result<Self, SetupError> {
        let is_root = rustix::process::geteuid().is_root();
        let state = make_folder(state, 0o700)?;
        // Under such a parent 0755 is open to nobody else; varnishd's own users need it when we are root.
        let workdir = make_folder(&state.join("varnish"), 0o755)?;
        let relay = make_folder(&state.join(FOLDER), 0o700)?;
        for folder in [&state, &relay] {
            let failed = |source| SetupError::State { path: folder.clone(), source };
            worker::let_pass(folder).map_err(failed)?;
        }
        let secret_file = state.join("secret");
        let secret = write_secret(&secret_file)?;
        let version = version(program).await?;
        let compiler = Compiler::choose(is_on_path);
        let setup = Self {
            program: program.to_owned(),
            varnishstat: sibling(program, "varnishstat"),
            varnishncsa: sibling(program, "varnishncsa"),
            version,
            compiler,
            workdir,
            relay_socket: relay.join("varnish"),
            relay,
            secret_file,
            secret,
            is_root,
        };
        setup.tell();
        Ok(setup)
    }

    /// All that varnishd's command line depends on.
    #[must_use]
    pub fn launch<'a>(
        &'a self,
        options: &'a Options,
        listen: &'a [ListenSocket],
        master: SocketAddr,
        mask: Option<&'a str>,
    ) -> Launch<'a> {
        Launch {
            version: self.version,
            compiler: self.compiler,
            workdir: &self.workdir,
            secret: &self.secret_file,
            relay_socket: &self.relay_socket,
            master,
            bind: options.bind,
            port_offset: options.port_offset,
            storage: &options.storage,
            listen,
            mask,
            is_root: self.is_root,
            user: &options.varnishd_args,
        }
    }

    fn tell(&self) {
        match self.version {
            Some(version) => info!(varnish = %version, compiler = ?self.compiler, "found varnishd"),
            None => {
                warn!(compiler = ?self.compiler, "varnishd does not tell its release; taking it for a new one");
            }
        }
        match self.compiler {
            Compiler::Tcc => {}
            Compiler::Clang | Compiler::Gcc => {
                warn!(compiler = ?self.compiler, "tcc and ld are not both there; loading VCL will take about ten times as long");
            }
            Compiler::Builtin => warn!("found no C compiler on PATH; leaving varnishd to its own"),
        }
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<PathBuf, SetupError> {
    let failed = |source| SetupError::State { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    fs::canonicalize(path).map_err(failed)
}

/// Writes a new secret, which only we may read.
fn write_secret(path: &Path) -> Result<Vec<u8>, SetupError> {
    let mut random = [0; SECRET_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(SetupError::Random)?;
    let secret = format!("{}\n", hex(&random, SECRET_BYTES)).into_bytes();
    let failed = |source| SetupError::State { path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&secret).map_err(failed)?;
    Ok(secret)
}

async fn version(program: &Path) -> Result<Option<Version>, SetupError> {
    let failed = |source| SetupError::Program { program: program.to_owned(), source };
    let run = Command::new(program).arg("-V").kill_on_drop(true).output();
    let output = timeout(VERSION_LIMIT, run).await.map_err(|late| failed(late.into()))?.map_err(failed)?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Version::parse(&String::from_utf8_lossy(&text)))
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A tool of the same installation: `bin` beside `sbin` or the same folder, else whatever PATH has.
fn sibling(program: &Path, tool: &str) -> PathBuf {
    let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty());
    let candidates =
        folder.into_iter().flat_map(|folder| [folder.join(tool), folder.join("../bin").join(tool)]);
    candidates.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(tool))
}
