//! The leader's lease: one operator writes, the others watch and stand by.

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The name of the Lease.
const LEASE: &str = "copal-operator";
/// Seconds for which a leader that does not renew its lease is believed to be alive.
const DURATION: u64 = 15;
/// Seconds before that at which it is renewed.
const GRACE: u64 = 5;

/// What follows the lease, and how it ends.
pub(super) struct Lead {
    /// Whether we hold it.
    pub leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Lead {
    /// Takes the lease as soon as it is free.
    pub(super) async fn follow(
        client: Client,
        namespace: &str,
        identity: &str,
    ) -> Result<Self, LeaseManagerError> {
        let builder = LeaseManagerBuilder::new(client, LEASE).with_namespace(namespace);
        let builder = builder.with_identity(identity).with_duration(DURATION).with_grace(GRACE);
        let (leads, task) = builder.build().await?.watch().await;
        Ok(Self { leads, task })
    }

    /// Gives the lease back, so that another operator need not wait for its end.
    pub(super) async fn release(self) {
        drop(self.leads);
        // The process ends; whether the lease could be given back only decides how soon the next one leads.
        let _ = self.task.await;
    }
}
