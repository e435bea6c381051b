//! Writes statuses, and tells people what they should notice.

use std::error::Error;
use std::sync::Arc;

use kube::Client;
use kube::api::DynamicObject;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use super::apply::write_status;
use super::engine::Input;
use super::events::{Announcer, notable};
use super::outbox::{Job, Written};

/// What it takes to write.
#[derive(Clone)]
pub struct Writer {
    /// The API server.
    pub client: Client,
    /// Who tells people.
    pub announcer: Arc<Announcer>,
}

/// A write that has ended.
#[derive(Debug)]
pub struct Wrote {
    /// What was to be written.
    pub job: Job,
    /// How it ended.
    pub outcome: Written,
    /// The object after it.
    pub object: Option<DynamicObject>,
}

/// Writes one status and tells how that ended.
pub async fn write(writer: Writer, job: Job, inputs: UnboundedSender<Input>) {
    let (outcome, object) = match write_status(writer.client.clone(), &job).await {
        Ok(object) => (Written::Done, Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => (Written::Gone, None),
        Err(kube::Error::Api(status)) if status.code == 409 => (Written::Failed, None),
        Err(error) => {
            warn!(object = %job.id, error = &error as &dyn Error, "cannot write a status; trying again");
            (Written::Failed, None)
        }
    };
    let notices = notable(job.before.as_ref(), &job.status);
    let notable = object.as_ref().filter(|_| !notices.is_empty()).cloned();
    let kind = job.id.kind;
    // If the engine has ended, nobody needs to know.
    let _ = inputs.send(Input::Wrote(Box::new(Wrote { job, outcome, object })));
    if let Some(object) = notable {
        writer.announcer.announce(&object, kind, notices).await;
    }
}
