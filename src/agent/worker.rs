//! The thread for slow work: the object store and the containers, one job at a time, in order.

use super::apps::Apps;
use super::judge::JudgedParts;
use super::link::Link;
use super::{Event, fetch, space};
use crate::config::Paths;
use crate::host::{SupervisorHost, SupervisorOptions};
use crate::local::Packet;
use crate::repo::ObjectStore;
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Input, Move, Ticket};
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{BlobRef, Manifest};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// One part to fetch: its commit, its manifest by reference and decoded.
#[derive(Clone)]
pub struct Wanted {
    pub commit: Digest,
    pub blob: BlobRef,
    pub manifest: Arc<Manifest>,
}

/// What a running fetch is told.
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
    Space(Ticket, Vec<Wanted>),
    Fetch(Ticket, Vec<Wanted>, Receiver<FetchEvent>),
    Checkout(Ticket, Vec<Move>),
    Switch(Ticket, Vec<Move>),
    Revert(Ticket, Vec<Move>),
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
        host: SupervisorOptions,
        link: Link,
        events: Sender<Event>,
    ) -> Self {
        let (jobs, receiver) = channel();
        let apps = Apps::new(paths.clone(), Box::new(SupervisorHost::new(host)));
        let mut thread = Thread { paths, store, apps, link, events };
        std::thread::spawn(move || thread.run(&receiver));
        Worker { jobs }
    }

    fn queue(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// See [`fullmetal_proto::deploy::Effect::CheckSpace`].
    pub fn check_space(&self, ticket: Ticket, moves: &[Move], judged: &JudgedParts) {
        self.queue(Job::Space(ticket, wanted(moves, judged)));
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

    /// See [`fullmetal_proto::deploy::Effect::Switch`].
    pub fn switch(&self, ticket: Ticket, moves: Vec<Move>) {
        self.queue(Job::Switch(ticket, moves));
    }

    /// See [`fullmetal_proto::deploy::Effect::Revert`].
    pub fn revert(&self, ticket: Ticket, moves: Vec<Move>) {
        self.queue(Job::Revert(ticket, moves));
    }

    /// See [`fullmetal_proto::deploy::Effect::Prune`].
    pub fn prune(&self, ticket: Ticket, commits: Vec<Digest>) {
        self.queue(Job::Prune(ticket, commits));
    }
}

fn wanted(moves: &[Move], judged: &JudgedParts) -> Vec<Wanted> {
    let part = |m: &Move| {
        let (blob, manifest) = judged.get(&m.new.commit)?;
        Some(Wanted { commit: m.new.commit, blob: blob.clone(), manifest: manifest.clone() })
    };
    moves.iter().filter_map(part).collect()
}

struct Thread {
    paths: Paths,
    store: Box<dyn ObjectStore>,
    apps: Apps,
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
            Job::Space(ticket, wanted) => {
                let manifests: Vec<&Manifest> = wanted.iter().map(|w| &*w.manifest).collect();
                match space::check(&self.paths, &*self.store, &manifests) {
                    Ok(()) => Input::Fits { ticket },
                    Err(reason) => Input::Failed { ticket, retry: false, reason },
                }
            }
            Job::Fetch(ticket, wanted, events) => {
                let fetch = fetch::Fetch::new(&self.link, &events, &self.events, ticket);
                match fetch.run(&mut *self.store, &wanted)? {
                    Ok(()) => Input::Imported { ticket },
                    Err(reason) => Input::Failed { ticket, retry: false, reason },
                }
            }
            Job::Checkout(ticket, moves) => {
                answer(ticket, Input::CheckedOut { ticket }, self.apps.check_out(&*self.store, &moves))
            }
            Job::Switch(ticket, moves) => answer(ticket, Input::Switched { ticket }, self.apps.switch(&moves)),
            Job::Revert(ticket, moves) => answer(ticket, Input::Reverted { ticket }, self.apps.revert(&moves)),
            Job::Prune(ticket, commits) => {
                let pruned = self.apps.prune(&mut *self.store, &commits);
                answer(ticket, Input::Pruned { ticket }, pruned)
            }
        })
    }
}

fn answer(ticket: Ticket, done: Input, result: anyhow::Result<()>) -> Input {
    match result {
        Ok(()) => done,
        Err(error) => Input::Failed { ticket, retry: false, reason: format!("{error:#}") },
    }
}
