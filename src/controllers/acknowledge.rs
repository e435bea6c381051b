//! Asks a data plane's pods whether they serve what was published.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::world::Pod;
use crate::bundle::Bundle;
use crate::reloader_client::{Progress, ReloaderClient, VclError, undone_by_relay};
use crate::status::Programmed;

/// The pause before pods that do not serve it yet are asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long one pod may hold up what is said of the others.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often pods that do serve it are asked again: one may have been restarted.
const CHECK: Duration = Duration::from_secs(30);

/// What the pods say of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The revision that they were asked about.
    pub revision: String,
    /// How many serve it.
    pub serving: usize,
    /// How many there are that get traffic.
    pub ready: usize,
    /// How many there are.
    pub pods: usize,
    /// What the first of them that refused a part of it says.
    pub refused: Option<String>,
}

/// What pods are asked about, and which there are.
#[derive(Clone, Debug)]
pub struct Question {
    /// What was published last; none before the first time.
    pub published: watch::Receiver<Option<Arc<Bundle>>>,
    /// The pods.
    pub pods: watch::Receiver<Vec<Pod>>,
    /// Where reloaders answer.
    pub port: u16,
}

impl Acknowledged {
    /// What this means for the Gateway.
    #[must_use]
    pub fn programmed(&self) -> Programmed {
        let Self { serving, ready, pods, .. } = self;
        match &self.refused {
            Some(message) => Programmed::Failed(message.clone()),
            None if *pods == 0 => Programmed::Pending("no pod of the data plane runs yet".into()),
            None if *serving == 0 || serving < ready => {
                Programmed::Pending(format!("{serving} of {pods} pods serve this configuration"))
            }
            None => Programmed::Yes,
        }
    }
}

/// Asks again and again, and tells each answer that is a new one. Ends when there is nobody to tell.
pub async fn acknowledge(mut question: Question, told: impl Fn(Acknowledged)) {
    let mut clients = BTreeMap::new();
    let mut last = None;
    loop {
        let bundle = question.published.borrow_and_update().clone();
        let pods = question.pods.borrow_and_update().clone();
        let mut pause = CHECK;
        if let Some(bundle) = bundle {
            clients.retain(|address, _| pods.iter().any(|pod| pod.address == *address));
            for pod in &pods {
                let address = SocketAddr::new(pod.address, question.port);
                clients.entry(pod.address).or_insert_with(|| ReloaderClient::new(address));
            }
            let asked = ask(&bundle, &pods, &clients);
            let answer = tokio::select! {
                biased;
                ended = changed(&mut question) => if ended { return } else { continue },
                answer = asked => answer,
            };
            pause = if answer.serving < answer.pods || answer.pods == 0 { AGAIN } else { CHECK };
            if last.as_ref() != Some(&answer) {
                told(answer.clone());
                last = Some(answer);
            }
        }
        tokio::select! {
            ended = changed(&mut question) => if ended { return },
            () = sleep(pause) => {}
        }
    }
}

/// Waits for another question; true if there will be none.
async fn changed(question: &mut Question) -> bool {
    tokio::select! {
        it = question.published.changed() => it.is_err(),
        it = question.pods.changed() => it.is_err(),
    }
}

/// Each reloader holds its answer back until it has something to say of the revision.
async fn ask(bundle: &Bundle, pods: &[Pod], clients: &BTreeMap<IpAddr, ReloaderClient>) -> Acknowledged {
    let manifest = &bundle.manifest;
    let answers = pods.iter().filter_map(|pod| {
        let client = clients.get(&pod.address)?;
        let answer = timeout(PATIENCE, client.wait_for(&manifest.revision));
        Some(async move { answer.await.ok()?.ok().map(|it| it.progress(manifest)) })
    });
    let answers = join_all(answers).await;
    let refused = answers.iter().flatten().find_map(|it| match it {
        Progress::Refused(errors) => errors.first().map(|error| refusal(error, bundle)),
        Progress::Partly(undone) => Some(undone_by_relay(undone)),
        Progress::Served | Progress::Pending => None,
    });
    Acknowledged {
        revision: manifest.revision.clone(),
        serving: answers.iter().filter(|it| **it == Some(Progress::Served)).count(),
        ready: pods.iter().filter(|pod| pod.ready).count(),
        pods: pods.len(),
        refused,
    }
}

/// What Varnish has against a bundle, and what happens meanwhile.
fn refusal(error: &VclError, bundle: &Bundle) -> String {
    if let Some(complaint) = error.in_user_vcl(bundle) {
        return complaint;
    }
    let line = error.line.map(|line| format!(" line {line}")).unwrap_or_default();
    let file = error.file.as_deref().unwrap_or("a VCL");
    format!(
        "Varnish refuses {file}{line}: {}; the last good configuration of that part serves on",
        error.message
    )
}
