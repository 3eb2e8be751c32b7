//! The thread for the object store: one job at a time, in order.

use super::cached::Unknown;
use super::checkouts::Checkouts;
use super::judge::JudgedParts;
use super::link::Link;
use super::{Event, cached, containers, fetch, foreign, needs, space};
use crate::config::Paths;
use crate::host::{App, AppHost};
use crate::local::Packet;
use crate::repo::ObjectStore;
use anyhow::Context as _;
use fullmetal_proto::deploy::{Input, Installed, Move, Ticket};
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{BlobRef, Pieces};
use fullmetal_proto::{AppName, Bitmap, Digest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tracing::warn;

/// One part to fetch: its commit, its manifest by reference and decoded.
#[derive(Clone)]
pub struct Wanted {
    pub commit: Digest,
    pub blob: BlobRef,
    pub pieces: Arc<Pieces>,
}

/// What a running fetch, or a look at the peer's cache, is told.
pub enum FetchEvent {
    /// Have, frame or trouble from the peer.
    Peer(Packet<FromPeer>),
    /// A new peer took the old one's place: ask again.
    PeerIsBack,
    /// Nobody wants it any more.
    Cancel,
}

/// Reaches a fetch that runs or waits for its turn.
pub struct FetchHandle {
    /// Of the effect that asked.
    pub ticket: Ticket,
    events: Sender<FetchEvent>,
}

impl FetchHandle {
    /// Hands an event on; one that comes after the end is dropped.
    pub fn tell(&self, event: FetchEvent) {
        let _ = self.events.send(event);
    }
}

enum Job {
    Space(Ticket, Vec<Wanted>, Receiver<FetchEvent>),
    Fetch(Ticket, Vec<Wanted>, Receiver<FetchEvent>),
    Checkout(Ticket, Vec<Move>),
    Prune(Ticket, Vec<Digest>),
}

/// The deciding thread's end.
pub struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    pub fn start(
        paths: Paths,
        store: Box<dyn ObjectStore>,
        (checkouts, host): (Checkouts, Box<dyn AppHost>),
        link: Link,
        events: Sender<Event>,
    ) -> Self {
        let (jobs, receiver) = channel();
        let mut thread = Thread { paths, store, checkouts, host, link, events };
        std::thread::spawn(move || thread.run(&receiver));
        Worker { jobs }
    }

    fn queue(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// See [`fullmetal_proto::deploy::Effect::CheckSpace`].
    pub fn check_space(&self, ticket: Ticket, moves: &[Move], judged: &JudgedParts) -> FetchHandle {
        let (events, receiver) = channel();
        self.queue(Job::Space(ticket, wanted(moves, judged), receiver));
        FetchHandle { ticket, events }
    }

    /// See [`fullmetal_proto::deploy::Effect::Fetch`].
    pub fn fetch(&self, ticket: Ticket, moves: &[Move], judged: &JudgedParts) -> FetchHandle {
        let (events, receiver) = channel();
        self.queue(Job::Fetch(ticket, wanted(moves, judged), receiver));
        FetchHandle { ticket, events }
    }

    /// See [`fullmetal_proto::deploy::Effect::Checkout`].
    pub fn checkout(&self, ticket: Ticket, moves: Vec<Move>) {
        self.queue(Job::Checkout(ticket, moves));
    }

    /// See [`fullmetal_proto::deploy::Effect::Prune`].
    pub fn prune(&self, ticket: Ticket, commits: Vec<Digest>) {
        self.queue(Job::Prune(ticket, commits));
    }
}

/// The new versions; what leaves has none.
fn coming(moves: &[Move]) -> impl Iterator<Item = (&AppName, &Installed)> {
    moves.iter().filter_map(|m| Some((&m.name, m.new.as_ref()?)))
}

fn wanted(moves: &[Move], judged: &JudgedParts) -> Vec<Wanted> {
    let part = |m: &Move| {
        let commit = m.new.as_ref()?.commit;
        let (blob, pieces) = judged.get(&commit)?;
        Some(Wanted { commit, blob: blob.clone(), pieces: pieces.clone() })
    };
    moves.iter().filter_map(part).collect()
}

struct Thread {
    paths: Paths,
    store: Box<dyn ObjectStore>,
    checkouts: Checkouts,
    host: Box<dyn AppHost>,
    link: Link,
    events: Sender<Event>,
}

impl Thread {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            if let Some(answer) = self.work(job) {
                let _ = self.events.send(Event::Input(answer));
            }
        }
    }

    fn work(&mut self, job: Job) -> Option<Input> {
        Some(match job {
            Job::Space(ticket, wanted, events) => self.space(ticket, &wanted, &events)?,
            Job::Fetch(ticket, wanted, events) => {
                let fetch = fetch::Fetch::new(&self.link, &events, &self.events, ticket);
                match fetch.run(&mut *self.store, &wanted)? {
                    Ok(()) => Input::Imported { ticket },
                    Err(reason) => Input::Failed { ticket, retry: false, reason },
                }
            }
            Job::Checkout(ticket, moves) => {
                let made = containers::patiently(containers::AWAY_PAUSE, || self.check_out(&moves));
                let ends = |name: &AppName, new: &Installed| foreign::ends_by_itself(&self.paths, name, &new.commit);
                let jobs = coming(&moves).filter(|(name, new)| ends(name, new)).map(|(name, _)| name.clone()).collect();
                answer(ticket, Input::CheckedOut { ticket, jobs, os: None }, made)
            }
            Job::Prune(ticket, commits) => {
                let pruned = self.checkouts.prune(&mut *self.store, &commits);
                if let Err(error) = &pruned {
                    warn!(error = format!("{error:#}"), "not pruned");
                }
                answer(ticket, Input::Pruned { ticket }, pruned)
            }
        })
    }

    /// Checks every new version out beside what runs, and sees that all of them can be started here, as the policy
    /// and what they need of one another stand, and that nothing leaves that something else requires.
    fn check_out(&mut self, moves: &[Move]) -> anyhow::Result<()> {
        for (name, new) in coming(moves) {
            let made = self.checkouts.make(&*self.store, name, &new.commit);
            made.with_context(|| format!("checking out {name} {}", new.version))?;
        }
        needs::in_order(&self.paths, moves)?;
        for (name, new) in coming(moves) {
            self.host
                .prepare(&App::of(name, new))
                .with_context(|| format!("{name} {} is not installed", new.version))?;
        }
        Ok(())
    }

    /// The peer is asked for what it has only where that makes a difference. `None` when it was cancelled.
    fn space(&self, ticket: Ticket, wanted: &[Wanted], events: &Receiver<FetchEvent>) -> Option<Input> {
        if wanted.is_empty() {
            // Apps that leave take none, and may be what a full disk waits for.
            return Some(Input::Fits { ticket, bytes: 0 });
        }
        let check = |cached: &BTreeMap<Digest, Bitmap>| {
            let part = |w: &'_ Wanted| (w.pieces.clone(), cached.get(&w.blob.sha256).cloned());
            let parts: Vec<_> = wanted.iter().map(part).collect();
            let parts: Vec<space::Part<'_>> = parts.iter().map(|(m, have)| (&**m, have.as_ref())).collect();
            space::check(&self.paths, &*self.store, &parts)
        };
        let mut fits = check(&BTreeMap::new());
        if fits.is_err() && space::shares_disk(&self.paths) {
            match cached::pieces(&self.link, events, wanted) {
                Ok(cached) => fits = check(&cached),
                Err(Unknown::Cancelled) => return None,
                Err(Unknown::Silent) => {
                    let reason = fits.err().unwrap_or_default();
                    let reason = format!("{reason}, unless the peer has frames already: it does not say");
                    return Some(Input::Failed { ticket, retry: true, reason });
                }
            }
        }
        Some(match fits {
            Ok(bytes) => Input::Fits { ticket, bytes },
            Err(reason) => Input::Failed { ticket, retry: false, reason },
        })
    }
}

/// The answer to work that either is done or has failed for good.
pub fn answer(ticket: Ticket, done: Input, result: anyhow::Result<()>) -> Input {
    match result {
        Ok(()) => done,
        Err(error) => Input::Failed { ticket, retry: false, reason: format!("{error:#}") },
    }
}
