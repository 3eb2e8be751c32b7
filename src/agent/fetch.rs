//! Fetches a bundle's pieces through the peer and imports what they hold, as they arrive.

use super::Event;
use super::link::Link;
use super::worker::{FetchEvent, Wanted};
use crate::local::{DescriptorReader, LocalError, Packet, read_descriptor};
use crate::repo::{Import, ImportError, Objects, Packed, StoreError};
use fullmetal_proto::deploy::{Input, Ticket};
use fullmetal_proto::wire::Pieces;
use fullmetal_proto::wire::local::{FromPeer, ToPeer};
use fullmetal_proto::{Bitmap, Digest};
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tracing::{info, warn};

/// Bytes of a batch that are read at a time.
const BUFFER_LEN: usize = 256 << 10;
/// How long pieces may stay away before what came is committed.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// How often objects may go from the store before the fetch gives up.
const LOSSES_MAX: u32 = 3;

/// One fetch, from its effect to its answer.
pub struct Fetch<'a> {
    link: &'a Link,
    events: &'a Receiver<FetchEvent>,
    agent: &'a Sender<Event>,
    ticket: Ticket,
    /// Bytes of the parts that are done: from peers, from central.
    before: (u64, u64),
}

/// Why one part stopped.
enum Stop {
    /// Nobody wants it any more: no answer.
    Cancelled,
    /// It cannot be had, for good.
    Failed(String),
}

/// A piece could not be read now; it is asked for again when the peer has it.
#[derive(Debug, thiserror::Error)]
enum PieceGone {
    #[error("the peer no longer has the piece")]
    Evicted,
    #[error("the peer was started anew")]
    PeerIsBack,
    #[error("cancelled")]
    Cancelled,
    #[error("from the peer: {0}")]
    Unreadable(String),
}

impl<'a> Fetch<'a> {
    /// A fetch that listens to `events` and tells `agent` how far it is.
    pub fn new(link: &'a Link, events: &'a Receiver<FetchEvent>, agent: &'a Sender<Event>, ticket: Ticket) -> Self {
        Fetch { link, events, agent, ticket, before: (0, 0) }
    }

    /// Fetches a part into its store; `None` when it was cancelled.
    pub fn run(&mut self, store: &mut dyn Objects, part: &Wanted) -> Option<Result<(), String>> {
        let result = Part::new(self, part).run(store);
        self.link.send(&ToPeer::Unwant { manifest: part.blob.sha256 });
        match result {
            Ok((peers, central)) => {
                self.before = (self.before.0 + peers, self.before.1 + central);
                Some(Ok(()))
            }
            Err(Stop::Cancelled) => None,
            Err(Stop::Failed(reason)) => Some(Err(reason)),
        }
    }

    fn progress(&self, (peers, central): (u64, u64)) {
        let input = Input::FetchProgress {
            ticket: self.ticket,
            bytes_from_peers: self.before.0 + peers,
            bytes_from_central: self.before.1 + central,
        };
        let _ = self.agent.send(Event::Input(input));
    }
}

/// The fetch of one part.
struct Part<'f, 'a> {
    fetch: &'f Fetch<'a>,
    wanted: &'f Wanted,
    pieces: &'f Pieces,
    have: Bitmap,
    bytes: (u64, u64),
    /// How often objects went while others came.
    lost: u32,
}

impl<'f, 'a> Part<'f, 'a> {
    fn new(fetch: &'f Fetch<'a>, wanted: &'f Wanted) -> Self {
        let have = Bitmap::new(wanted.pieces.count());
        Part { fetch, wanted, pieces: &wanted.pieces, have, bytes: (0, 0), lost: 0 }
    }

    fn run(mut self, store: &mut dyn Objects) -> Result<(u64, u64), Stop> {
        let mut import = Import::plan(self.pieces, store).map_err(|e| Stop::Failed(e.to_string()))?;
        if import.is_complete() {
            return Ok(self.bytes);
        }
        let need = import.needed();
        let bytes = self.pieces.bytes(&need);
        info!(commit = %self.wanted.commit.short(), pieces = need.count(), bytes, "fetching");
        self.want(&import);
        loop {
            self.feed(&mut import, store)?;
            if import.is_complete() {
                return Ok(self.bytes);
            }
            self.wait(&mut import, store)?;
        }
    }

    fn want(&self, import: &Import) {
        let (manifest, commit) = (self.wanted.blob.clone(), self.wanted.commit);
        self.fetch.link.send(&ToPeer::Want { manifest, commit, need: import.needed() });
    }

    /// Imports all runs whose pieces the peer has.
    fn feed(&mut self, import: &mut Import, store: &mut dyn Objects) -> Result<(), Stop> {
        while let Some(run) = import.next(&self.have) {
            let result = import.feed(store, run, &mut |piece| self.piece(piece));
            match result {
                Ok(()) => {}
                Err(ImportError::Read { source: PieceGone::Cancelled, .. }) => return Err(Stop::Cancelled),
                Err(ImportError::Read { piece, source }) => {
                    warn!(piece, error = %source, "piece not read");
                    self.have.clear(piece);
                    match source {
                        PieceGone::PeerIsBack => self.start_over(import),
                        PieceGone::Unreadable(_) => self.corrupt(piece),
                        PieceGone::Evicted | PieceGone::Cancelled => {}
                    }
                }
                Err(ImportError::Frame { frame: piece, .. }) => {
                    warn!(piece, "frame from the peer is corrupt");
                    self.corrupt(piece);
                }
                Err(ImportError::Batch { batch: piece, why, .. }) => {
                    warn!(piece, %why, "batch from the peer is corrupt");
                    self.corrupt(piece);
                }
                Err(error) if self.has_lost(&error, import, store)? => {}
                Err(error) => return Err(Stop::Failed(format!("{:#}", anyhow::Error::from(error)))),
            }
        }
        Ok(())
    }

    /// Whether the store has lost objects since it was asked: others prune the sysroot's. Then these come again, from the
    /// peer's cache.
    fn has_lost(
        &mut self,
        error: &ImportError<PieceGone>,
        import: &mut Import,
        store: &mut dyn Objects,
    ) -> Result<bool, Stop> {
        let (ImportError::Lie { source, .. } | ImportError::Unfit { source, .. }) = error else { return Ok(false) };
        if !matches!(**source, StoreError::Missing { .. }) || self.lost == LOSSES_MAX {
            return Ok(false);
        }
        let again = Import::plan(self.pieces, store).map_err(|e| Stop::Failed(e.to_string()))?;
        // A manifest that leaves an object out lacks it however often it is asked.
        if again.progress().objects_total <= 1 {
            return Ok(false);
        }
        warn!(objects = again.progress().objects_total, "objects were removed from the store while others came");
        self.lost += 1;
        *import = again;
        self.want(import);
        Ok(true)
    }

    fn corrupt(&mut self, piece: u32) {
        let sha256 = match self.pieces {
            Pieces::Frames(manifest) => manifest.frames[piece as usize].sha256,
            Pieces::Batches(manifest) => manifest.id(piece),
        };
        self.have.clear(piece);
        self.fetch.link.send(&ToPeer::Corrupt { sha256 });
    }

    fn start_over(&mut self, import: &Import) {
        self.have = Bitmap::new(self.have.len());
        self.want(import);
    }

    /// Asks the peer for a piece. A frame is read into memory, and what is imported are these bytes; the objects of a batch
    /// are hashed as they are written.
    fn piece(&mut self, index: u32) -> Result<Packed, PieceGone> {
        let manifest = self.wanted.blob.sha256;
        self.fetch.link.send(&ToPeer::Frame { manifest, index });
        loop {
            match self.fetch.events.recv() {
                Ok(FetchEvent::Peer(Packet { message: FromPeer::Frame { manifest: m, index: i }, descriptor }))
                    if (m, i) == (manifest, index) =>
                {
                    return self.read(index, descriptor);
                }
                Ok(FetchEvent::PeerIsBack) => return Err(PieceGone::PeerIsBack),
                Ok(FetchEvent::Cancel) | Err(_) => return Err(PieceGone::Cancelled),
                Ok(FetchEvent::Peer(packet)) => self.heard(packet.message, manifest),
            }
        }
    }

    fn read(&self, index: u32, descriptor: Option<OwnedFd>) -> Result<Packed, PieceGone> {
        let fd = descriptor.ok_or(PieceGone::Evicted)?;
        let unreadable = |e: LocalError| PieceGone::Unreadable(e.to_string());
        match self.pieces {
            Pieces::Frames(manifest) => {
                let length = manifest.frames[index as usize].length.into();
                Ok(Packed::Bytes(read_descriptor(&fd, length).map_err(unreadable)?))
            }
            Pieces::Batches(_) => {
                let (reader, length) = DescriptorReader::new(fd).map_err(unreadable)?;
                Ok(Packed::Stream(Box::new(BufReader::with_capacity(BUFFER_LEN, reader)), length))
            }
        }
    }

    /// Nothing is left uncommitted while nothing comes, so that a power cut loses little.
    fn wait(&mut self, import: &mut Import, store: &mut dyn Objects) -> Result<(), Stop> {
        let event = match self.fetch.events.recv_timeout(IDLE_MAX) {
            Err(RecvTimeoutError::Timeout) => {
                import.flush(store).map_err(|e| Stop::Failed(e.to_string()))?;
                self.fetch.events.recv().map_err(|_| Stop::Cancelled)?
            }
            event => event.map_err(|_| Stop::Cancelled)?,
        };
        match event {
            FetchEvent::Cancel => return Err(Stop::Cancelled),
            FetchEvent::PeerIsBack => self.start_over(import),
            FetchEvent::Peer(packet) => self.heard(packet.message, self.wanted.blob.sha256),
        }
        Ok(())
    }

    fn heard(&mut self, message: FromPeer, ours: Digest) {
        match message {
            FromPeer::Have { manifest, have, bytes_from_peers, bytes_from_central }
                if manifest == ours && have.len() == self.have.len() =>
            {
                self.have = have;
                self.bytes = (bytes_from_peers, bytes_from_central);
                self.fetch.progress(self.bytes);
            }
            FromPeer::WantFailed { manifest, reason } if manifest == ours => {
                warn!(%reason, "the peer cannot get all pieces now; it goes on trying");
            }
            _ => {}
        }
    }
}
