//! Reading central through the peer, and the thread that does it so that the gateway never waits.

use super::{ResolveError, bundle};
use crate::link::{CentralAnswer, CentralError, Link};
use fullmetal::identity::SharedTrust;
use fullmetal_proto::dispatch::PartWish;
use fullmetal_proto::wire::Bundle;
use fullmetal_proto::wire::local::{CentralObject, ToPeer};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How long one object may take.
const ANSWER: Duration = Duration::from_secs(60);

/// Something that reads small objects at central.
pub trait Central {
    /// The object's bytes; nothing is verified.
    fn get(&mut self, object: &CentralObject) -> Result<Vec<u8>, CentralError>;
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
    fn get(&mut self, object: &CentralObject) -> Result<Vec<u8>, CentralError> {
        while self.answers.try_recv().is_ok() {}
        let gone = || CentralError::Unreachable("the gateway has no connection to its peer".into());
        if !self.link.send(ToPeer::Central(object.clone()), None) {
            return Err(gone());
        }
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some((answered, result))) if answered == *object => return result,
                Ok(Some(_)) => {}
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {
                    let reason = format!("the peer gave no answer within {} s", ANSWER.as_secs());
                    return Err(CentralError::Unreachable(reason));
                }
            }
        }
    }
}

/// A bundle that was made or not, for an action.
pub type Resolution = (u64, Result<Bundle, ResolveError>);

/// The thread that makes bundles, one after another.
#[derive(Debug)]
pub struct Resolver {
    jobs: Sender<(u64, Vec<PartWish>)>,
}

impl Resolver {
    /// Starts it; results go to `results`.
    pub fn start<E: From<Resolution> + Send + 'static>(
        mut central: impl Central + Send + 'static,
        trust: SharedTrust,
        results: Sender<E>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel::<(u64, Vec<PartWish>)>();
        std::thread::spawn(move || {
            for (action, parts) in queue {
                let result = bundle(&mut central, &trust.get(), &parts);
                if results.send(E::from((action, result))).is_err() {
                    return;
                }
            }
        });
        Resolver { jobs }
    }

    /// Queues an action's bundle.
    pub fn make(&self, action: u64, parts: Vec<PartWish>) {
        let _ = self.jobs.send((action, parts));
    }
}
