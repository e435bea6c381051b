//! A varnishd that compiles VCL: it serves nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::case::Rendered;
use super::process::Process;

/// As in production: an executable stack is refused by newer libcs, hence the linker.
const COMPILER: &str =
    "cc_command=tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o";

/// One varnishd with a running child, so that `vcl_init` runs too.
pub struct Varnish {
    folder: PathBuf,
    /// Texts that have passed: most goldens have the same root.
    passed: RefCell<BTreeSet<String>>,
    _process: Process,
}

impl Varnish {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut command = Command::new("varnishd");
        command.args(["-F", "-j", "none", "-f", "", "-a", "127.0.0.1:0", "-T", "127.0.0.1:0"]);
        command.args(["-p", COMPILER, "-p", "vcc_err_unref=off", "-p", "vsl_space=1m", "-s", "malloc,1m"]);
        command.arg("-n").arg(folder.join("varnish"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::spawn(&mut command, &folder).expect("varnishd is installed");
        let varnish = Self { folder, passed: RefCell::default(), _process: process };
        varnish.wait_for_cli();
        varnish.load("idle", "vcl 4.1;\nbackend default none;\n").unwrap();
        varnish.cli(&["vcl.use", "idle"]).unwrap();
        varnish.cli(&["start"]).unwrap();
        varnish
    }

    /// Loads all VCL of a golden as the reloader would; the error is the compiler's.
    pub fn compile(&self, golden: &str, rendered: &Rendered) -> Result<(), String> {
        let mut loaded = Vec::new();
        let result = self.load_all(golden, rendered, &mut loaded);
        for name in loaded.iter().rev() {
            self.cli(&["vcl.discard", name]).unwrap();
        }
        result
    }

    fn load_all(&self, golden: &str, rendered: &Rendered, loaded: &mut Vec<String>) -> Result<(), String> {
        let root = &rendered.files["root.vcl"];
        let root_passed = self.passed.borrow().contains(root);
        for (label, file) in &rendered.labels {
            let text = &rendered.files[file];
            if root_passed && self.passed.borrow().contains(text) {
                continue;
            }
            let name = format!("{label}_shard");
            self.load_file(golden, &name, file, text)?;
            loaded.push(name.clone());
            self.cli(&["vcl.label", label, &name])?;
            loaded.push(label.clone());
        }
        if !root_passed {
            self.load_file(golden, "root", "root.vcl", root)?;
            loaded.push("root".into());
        }
        Ok(())
    }

    fn load_file(&self, golden: &str, name: &str, file: &str, text: &str) -> Result<(), String> {
        let refused = |message| format!("{golden}/{file} is refused by varnishd:\n{message}");
        self.load(name, text).map_err(refused)?;
        self.passed.borrow_mut().insert(text.to_owned());
        Ok(())
    }

    fn load(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(format!("{name}.vcl"));
        fs::write(&path, text).unwrap();
        self.cli(&["vcl.load", name, &path.to_string_lossy()])
    }

    fn wait_for_cli(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(message) = self.cli(&["ping"]) {
            assert!(Instant::now() < deadline, "varnishd does not answer: {message}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn cli(&self, command: &[&str]) -> Result<(), String> {
        let admin =
            Command::new("varnishadm").arg("-n").arg(self.folder.join("varnish")).args(command).output();
        let output = admin.expect("varnishadm is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        output.status.success().then_some(()).ok_or_else(|| text(&output.stdout) + &text(&output.stderr))
    }
}
