//! The command line of `copal-reloader`.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::pull::Source;
use crate::telemetry::LogFormat;

/// Starts varnishd and keeps it serving the bundle in a folder or a cluster.
///
/// Answers /healthz, /readyz, /status and /metrics on the admin address. On SIGTERM it drains: it turns
/// not ready at once, lets every connection finish, and exits 0.
#[derive(Clone, Debug, Parser)]
#[command(name = "copal-reloader", version)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct Options {
    /// Folder with the bundle to serve (manifest.json and VCL files); watched for changes.
    #[arg(long, value_name = "DIR", group = "source")]
    pub bundle: Option<PathBuf>,

    /// ConfigMap with the index of the bundle to serve; watched for changes.
    #[arg(long, value_name = "NAMESPACE/NAME", group = "source")]
    pub bundle_from_cluster: Option<Source>,

    /// Folder of our own: varnishd's working directory, its secret, the last good bundle.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,

    /// Where to answer /healthz, /readyz, /status and /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub admin: SocketAddr,

    /// Address that varnishd and the relay listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind: IpAddr,

    /// Added to every listener's port.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,

    /// The varnishd to run.
    #[arg(long, value_name = "PATH", default_value = "varnishd")]
    pub varnishd: PathBuf,

    /// How long to go on accepting connections after SIGTERM, until everyone has heard that we leave.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub drain_delay: Duration,

    /// Varnish's storage.
    #[arg(long, value_name = "SPEC", default_value = "malloc,256m")]
    pub storage: String,

    /// How log lines look.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Drain and exit also when standard input ends, so as not to outlive the one who started us.
    #[arg(long)]
    pub exit_with_stdin: bool,

    /// Further arguments for varnishd; they win over ours.
    #[arg(last = true, value_name = "VARNISHD ARGS")]
    pub varnishd_args: Vec<OsString>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let options = Options::try_parse_from(["copal-reloader", "--bundle", "b", "--state", "s"]).unwrap();
        assert_eq!(options.admin.to_string(), "127.0.0.1:9000");
        assert_eq!((options.bind.to_string().as_str(), options.port_offset), ("127.0.0.1", 0));
        assert_eq!((options.drain_delay, options.storage.as_str()), (Duration::from_secs(5), "malloc,256m"));
        assert!(!options.exit_with_stdin && options.varnishd_args.is_empty());
    }

    #[test]
    fn what_follows_two_dashes_is_varnishds() {
        let arguments =
            ["x", "--bundle", "b", "--state", "s", "--drain-delay", "0.5", "--", "-p", "vsl_space=80m"];
        let options = Options::try_parse_from(arguments).unwrap();
        assert_eq!(options.varnishd_args, ["-p", "vsl_space=80m"]);
        assert_eq!(options.drain_delay, Duration::from_millis(500));
        assert!(
            Options::try_parse_from(["x", "--bundle", "b", "--state", "s", "--drain-delay", "-1"]).is_err()
        );
    }
}
