//! The relay's process.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use clap::ValueEnum as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tracing::debug;

use crate::reloader::Context;

const BINARY: &str = "copal-relay";

/// How it is started.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launch {
    /// The relay beside this program, else the one on `PATH`.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let beside = std::env::current_exe().ok().and_then(|it| it.parent().map(|dir| dir.join(BINARY)));
        let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(BINARY));
        let (options, setup) = (&context.options, &context.setup);
        let format = options.log_format.to_possible_value().map(|value| value.get_name().to_owned());
        let named: [(&str, OsString); 6] = [
            ("--folder", setup.relay.clone().into()),
            ("--socket", setup.relay_socket.clone().into()),
            ("--bind", options.bind.to_string().into()),
            ("--port-offset", options.port_offset.to_string().into()),
            ("--drain-delay", options.drain_delay.as_secs_f64().to_string().into()),
            ("--log-format", format.unwrap_or_default().into()),
        ];
        Self {
            program,
            arguments: named.into_iter().flat_map(|(name, value)| [name.into(), value]).collect(),
        }
    }

    /// Starts it in a process group of its own, so that a Ctrl-C at the terminal reaches only us; holding its
    /// standard input, so that it ends when we do, however that happens.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&self) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).process_group(0).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(|error| {
            let program = self.program.display();
            io::Error::new(
                error.kind(),
                format!("{program}: {error}; it belongs beside copal-reloader or on PATH"),
            )
        })?;
        let stdin = child.stdin.take();
        Ok(Process { child, stdin })
    }
}

/// A running relay. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// It ends when this is closed.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Its number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended. Can be cancelled and called again.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        // tokio's own `wait` would close its standard input, had we not taken that.
        self.child.wait().await
    }

    /// Lets it end, once it has drained.
    pub fn release(&mut self) {
        drop(self.stdin.take());
    }

    /// Asks it to drain.
    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            debug!(%error, "the relay is gone already");
        }
    }
}
