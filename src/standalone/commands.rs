//! The commands that look at a folder once: `render`, `status`, `explain`.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::bundle_dir::{BundleDir, BundleDirError};
use super::chain;
use super::cli::{CrdsArgs, ExplainArgs, ExplainFormat, FolderArgs, RenderArgs, StatusArgs};
use super::folder::{FolderError, Hints};
use super::output;
use super::site::Site;
use crate::api::crds;
use crate::bundle::Bundle;
use crate::explain::{self, Request};
use crate::reloader_client::ReloaderClient;
use crate::status::{Context, Programmed};

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The manifests.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder of `--out`.
    #[error(transparent)]
    BundleDir(#[from] BundleDirError),
    /// A file of `--out`.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
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
    let (mut site, code) = read(&args.folder)?;
    let bundle = site.build().bundle;
    match &args.out {
        Some(out) => write(&bundle, out)?,
        None => print(&listing(&bundle))?,
    }
    Ok(code)
}

/// Prints the statuses that the cluster would show.
///
/// # Errors
/// When the folder cannot be read or the result not be written.
pub fn status(args: &StatusArgs) -> Result<ExitCode, CommandError> {
    let (mut site, code) = read(&args.folder)?;
    let outcome = site.build();
    let programmed = programmed(args.admin, &outcome.bundle);
    let context = Context::shared(programmed, Vec::new(), Time(Timestamp::now()));
    let statuses = site.statuses(&outcome.translation, &context);
    print(&output::render(&output::objects(&statuses), args.output).map_err(CommandError::Form)?)?;
    Ok(code)
}

/// Prints the decision for one request, step by step.
///
/// # Errors
/// When the folder cannot be read or the result not be written.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode, CommandError> {
    let (mut site, code) = read(&args.folder)?;
    let translation = site.build().translation;
    let explanation = explain::explain(translation.shared_model(), &request(args));
    match args.output {
        ExplainFormat::Text => print(&explanation.to_string())?,
        ExplainFormat::Json => {
            let json = serde_json::to_string_pretty(&explanation);
            print(&(json.map_err(|error| CommandError::Form(error.to_string()))? + "\n"))?;
        }
    }
    Ok(code)
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
                fs::write(&path, yaml).map_err(|source| CommandError::File { path, source })?;
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
fn request(args: &ExplainArgs) -> Request {
    let port = args.url.port_u16().unwrap_or(80);
    let mut headers = args.headers.clone();
    if headers.iter().all(|(name, _)| name != "host") {
        let host = args.url.authority().map(ToString::to_string).unwrap_or_default();
        headers.push(("host".to_owned(), host));
    }
    Request {
        port: port.checked_sub(args.folder.port_offset).filter(|port| *port > 0).unwrap_or(port),
        method: args.method.to_string(),
        url: args.url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers,
    }
}

/// Malformed manifests are told on standard error and make the command fail after it has printed the rest.
fn read(args: &FolderArgs) -> Result<(Site, ExitCode), CommandError> {
    let mut site = Site::new(&args.dir, args.port_offset);
    site.refresh(&Hints::default())?;
    let problems = site.problems();
    for problem in &problems {
        eprintln!("copal: {problem}");
    }
    Ok((site, if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

fn write(bundle: &Bundle, out: &Path) -> Result<(), CommandError> {
    BundleDir::open(out)?.write(bundle)?;
    Ok(())
}

/// All VCL files one after the other, the root first.
fn listing(bundle: &Bundle) -> String {
    let manifest = &bundle.manifest;
    let root = manifest.root.iter().map(|name| (name, "root".to_owned()));
    let shards = manifest.labels.iter().map(|(label, name)| (name, format!("label {label}")));
    let text = |name| bundle.files.get(name).map(AsRef::as_ref).unwrap_or_default();
    let files = root.chain(shards).map(|(name, role)| format!("# ==> {name}.vcl ({role})\n{}\n", text(name)));
    files.collect::<Vec<_>>().concat()
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

    #[test]
    fn the_listing_has_the_root_first_and_says_what_each_file_is() {
        let shards = [("copal_s1".to_owned(), VclFile::new("s1", "one\n"))].into();
        let bundle = Bundle::new(Vec::new(), VclFile::new("root", "root\n"), shards);
        let (root, shard) = (bundle.manifest.root.clone().unwrap(), &bundle.manifest.labels["copal_s1"]);
        let expected =
            format!("# ==> {root}.vcl (root)\nroot\n\n# ==> {shard}.vcl (label copal_s1)\none\n\n");
        assert_eq!(listing(&bundle), expected);
    }
}
