//! The thread for the object store: one job at a time, in order.

use super::cached::Unknown;
use super::checkouts::Checkouts;
use super::judge::JudgedParts;
use super::link::Link;
use super::system::System;
use super::{Event, cached, containers, fetch, foreign, needs, space};
use crate::config::Paths;
use crate::host::{App, AppHost};
use crate::local::Packet;
use crate::os::OsError;
use crate::repo::ObjectStore;
use anyhow::Context as _;
use fullmetal_proto::deploy::{Candidate, Input, Installed, Move, Ticket};
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

/// What is to be fetched of a bundle.
#[derive(Clone, Default)]
pub struct Parts {
    /// Apps.
    pub apps: Vec<Wanted>,
    /// The operating system.
    pub os: Option<Wanted>,
}

impl Parts {
    /// Those that an effect names, as far as they were judged.
    pub fn of(moves: &[Move], os: Option<Digest>, judged: &JudgedParts) -> Self {
        let part = |commit: Digest| {
            let (blob, pieces) = judged.get(&commit)?;
            Some(Wanted { commit, blob: blob.clone(), pieces: pieces.clone() })
        };
        let apps = moves.iter().filter_map(|m| part(m.new.as_ref()?.commit)).collect();
        Parts { apps, os: os.and_then(part) }
    }

    fn all(&self) -> Vec<Wanted> {
        self.apps.iter().chain(&self.os).cloned().collect()
    }
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
    Look(Ticket, Vec<Candidate>, Vec<AppName>),
    Space(Ticket, Parts, Receiver<FetchEvent>),
    Fetch(Ticket, Parts, Receiver<FetchEvent>),
    Checkout(Ticket, Vec<Move>, Option<Digest>),
    Prune(Ticket, Vec<Digest>, Option<Vec<Digest>>),
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
        (checkouts, host, system): (Checkouts, Box<dyn AppHost>, System),
        link: Link,
        events: Sender<Event>,
    ) -> Self {
        let (jobs, receiver) = channel();
        let mut thread = Thread { paths, store, checkouts, host, system, link, events };
        std::thread::spawn(move || thread.run(&receiver));
        Worker { jobs }
    }

    fn queue(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// Ends a [`fullmetal_proto::deploy::Effect::Judge`] of a bundle that holds: with what the operating system is.
    pub fn look(&self, ticket: Ticket, parts: Vec<Candidate>, removed: Vec<AppName>) {
        self.queue(Job::Look(ticket, parts, removed));
    }

    /// See [`fullmetal_proto::deploy::Effect::CheckSpace`].
    pub fn check_space(&self, ticket: Ticket, parts: Parts) -> FetchHandle {
        let (events, receiver) = channel();
        self.queue(Job::Space(ticket, parts, receiver));
        FetchHandle { ticket, events }
    }

    /// See [`fullmetal_proto::deploy::Effect::Fetch`].
    pub fn fetch(&self, ticket: Ticket, parts: Parts) -> FetchHandle {
        let (events, receiver) = channel();
        self.queue(Job::Fetch(ticket, parts, receiver));
        FetchHandle { ticket, events }
    }

    /// See [`fullmetal_proto::deploy::Effect::Checkout`].
    pub fn checkout(&self, ticket: Ticket, moves: Vec<Move>, os: Option<Digest>) {
        self.queue(Job::Checkout(ticket, moves, os));
    }

    /// See [`fullmetal_proto::deploy::Effect::Prune`].
    pub fn prune(&self, ticket: Ticket, commits: Vec<Digest>, os: Option<Vec<Digest>>) {
        self.queue(Job::Prune(ticket, commits, os));
    }
}

/// The new versions; what leaves has none.
fn coming(moves: &[Move]) -> impl Iterator<Item = (&AppName, &Installed)> {
    moves.iter().filter_map(|m| Some((&m.name, m.new.as_ref()?)))
}

struct Thread {
    paths: Paths,
    store: Box<dyn ObjectStore>,
    checkouts: Checkouts,
    host: Box<dyn AppHost>,
    system: System,
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
            Job::Look(ticket, parts, removed) => match self.system.look() {
                Ok(os) => Input::Judged { ticket, parts, removed, os },
                Err(OsError { reason, retry }) => Input::Failed { ticket, retry, reason },
            },
            Job::Space(ticket, parts, events) => self.space(ticket, &parts, &events)?,
            Job::Fetch(ticket, parts, events) => match self.fetch(ticket, &parts, &events)? {
                Ok(()) => Input::Imported { ticket },
                Err(reason) => Input::Failed { ticket, retry: false, reason },
            },
            Job::Checkout(ticket, moves, os) => {
                let made = containers::patiently(containers::AWAY_PAUSE, || self.check_out(&moves));
                let ends = |name: &AppName, new: &Installed| foreign::ends_by_itself(&self.paths, name, &new.commit);
                let jobs = coming(&moves).filter(|(name, new)| ends(name, new)).map(|(name, _)| name.clone()).collect();
                let staged = made.map(|()| os.map(|commit| self.system.stage(&commit)).transpose());
                match staged {
                    Ok(Ok(os)) => Input::CheckedOut { ticket, jobs, os },
                    Ok(Err(OsError { reason, retry })) => Input::Failed { ticket, retry, reason },
                    Err(error) => failed(ticket, &error),
                }
            }
            Job::Prune(ticket, commits, os) => {
                os.into_iter().for_each(|commits| self.system.keep(commits));
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

    /// Part after part; `None` when it was cancelled.
    fn fetch(&mut self, ticket: Ticket, parts: &Parts, events: &Receiver<FetchEvent>) -> Option<Result<(), String>> {
        let mut fetch = fetch::Fetch::new(&self.link, events, &self.events, ticket);
        for part in &parts.apps {
            if let Err(reason) = fetch.run(&mut *self.store, part)? {
                return Some(Err(reason));
            }
        }
        let Some(part) = &parts.os else { return Some(Ok(())) };
        match self.system.store() {
            Ok(mut store) => fetch.run(&mut store, part),
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// The peer is asked for what it has only where that makes a difference. `None` when it was cancelled.
    fn space(&self, ticket: Ticket, parts: &Parts, events: &Receiver<FetchEvent>) -> Option<Input> {
        let wanted = parts.all();
        if wanted.is_empty() {
            // Apps that leave take none, and may be what a full disk waits for.
            return Some(Input::Fits { ticket, bytes: 0 });
        }
        let os = parts.os.as_ref();
        if let Err(reason) = os.map_or(Ok(()), |os| self.system.may_boot(&os.commit, &os.pieces)) {
            return Some(Input::Failed { ticket, retry: false, reason });
        }
        let mut fits = self.fits(parts, &BTreeMap::new());
        let cache = self.paths.cache_dir();
        let shared = space::same_disk(&self.paths.repo(), &cache)
            || (parts.os.is_some() && space::same_disk(self.system.repo(), &cache));
        if fits.is_err() && shared {
            match cached::pieces(&self.link, events, &wanted) {
                Ok(cached) => fits = self.fits(parts, &cached),
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

    fn fits(&self, parts: &Parts, cached: &BTreeMap<Digest, Bitmap>) -> Result<u64, String> {
        fn part<'a>(wanted: &'a Wanted, cached: &'a BTreeMap<Digest, Bitmap>) -> space::Part<'a> {
            (&wanted.pieces, cached.get(&wanted.blob.sha256))
        }
        let repo = self.paths.repo();
        let apps = parts.apps.iter().map(|w| part(w, cached)).collect();
        let mut coming = vec![space::Coming { repo: &repo, store: &*self.store, parts: apps, is_os: false }];
        let system = parts.os.as_ref().map(|_| self.system.store()).transpose().map_err(|e| e.to_string())?;
        if let (Some(store), Some(os)) = (&system, &parts.os) {
            let parts = vec![part(os, cached)];
            coming.push(space::Coming { repo: self.system.repo(), store, parts, is_os: true });
        }
        space::check(&self.paths.cache_dir(), &coming)
    }
}

/// The answer to work that has failed for good.
fn failed(ticket: Ticket, error: &anyhow::Error) -> Input {
    Input::Failed { ticket, retry: false, reason: format!("{error:#}") }
}

/// The answer to work that either is done or has failed for good.
pub fn answer(ticket: Ticket, done: Input, result: anyhow::Result<()>) -> Input {
    match result {
        Ok(()) => done,
        Err(error) => failed(ticket, &error),
    }
}
