//! The varnishd behind all of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Process;

/// A varnishd that speaks PROXY on a unix socket; it ends when this is dropped.
pub struct Varnish {
    pub socket: PathBuf,
    #[expect(dead_code, reason = "it is ended by dropping it")]
    process: Process,
}

impl Varnish {
    pub fn start(folder: &Path, backend: u16) -> Self {
        let (file, socket, state) =
            (folder.join("bench.vcl"), folder.join("varnish.sock"), folder.join("varnish"));
        let text = format!("vcl 4.1;\nbackend default {{ .host = \"127.0.1.1\"; .port = \"{backend}\"; }}\n");
        std::fs::write(&file, text).expect("the folder is ours");
        std::fs::create_dir_all(&state).expect("the folder is ours");
        let mut command = Command::new("varnishd");
        command.args(["-F", "-j", "none", "-s", "malloc,64m", "-p", "vsl_space=8m", "-f"]).arg(&file);
        command.arg("-n").arg(&state).arg("-a").arg(format!("{},PROXY,mode=0666", socket.display()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::spawn(&mut command, &state).expect("varnishd is installed");
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "varnishd does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { socket, process }
    }
}
