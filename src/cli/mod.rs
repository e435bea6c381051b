//! The command line of `copal`.

mod commands;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::controllers::operator::{self, OperatorError};
use crate::model::ObjectKey;
use crate::standalone::output;
use crate::standalone::run::{self, RunError};
use crate::telemetry::LogFormat;
use commands::CommandError;

/// Listeners below 1024 are reachable without privileges: port 80 is served on 8080.
const DEFAULT_PORT_OFFSET: u16 = 8000;

/// The Kubernetes Gateway API on stock, open-source Varnish Cache.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve a folder of manifests with a Varnish on this machine, following each change.
    Run(RunArgs),
    /// Print the VCL for a folder of manifests.
    Render(RenderArgs),
    /// Print the statuses that the cluster would show for a folder of manifests.
    Status(StatusArgs),
    /// Tell which listener, route, rule and backends answer a request, and why.
    Explain(ExplainArgs),
    /// Run the operator: data planes and statuses for the Gateways of a cluster.
    Operator(operator::Options),
    /// Print the CustomResourceDefinitions of Copal's own resources.
    Crds(CrdsArgs),
}

/// Where the manifests are.
#[derive(Clone, Debug, Args)]
pub struct FolderArgs {
    /// Folder with *.yaml, *.yml and *.json manifests; its sub-folders are read too.
    pub dir: PathBuf,
    /// Added to each listener's port where clients connect: port 80 is served on 8080.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT_OFFSET)]
    pub port_offset: u16,
}

/// Where the resources are.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SourceArgs {
    /// Folder with *.yaml, *.yml and *.json manifests; its sub-folders are read too.
    pub(super) dir: Option<PathBuf>,
    /// Read the cluster that the kubeconfig names instead.
    #[arg(long)]
    pub(super) cluster: bool,
}

/// `copal run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Address that Varnish accepts connections on.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Address of /healthz, /readyz, /metrics and /status.
    #[arg(long, value_name = "IP:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)))]
    admin: SocketAddr,
    /// Folder for what is kept between runs [default: copal in the XDG state folder, ~/.local/state].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The varnishd to start.
    #[arg(long, value_name = "PATH", default_value = "varnishd")]
    varnishd: PathBuf,
    /// Go on accepting connections for so long after the signal to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    drain_delay: u64,
    /// Where Varnish keeps cached objects, as in `varnishd -s`.
    #[arg(long, value_name = "SPEC", default_value = "malloc,256m")]
    storage: String,
    /// How log lines on standard error look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// More arguments for varnishd.
    #[arg(last = true, value_name = "VARNISHD ARGUMENTS")]
    varnishd_arguments: Vec<OsString>,
}

/// `copal render`.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Write the files and their manifest.json here instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// `copal status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Added to each listener's port where clients connect (folders only).
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT_OFFSET)]
    pub(super) port_offset: u16,
    /// Ask the reloader of a `copal run` there whether Varnish serves this folder.
    #[arg(long, value_name = "IP:PORT")]
    pub(super) admin: Option<SocketAddr>,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: output::Format,
}

/// `copal explain`.
#[derive(Clone, Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Added to each listener's port where clients connect (folders only).
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT_OFFSET)]
    pub(super) port_offset: u16,
    /// The Gateway that gets the request (clusters only); needed where several have the host.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_key, requires = "cluster")]
    pub(super) gateway: Option<ObjectKey>,
    /// The request's URL, with the port that clients connect to: `http://shop.example.com:8080/cart`.
    #[arg(value_parser = url)]
    pub url: hyper::Uri,
    /// The request's method.
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    pub method: hyper::Method,
    /// A header of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// How to print the decision.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ExplainFormat,
}

/// `copal crds`.
#[derive(Clone, Debug, Args)]
pub struct CrdsArgs {
    /// Write each to a file NAME.yaml here instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// How `copal explain` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people.
    #[default]
    Text,
    /// One object.
    Json,
}

/// Why `copal` fails.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// `copal run`.
    #[error(transparent)]
    Run(#[from] RunError),
    /// `copal operator`.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The other commands.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The machinery of asynchronous I/O.
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] std::io::Error),
}

impl Cli {
    /// How log lines are to look.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        match &self.command {
            Command::Run(args) => args.log_format,
            Command::Operator(options) => options.log_format,
            Command::Render(_) | Command::Status(_) | Command::Explain(_) | Command::Crds(_) => {
                LogFormat::Text
            }
        }
    }

    /// Does what was asked. The exit code also tells whether manifests were malformed.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn execute(self) -> Result<ExitCode, CliError> {
        match self.command {
            Command::Run(args) => serve(args),
            Command::Render(args) => Ok(commands::render(&args)?),
            Command::Status(args) => Ok(commands::status(&args)?),
            Command::Explain(args) => Ok(commands::explain(&args)?),
            Command::Crds(args) => Ok(commands::crds(&args)?),
            Command::Operator(options) => {
                runtime()?.block_on(operator::run(options))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn serve(args: RunArgs) -> Result<ExitCode, CliError> {
    runtime()?.block_on(run::run(args.into()))?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(CliError::Runtime)
}

impl From<RunArgs> for run::Options {
    fn from(args: RunArgs) -> Self {
        let log_format = args.log_format.to_possible_value().map(|it| it.get_name().to_owned());
        Self {
            folder: args.folder.dir,
            bind: args.bind,
            port_offset: args.folder.port_offset,
            admin: args.admin,
            state: args.state,
            varnishd: args.varnishd,
            drain_delay: Duration::from_secs(args.drain_delay),
            storage: args.storage,
            log_format: log_format.unwrap_or_default(),
            varnishd_arguments: args.varnishd_arguments,
        }
    }
}

fn url(text: &str) -> Result<hyper::Uri, String> {
    let uri: hyper::Uri =
        text.parse().map_err(|error| format!("{error}; expected http://HOST[:PORT]/PATH"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err("expected http://HOST[:PORT]/PATH".to_owned()),
    }
}

fn object_key(text: &str) -> Result<ObjectKey, String> {
    let (namespace, name) = text.split_once('/').ok_or("expected NAMESPACE/NAME")?;
    Ok(ObjectKey::new(namespace, name))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let name: hyper::header::HeaderName = name.trim().parse().map_err(|_| "that is no header name")?;
    Ok((name.to_string(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_two_dashes_is_for_varnishd() {
        let cli =
            Cli::try_parse_from(["copal", "run", "m", "--port-offset", "0", "--", "-p", "debug=+req_state"]);
        let Command::Run(args) = cli.unwrap().command else { panic!("not run") };
        let options = run::Options::from(args);
        assert_eq!(options.varnishd_arguments, ["-p", "debug=+req_state"]);
        assert_eq!((options.port_offset, options.log_format.as_str()), (0, "text"));
    }

    #[test]
    fn a_folder_or_a_cluster_is_explained() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["copal", "explain"], words].concat());
        let Command::Explain(args) = parse(&["--cluster", "http://a.test/"]).unwrap().command else {
            panic!("not explain")
        };
        assert!(args.source.cluster && args.source.dir.is_none() && args.gateway.is_none());
        assert!(parse(&["--cluster", "--gateway", "a/b", "http://a.test/"]).is_ok());
        for wrong in [&["http://a.test/"][..], &["--cluster"], &["m", "--gateway", "a/b", "http://a.test/"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn requests_to_explain_are_checked() {
        let parse =
            |url: &str, header: &str| Cli::try_parse_from(["copal", "explain", "m", url, "-H", header]);
        assert!(parse("http://a.example:8080/x?y=1", "X-A: b: c").is_ok());
        for (url, header) in
            [("/x", "a: b"), ("ftp://a/", "a: b"), ("http://a/", "a"), ("http://a/", "a b: c")]
        {
            assert!(parse(url, header).is_err(), "{url} {header}");
        }
    }
}
