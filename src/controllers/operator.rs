//! `copal operator`: all of it, from the start to SIGTERM.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use super::data_planes::{DataPlanes, Tools};
use super::engine::{Engine, Input};
use super::events::Announcer;
use super::http::{Sources, router};
use super::lead::Lead;
use super::metrics::Metrics;
use super::readiness::Readiness;
use super::watches;
use super::writer::Writer;
use crate::infra;
use crate::telemetry::{LogFormat, http as endpoints};
use crate::translate::{Addressing, CONTROLLER_NAME, Settings};

/// How long giving back the lease may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

/// What `copal operator` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where to answer /healthz, /readyz and /metrics.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8081")]
    admin: SocketAddr,
    /// The image of data planes whose GatewayClassParameters name none.
    #[arg(long, value_name = "IMAGE", env = "COPAL_DATA_PLANE_IMAGE")]
    data_plane_image: String,
    /// The namespace of the leader's lease.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "copal-system")]
    lease_namespace: String,
    /// Who we are to other operators.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "copal-operator")]
    identity: String,
    /// GatewayClasses with this `spec.controllerName` are ours.
    #[arg(long, value_name = "NAME", default_value = CONTROLLER_NAME)]
    controller_name: String,
    /// How log lines on standard error look.
    #[arg(long, value_enum, default_value = "json")]
    pub log_format: LogFormat,
}

/// Why the operator cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The admin address is not to be had.
    #[error("cannot listen on the admin address {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no API server that we could talk to.
    #[error("cannot find the API server: neither in a cluster nor with a kubeconfig")]
    Client(#[source] Box<kube::Error>),
    /// The lease cannot be made or read.
    #[error("cannot follow the leader's lease in namespace {namespace}")]
    Lease {
        /// Its namespace.
        namespace: String,
        /// Why not.
        #[source]
        source: Box<kube_lease_manager::LeaseManagerError>,
    },
    /// Another operator leads now.
    #[error("another operator has taken the lease; ending, to start anew and stand by")]
    LostLease,
    /// Signals.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or another operator has taken over.
pub async fn run(options: Options) -> Result<(), OperatorError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(OperatorError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(OperatorError::Signals)?;
    let client = Client::try_default().await.map_err(|error| OperatorError::Client(Box::new(error)))?;
    let admin = options.admin;
    let listener = endpoints::bind(admin).await;
    let listener = listener.map_err(|source| OperatorError::Admin { address: admin, source })?;
    let (inputs, received) = mpsc::unbounded_channel();
    let (engine, sources) = assemble(&options, &client, &inputs);
    tokio::spawn(endpoints::serve(listener, router(sources)));
    for source in watches::sources() {
        tokio::spawn(watches::follow(client.clone(), source, inputs.clone()));
    }
    let namespace = options.lease_namespace.clone();
    let lead = Lead::follow(client, &namespace, &options.identity).await;
    let lead = lead.map_err(|source| OperatorError::Lease { namespace, source: Box::new(source) })?;
    let lost = tell_lead(lead.leads.clone(), inputs);
    info!(%admin, identity = options.identity, "operator started");
    let ended = tokio::select! {
        () = engine.run(received) => Ok(()),
        () = lost => Err(OperatorError::LostLease),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    info!("operator ends; data planes go on serving");
    if timeout(RELEASE_LIMIT, lead.release()).await.is_err() {
        warn!("could not give the lease back; the next operator has to wait for its end");
    }
    ended
}

fn assemble(options: &Options, client: &Client, inputs: &mpsc::UnboundedSender<Input>) -> (Engine, Sources) {
    let settings = settings(&options.controller_name);
    let infra = infra::Settings { image: options.data_plane_image.clone() };
    let tools = Tools { client: client.clone(), settings: infra, inputs: inputs.clone() };
    let announcer = Arc::new(Announcer::new(client.clone()));
    let writer = Writer { client: client.clone(), announcer };
    let (readiness, metrics) = (Readiness::default(), Arc::new(Metrics::default()));
    let sources = Sources { ready: readiness.flag(), metrics: Arc::clone(&metrics) };
    let planes = DataPlanes::new(tools);
    (Engine::new(writer, settings, planes, readiness, metrics, inputs.clone()), sources)
}

/// What translations of a cluster's resources depend on.
#[must_use]
pub fn settings(controller_name: &str) -> Settings {
    Settings {
        controller_name: controller_name.to_owned(),
        addressing: Addressing::PerGateway,
        reserved_ports: infra::RESERVED_PORTS,
        ..Settings::default()
    }
}

/// Tells the engine when it may write; ends when it may not any more.
async fn tell_lead(mut leads: tokio::sync::watch::Receiver<bool>, inputs: mpsc::UnboundedSender<Input>) {
    if leads.wait_for(|leads| *leads).await.is_err() {
        return std::future::pending().await;
    }
    info!("this operator leads");
    // If the engine has ended, nobody needs to know.
    let _ = inputs.send(Input::Leads);
    if leads.wait_for(|leads| !*leads).await.is_err() {
        std::future::pending::<()>().await;
    }
}
