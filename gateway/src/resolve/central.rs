//! Reading central through the peer, and the thread that does it so that the gateway never waits.

use super::{ResolveError, parts};
use crate::link::{CentralAnswer, CentralError, Link};
use crate::manifests::Manifests;
use fullmetal::identity::SharedTrust;
use fullmetal_proto::AppName;
use fullmetal_proto::dispatch::PartWish;
use fullmetal_proto::wire::Bundle;
use fullmetal_proto::wire::local::{CentralObject, ToPeer};
use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How long an object may let wait for itself.
const ANSWER: Duration = Duration::from_secs(60);

/// Something that reads small objects at central.
pub trait Central {
    /// The bytes of each object, in their order; nothing is verified.
    fn get_all(&mut self, objects: &[CentralObject]) -> Vec<Result<Vec<u8>, CentralError>>;
}

/// Central by way of the peer.
#[derive(Debug)]
pub struct LinkCentral {
    /// Where to ask.
    pub link: Link,
    /// Where the answers come; `None` when the peer went away.
    pub answers: Receiver<Option<CentralAnswer>>,
}

impl Central for LinkCentral {
    fn get_all(&mut self, objects: &[CentralObject]) -> Vec<Result<Vec<u8>, CentralError>> {
        while self.answers.try_recv().is_ok() {}
        let mut found: BTreeMap<CentralObject, Result<Vec<u8>, CentralError>> = BTreeMap::new();
        let asked = objects.iter().all(|object| self.link.send(ToPeer::Central(object.clone()), None));
        let mut trouble = (!asked).then(gone);
        let mut deadline = Instant::now() + ANSWER;
        while trouble.is_none() && objects.iter().any(|object| !found.contains_key(object)) {
            match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some((answered, result))) => {
                    if objects.contains(&answered) {
                        deadline = Instant::now() + ANSWER;
                        found.insert(answered, result);
                    }
                }
                Ok(None) | Err(RecvTimeoutError::Disconnected) => trouble = Some(gone()),
                Err(RecvTimeoutError::Timeout) => {
                    let reason = format!("the peer gave no answer within {} s", ANSWER.as_secs());
                    trouble = Some(CentralError::Unreachable(reason));
                }
            }
        }
        let missing = || Err(trouble.clone().unwrap_or_else(gone));
        objects.iter().map(|object| found.get(object).cloned().unwrap_or_else(missing)).collect()
    }
}

fn gone() -> CentralError {
    CentralError::Unreachable("the gateway has no connection to its peer".into())
}

/// A bundle that was made or not, for an action.
pub type Resolution = (u64, Result<Bundle, ResolveError>);

/// An action whose bundle is to be made, its parts, and what it removes.
type Job = (u64, Vec<PartWish>, Vec<AppName>);

/// The thread that makes bundles, one after another.
#[derive(Debug)]
pub struct Resolver {
    jobs: Sender<Job>,
}

impl Resolver {
    /// Starts it; results go to `results`, derived manifests to `manifests`.
    pub fn start<E: From<Resolution> + Send + 'static>(
        mut central: impl Central + Send + 'static,
        trust: SharedTrust,
        manifests: Manifests,
        results: Sender<E>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (action, wishes, removed) in queue {
                let result = parts(&mut central, &trust.get(), &manifests, &wishes);
                let result = result.map(|parts| Bundle { parts, removed });
                if results.send(E::from((action, result))).is_err() {
                    return;
                }
            }
        });
        Resolver { jobs }
    }

    /// Queues an action's bundle.
    pub fn make(&self, action: u64, parts: Vec<PartWish>, removed: Vec<AppName>) {
        let _ = self.jobs.send((action, parts, removed));
    }
}
