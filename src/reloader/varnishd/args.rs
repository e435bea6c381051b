//! varnishd's command line. Pure: what is found out about the machine comes in as arguments.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::bundle::ListenSocket;

use super::user::{self, LEAST_TIMEOUT_IDLE};

/// Why varnishd cannot be started like that.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ArgsError {
    /// The reloader sets this option.
    #[error("varnishd's option -{0} is set by copal-reloader and cannot be given after `--`")]
    Reserved(char),
    /// Not an option at all.
    #[error("{0:?} after `--` is not an option of varnishd")]
    NotAnOption(String),
    /// A `timeout_idle` that generated VCL would take for draining.
    #[error(
        "`-p timeout_idle={0}`: it must be at least {LEAST_TIMEOUT_IDLE} s, since less is how VCL knows that we drain"
    )]
    TimeoutIdle(String),
    /// The reloader must be able to set this parameter.
    #[error("`-r {0}`: timeout_idle must not be read-only, since setting it is how we drain")]
    ReadOnly(String),
    /// No such port.
    #[error("listener port {port} plus offset {offset} is more than 65535")]
    Port {
        /// The listener's port.
        port: u16,
        /// `--port-offset`.
        offset: u16,
    },
    /// The system has no such long addresses.
    #[error(
        "the socket {} is {} bytes long, more than the {LONGEST_SOCKET} that Linux allows: use a shorter --state",
        .0.display(), .0.as_os_str().len()
    )]
    SocketPath(PathBuf),
}

/// The longest path of a socket: the size of `sun_path` in unix(7), less the zero at its end.
const LONGEST_SOCKET: usize = 107;
/// What VCL knows the relay's socket by (`local.socket`).
const RELAY: &str = "relay";

/// A release of Varnish, as far as behaviour depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 7 in 7.1.2.
    pub major: u32,
    /// 1 in 7.1.2.
    pub minor: u32,
    /// 2 in 7.1.2.
    pub patch: u32,
}

/// From here on `vcc_err_unref` is a bit of `vcc_feature`.
const VCC_FEATURE: Version = Version { major: 7, minor: 2, patch: 0 };

impl Version {
    /// Reads the output of `varnishd -V`, as in `varnishd (varnish-7.1.1 revision 7cee1c58)`.
    #[must_use]
    pub fn parse(output: &str) -> Option<Self> {
        let (_, rest) = output.split_once("varnish-")?;
        let number = rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        let mut parts = number.split('.').map(str::parse);
        let mut part = || parts.next()?.ok();
        Some(Self { major: part()?, minor: part()?, patch: part().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What compiles VCL's C code. The choice matters for load times only (docs/reloader.md), not for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// tcc with ld: some 30 ms a shard.
    Tcc,
    /// clang without optimization: some 300 ms.
    Clang,
    /// gcc without optimization: some 300 ms.
    Gcc,
    /// Whatever varnishd was built to use.
    Builtin,
}

impl Compiler {
    /// The best of those that are there.
    pub fn choose(is_there: impl Fn(&str) -> bool) -> Self {
        match () {
            () if is_there("tcc") && is_there("ld") => Self::Tcc,
            () if is_there("clang") => Self::Clang,
            () if is_there("gcc") => Self::Gcc,
            () => Self::Builtin,
        }
    }

    /// The parameter `cc_command`. tcc alone would link objects that want an executable stack, which makes
    /// every stack executable with older C libraries and is refused by newer ones; hence ld.
    #[must_use]
    pub fn command(self) -> Option<&'static str> {
        match self {
            Self::Tcc => Some("tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o"),
            Self::Clang => Some("exec clang -O0 -w -pthread -fpic -shared -o %o %s"),
            Self::Gcc => Some("exec gcc -O0 -w -pthread -fpic -shared -o %o %s"),
            Self::Builtin => None,
        }
    }
}

/// All that the command line depends on.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// varnishd's release; none if it could not be told, which counts as the newest.
    pub version: Option<Version>,
    /// What compiles VCL.
    pub compiler: Compiler,
    /// varnishd's working directory, absolute.
    pub workdir: &'a Path,
    /// The file with the CLI's secret, absolute: varnishd changes its directory.
    pub secret: &'a Path,
    /// Where the relay hands connections over, absolute.
    pub relay_socket: &'a Path,
    /// Where we wait for varnishd's CLI connection.
    pub master: SocketAddr,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Added to each port.
    pub port_offset: u16,
    /// Storage, unless the user's arguments name one.
    pub storage: &'a str,
    /// Sockets to listen on.
    pub listen: &'a [ListenSocket],
    /// What of the shared log is masked; none leaves it to varnishd.
    pub mask: Option<&'a str>,
    /// Whether we run as root, so that varnishd can confine itself with its own users.
    pub is_root: bool,
    /// The user's further arguments.
    pub user: &'a [OsString],
}

/// The address that a listener's socket gets.
///
/// # Errors
/// When there is no such port.
pub fn address(bind: IpAddr, port: u16, offset: u16) -> Result<SocketAddr, ArgsError> {
    let port = port.checked_add(offset).ok_or(ArgsError::Port { port, offset })?;
    Ok(SocketAddr::new(bind, port))
}

/// varnishd's arguments. The user's come last: of a parameter that is given twice the last one counts.
///
/// # Errors
/// When the user's arguments would take varnishd out of our hands, or a port is out of range.
pub fn arguments(launch: &Launch<'_>) -> Result<Vec<OsString>, ArgsError> {
    let user = user::options(launch.user)?;
    user::check(&user)?;
    let has = |option| user.iter().any(|(found, _)| *found == option);
    let mut args = Args::default();
    args.flag("-F").pair("-f", "").pair("-n", launch.workdir).pair("-S", launch.secret);
    args.pair("-M", launch.master.to_string());
    for ListenSocket { name, port } in launch.listen {
        let address = address(launch.bind, *port, launch.port_offset)?;
        args.pair("-a", format!("{name}={address},HTTP"));
    }
    args.pair("-a", relay_socket(launch.relay_socket)?);
    if !has('s') {
        // A second -s would add a storage, not replace the first.
        args.pair("-s", launch.storage);
    }
    if !launch.is_root && !has('j') {
        args.pair("-j", "none");
    }
    for parameter in parameters(launch) {
        args.pair("-p", parameter);
    }
    args.0.extend(launch.user.iter().cloned());
    Ok(args.0)
}

/// The socket is always there, so that a first TLS listener needs no restart. Its mode keeps others out whatever
/// folder it is in; varnishd binds it before it gives root up.
fn relay_socket(path: &Path) -> Result<OsString, ArgsError> {
    if path.as_os_str().len() > LONGEST_SOCKET {
        return Err(ArgsError::SocketPath(path.to_owned()));
    }
    let mut argument = OsString::from(format!("{RELAY}="));
    argument.push(path);
    argument.push(",PROXY,mode=600");
    Ok(argument)
}

/// Parameters in which a gateway differs from Varnish's defaults.
fn parameters(launch: &Launch<'_>) -> Vec<String> {
    let err_unref = match launch.version {
        Some(version) if version < VCC_FEATURE => "vcc_err_unref=off",
        Some(_) | None => "vcc_feature=-err_unref",
    };
    let mut parameters: Vec<String> = [
        // Hundreds of shards, each in two versions while it changes; loading more only warns, but each time.
        "max_vcl=100000",
        // Listings and compiler messages are to arrive whole.
        "cli_limit=1m",
        // Nothing is cached unless the response or a policy says so.
        "default_ttl=0",
        "default_grace=0",
        "default_keep=0",
        "feature=+http2",
        // Generated VCL may declare a backend that no route uses at the moment.
        err_unref,
        "timeout_idle=60",
        // A route's own number of attempts counts, in VCL; this is only the roof over it.
        "max_retries=50",
        "vsl_space=8m",
        // The default cuts URLs and headers of the access log at 255 bytes.
        "vsl_reclen=4084",
        "http_max_hdr=128",
        // selector, directors and regular expressions nest deeper than the default of 80k was made for.
        "thread_pool_stack=160k",
    ]
    .map(str::to_owned)
    .into();
    parameters.extend(launch.mask.map(|mask| format!("vsl_mask={mask}")));
    parameters.extend(launch.compiler.command().map(|command| format!("cc_command={command}")));
    parameters
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(option.into());
        self.0.push(value.as_ref().to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch<'a>(user: &'a [OsString], listen: &'a [ListenSocket]) -> Launch<'a> {
        Launch {
            version: Version::parse("varnishd (varnish-7.1.1 revision 7cee1c58)"),
            compiler: Compiler::Tcc,
            workdir: Path::new("/s/varnish"),
            secret: Path::new("/s/secret"),
            relay_socket: Path::new("/s/relay/varnish"),
            master: SocketAddr::from(([127, 0, 0, 1], 4000)),
            bind: IpAddr::from([127, 0, 0, 1]),
            port_offset: 8000,
            storage: "malloc,256m",
            listen,
            mask: Some("-ReqURL"),
            is_root: false,
            user,
        }
    }

    fn user(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(Into::into).collect()
    }

    fn line(launch: &Launch<'_>) -> String {
        let args = arguments(launch).unwrap();
        args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_command_line_is_this() {
        let listen = [80, 8443].map(|port| ListenSocket { name: format!("http-{port}"), port });
        let user = user(&["-p", "vsl_space=80m"]);
        assert_eq!(
            line(&launch(&user, &listen)),
            "-F -f  -n /s/varnish -S /s/secret -M 127.0.0.1:4000 \
             -a http-80=127.0.0.1:8080,HTTP -a http-8443=127.0.0.1:16443,HTTP \
             -a relay=/s/relay/varnish,PROXY,mode=600 -s malloc,256m -j none \
             -p max_vcl=100000 -p cli_limit=1m -p default_ttl=0 -p default_grace=0 -p default_keep=0 \
             -p feature=+http2 -p vcc_err_unref=off -p timeout_idle=60 -p max_retries=50 -p vsl_space=8m \
             -p vsl_reclen=4084 -p http_max_hdr=128 -p thread_pool_stack=160k -p vsl_mask=-ReqURL -p cc_command=tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o \
             -p vsl_space=80m"
        );
    }

    #[test]
    fn root_leaves_the_jail_to_varnishd() {
        let nothing = user(&[]);
        assert!(!line(&Launch { is_root: true, ..launch(&nothing, &[]) }).contains("-j"));
    }

    #[test]
    fn the_users_storage_and_jail_replace_ours() {
        let user = user(&["-s", "file,/x,1g", "-jsolaris"]);
        let line = line(&launch(&user, &[]));
        assert!(!line.contains("malloc") && !line.contains("-j none"), "{line}");
        assert!(line.ends_with("-s file,/x,1g -jsolaris"));
    }

    #[test]
    fn ipv6_addresses_are_bracketed() {
        let listen = [ListenSocket { name: "a".into(), port: 80 }];
        let nothing = user(&[]);
        let launch = Launch { bind: "::1".parse().unwrap(), ..launch(&nothing, &listen) };
        assert!(line(&launch).contains("-a a=[::1]:8080,HTTP"));
    }

    #[test]
    fn the_unref_parameter_follows_the_release() {
        let nothing = user(&[]);
        for (release, parameter) in [
            ("varnish-7.1.1", "vcc_err_unref=off"),
            ("varnish-7.7.0", "vcc_feature=-err_unref"),
            ("?", "vcc_feature=-err_unref"),
        ] {
            let line = line(&Launch { version: Version::parse(release), ..launch(&nothing, &[]) });
            assert!(line.contains(parameter), "{release}: {line}");
        }
    }

    #[test]
    fn a_port_beyond_the_last_is_an_error() {
        let listen = [ListenSocket { name: "a".into(), port: 65_000 }];
        let nothing = user(&[]);
        let error = arguments(&launch(&nothing, &listen)).unwrap_err();
        assert_eq!(error.to_string(), "listener port 65000 plus offset 8000 is more than 65535");
    }

    #[test]
    fn a_socket_that_linux_cannot_have_is_an_error() {
        let nothing = user(&[]);
        let path = |length| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        for (length, fits) in [(LONGEST_SOCKET, true), (LONGEST_SOCKET + 1, false)] {
            let outcome = arguments(&Launch { relay_socket: &path(length), ..launch(&nothing, &[]) });
            assert_eq!(outcome.is_ok(), fits, "{outcome:?}");
        }
    }

    #[test]
    fn tcc_needs_ld() {
        let choose = |there: &[&str]| Compiler::choose(|name| there.contains(&name));
        assert_eq!(choose(&["tcc", "ld", "gcc"]), Compiler::Tcc);
        assert_eq!(choose(&["tcc", "gcc"]), Compiler::Gcc);
        assert_eq!(choose(&["clang", "gcc", "ld"]), Compiler::Clang);
        assert_eq!(choose(&[]), Compiler::Builtin);
    }
}
