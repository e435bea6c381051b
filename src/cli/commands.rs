//! The commands that look at a folder or a cluster once: `render`, `status`, `explain`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{CrdsArgs, ExplainArgs, ExplainFormat, RenderArgs, StatusArgs};
use crate::api::crds;
use crate::bundle::Bundle;
use crate::bundle_folder::{BundleFolder, BundleFolderError};
use crate::controllers::cluster::{self, ReadError};
use crate::controllers::operator::settings;
use crate::controllers::world::World;
use crate::explain::{self, Request};
use crate::model::{Model, ObjectKey, Scheme, normalise};
use crate::reloader_client::ReloaderClient;
use crate::standalone::folder::{FolderError, Hints};
use crate::standalone::output;
use crate::standalone::site::Site;
use crate::status::{Context, Programmed};
use crate::telemetry::chain;
use crate::translate::{CONTROLLER_NAME, translate};

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The manifests.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder of `--out`.
    #[error(transparent)]
    BundleFolder(#[from] BundleFolderError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ReadError),
    /// The machinery of asynchronous I/O.
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    /// It is not clear which Gateway is meant.
    #[error("{0}; name one with --gateway")]
    Gateway(String),
    /// A file of `--out`.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Standard output.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// A result that cannot be put into the wanted form.
    #[error("cannot write the result in the wanted form: {0}")]
    Form(String),
}

/// Prints the VCL files, or writes the bundle to a folder.
///
/// # Errors
/// When the folder cannot be read or the result not be written.
pub fn render(args: &RenderArgs) -> Result<ExitCode, CommandError> {
    let (mut site, code) = read(&args.folder.dir, args.folder.port_offset)?;
    let bundle = site.build().bundle;
    match &args.out {
        Some(out) => write(&bundle, out)?,
        None => print(&listing(&bundle)?)?,
    }
    Ok(code)
}

/// Prints the statuses that the cluster would show for a folder, or that a cluster shows.
///
/// # Errors
/// When folder or cluster cannot be read or the result not be written.
pub fn status(args: &StatusArgs) -> Result<ExitCode, CommandError> {
    let (objects, code) = if let Some(dir) = &args.source.dir {
        folder_status(dir, args)?
    } else {
        let (world, code) = read_cluster()?;
        (world.statuses().map(|(id, status)| output::live(id, status)).collect(), code)
    };
    print(&output::render(&objects, args.output).map_err(CommandError::Form)?)?;
    Ok(code)
}

fn folder_status(
    dir: &Path,
    args: &StatusArgs,
) -> Result<(Vec<output::ObjectStatus>, ExitCode), CommandError> {
    let (mut site, code) = read(dir, args.port_offset)?;
    let outcome = site.build();
    let programmed = programmed(args.admin, &outcome.bundle);
    let context = Context::shared(programmed, Vec::new(), Time(Timestamp::now()));
    Ok((output::objects(&site.statuses(&outcome.translation, &context)), code))
}

/// Prints the decision for one request, step by step.
///
/// # Errors
/// When folder or cluster cannot be read or the result not be written, and when it is not clear which Gateway of a
/// cluster is meant.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode, CommandError> {
    let (model, request, code) = if let Some(dir) = &args.source.dir {
        let (mut site, code) = read(dir, args.port_offset)?;
        (site.build().translation.shared_model().clone(), request(args, args.port_offset), code)
    } else {
        let (world, code) = read_cluster()?;
        let models = translate(world.snapshot(), &settings(CONTROLLER_NAME)).models;
        let request = request(args, 0);
        (choose(models, args.gateway.as_ref(), &request)?, request, code)
    };
    let explanation = explain::explain(&model, &request);
    match args.output {
        ExplainFormat::Text => print(&explanation.to_string())?,
        ExplainFormat::Json => {
            let json = serde_json::to_string_pretty(&explanation);
            print(&(json.map_err(|error| CommandError::Form(error.to_string()))? + "\n"))?;
        }
    }
    Ok(code)
}

/// The Gateway that is named, or the only one that has a listener for the request.
fn choose(
    mut models: BTreeMap<ObjectKey, Model>,
    named: Option<&ObjectKey>,
    request: &Request,
) -> Result<Model, CommandError> {
    let host = normalise(request.host());
    if let Some(named) = named {
        let unknown =
            || CommandError::Gateway(format!("Gateway {named} is not there, or not served by Copal"));
        return models.remove(named).ok_or_else(unknown);
    }
    if models.len() > 1 {
        models.retain(|_, model| model.virtual_host(request.port, &host).is_some());
    }
    let keys: Vec<String> = models.keys().map(ToString::to_string).collect();
    let mut models = models.into_values();
    match (models.next(), models.next()) {
        (Some(model), None) => Ok(model),
        (Some(_), Some(_)) => {
            Err(CommandError::Gateway(format!("several Gateways have this host: {}", keys.join(", "))))
        }
        (None, _) => Err(CommandError::Gateway("no Gateway has a listener for this host and port".into())),
    }
}

/// The cluster; what of it cannot be read is told on standard error.
fn read_cluster() -> Result<(World, ExitCode), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut code = ExitCode::SUCCESS;
    let read = cluster::read(|problem| {
        eprintln!("copal: {problem}");
        code = ExitCode::FAILURE;
    });
    let world = runtime.map_err(CommandError::Runtime)?.block_on(read)?;
    Ok((world, code))
}

/// Prints the CustomResourceDefinitions as YAML documents, or writes a file for each.
///
/// # Errors
/// When the result cannot be written.
pub fn crds(args: &CrdsArgs) -> Result<ExitCode, CommandError> {
    for crd in crds::all() {
        let yaml = serde_saphyr::to_string(&crd.value);
        let yaml = yaml.map_err(|error| CommandError::Form(error.to_string()))?;
        match &args.out {
            Some(out) => {
                let path = out.join(format!("{}.yaml", crd.name));
                std::fs::write(&path, yaml).map_err(|source| CommandError::Write { path, source })?;
            }
            None => print(&["---\n", &yaml].concat())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a running reloader says about a bundle.
fn programmed(reloader: Option<SocketAddr>, bundle: &Bundle) -> Programmed {
    let Some(address) = reloader else {
        return Programmed::Pending("no Varnish was asked: see --admin".into());
    };
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(ReloaderClient::new(address).wait_for(&bundle.manifest.revision)));
    match asked {
        Ok(Ok(status)) => status.programmed(bundle),
        Ok(Err(error)) => Programmed::Pending(chain(&error)),
        Err(error) => Programmed::Pending(error.to_string()),
    }
}

/// The request that a URL and its options stand for. The URL has the port that clients connect to; a port below
/// the offset is taken as a listener's own.
fn request(args: &ExplainArgs, port_offset: u16) -> Request {
    let scheme = if args.url.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let port = args.url.port_u16().unwrap_or(scheme.default_port());
    let mut headers = args.headers.clone();
    if headers.iter().all(|(name, _)| name != "host") {
        let host = args.url.authority().map(ToString::to_string).unwrap_or_default();
        headers.push(("host".to_owned(), host));
    }
    Request {
        scheme,
        port: port.checked_sub(port_offset).filter(|port| *port > 0).unwrap_or(port),
        method: args.method.to_string(),
        url: args.url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers,
    }
}

/// Malformed manifests are told on standard error and make the command fail after it has printed the rest.
fn read(dir: &Path, port_offset: u16) -> Result<(Site, ExitCode), CommandError> {
    let mut site = Site::new(dir, port_offset);
    site.refresh(&Hints::default())?;
    let problems = site.problems();
    for problem in &problems {
        eprintln!("copal: {problem}");
    }
    Ok((site, if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

fn write(bundle: &Bundle, out: &Path) -> Result<(), CommandError> {
    BundleFolder::open(out)?.write(bundle)?;
    Ok(())
}

/// All VCL files one after the other, the root first; then what the relay has to do, if there is something.
fn listing(bundle: &Bundle) -> Result<String, CommandError> {
    let manifest = &bundle.manifest;
    let root = manifest.root.iter().map(|name| (name, "root".to_owned()));
    let shards = manifest.labels.iter().map(|(label, name)| (name, format!("label {label}")));
    let text = |name| bundle.files.get(name).map(AsRef::as_ref).unwrap_or_default();
    let files = root.chain(shards).map(|(name, role)| format!("# ==> {name}.vcl ({role})\n{}\n", text(name)));
    let relay = manifest.relay.as_ref().map(serde_json::to_string_pretty).transpose();
    let relay = relay.map_err(|error| CommandError::Form(error.to_string()))?;
    let relay = relay.map(|json| format!("# ==> relay\n{json}\n"));
    Ok(files.chain(relay).collect())
}

/// A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::VclFile;
    use crate::bundle::relay::{Certificates, Relay, TlsListener};

    #[test]
    fn the_listing_has_the_root_first_and_says_what_each_file_is() {
        let shards = [("copal_s1".to_owned(), VclFile::new("s1", "one\n"))].into();
        let bundle = Bundle::new(Vec::new(), VclFile::new("root", "root\n"), shards);
        let (root, shard) = (bundle.manifest.root.clone().unwrap(), &bundle.manifest.labels["copal_s1"]);
        let expected =
            format!("# ==> {root}.vcl (root)\nroot\n\n# ==> {shard}.vcl (label copal_s1)\none\n\n");
        assert_eq!(listing(&bundle).unwrap(), expected);
        let relay = Relay { listen: [(443, TlsListener::default())].into(), ..Relay::default() };
        let listing = listing(&bundle.with_relay(Some(relay), Certificates::new())).unwrap();
        let (vcl, json) = listing.split_once("# ==> relay\n").unwrap();
        assert_eq!(vcl, expected);
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json, serde_json::json!({"listen": {"443": {"certificates": {}}}}));
    }
}
