//! A varnishd by itself, which is told by `varnishadm` what to do.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::Process;

/// As in production: an executable stack is refused by newer libcs, hence the linker.
const COMPILER: &str =
    "cc_command=tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o";

/// A running varnishd that has loaded nothing yet, and whose child is not started.
pub struct Varnishd {
    folder: PathBuf,
    _process: Process,
}

impl Varnishd {
    /// `arguments` says where it listens, and what is not as usual.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut command = Command::new("varnishd");
        command.args(["-F", "-j", "none", "-f", "", "-T", "127.0.0.1:0", "-s", "malloc,10m"]);
        command.args(["-p", COMPILER, "-p", "vcc_err_unref=off", "-p", "vsl_space=1m"]).args(arguments);
        command.arg("-n").arg(folder.join("varnish")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::spawn(&mut command, &folder).expect("varnishd is installed");
        let varnishd = Self { folder, _process: process };
        varnishd.wait_for_cli();
        varnishd
    }

    /// Loads a VCL; the error is the compiler's.
    pub fn load(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(format!("{name}.vcl"));
        fs::write(&path, text).unwrap();
        self.cli(&["vcl.load", name, &path.to_string_lossy()])
    }

    /// Gives it a command; the error is its answer.
    pub fn cli(&self, command: &[&str]) -> Result<(), String> {
        let admin =
            Command::new("varnishadm").arg("-n").arg(self.folder.join("varnish")).args(command).output();
        let output = admin.expect("varnishadm is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        output.status.success().then_some(()).ok_or_else(|| text(&output.stdout) + &text(&output.stderr))
    }

    fn wait_for_cli(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(message) = self.cli(&["ping"]) {
            assert!(Instant::now() < deadline, "varnishd does not answer: {message}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
