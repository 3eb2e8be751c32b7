//! Drives `proto::swarm`: turns its decisions into transfers and their outcomes into its inputs.

mod listing;
mod neighbour;
mod objects;
mod origin;
mod sources;
mod unsaid;

pub use listing::{Listed, Listing, ListingError};

use super::cache::Key;
use super::membership::Wanted;
use super::transfer::Data;
use fullmetal_proto::swarm::{Effect, Failure, Input, Swarm, TransferId};
use fullmetal_proto::wire::transfer::SwarmUpdate;
use fullmetal_proto::{Bitmap, DeviceId, Digest, Timestamp};
use sources::Sources;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{debug, trace, warn};

/// Reports of transfers that wait to be handled; more hold the transfers back.
pub const REPORTS_MAX: usize = 256;
/// Bytes that move before they are reported.
const MOVED_BYTES: u64 = 64 << 10;

/// What a transfer has to say.
#[derive(Debug)]
pub struct Report {
    transfer: TransferId,
    what: What,
}

#[derive(Debug)]
enum What {
    Moved(u64),
    /// In the cache under its name.
    Verified {
        piece: u32,
        /// What had to come for it.
        bytes: u64,
    },
    Corrupt(u32),
    Failed {
        why: Failure,
        reason: String,
        /// It is not this one neighbour's: central, or our own cache.
        lasting: bool,
    },
}

/// What is for others to do.
#[derive(Debug)]
pub enum Output {
    /// Send an update on a control stream.
    Send {
        /// To whom.
        peer: DeviceId,
        /// What.
        update: SwarmUpdate,
    },
    /// Disconnect a liar.
    Ban {
        /// Whom.
        peer: DeviceId,
        /// How long.
        duration: Duration,
    },
    /// Get one of these for a neighbour.
    Seek(Wanted),
    /// There is news of a wanted manifest; ask [`Fetcher::state`].
    Have {
        /// Which.
        manifest: Digest,
        /// Nothing that was needed is missing any more.
        complete: bool,
    },
    /// A lasting hindrance.
    Trouble {
        /// Of which manifest.
        manifest: Digest,
        /// What it is, for a person.
        reason: String,
    },
}

/// How far a manifest is.
#[derive(Debug)]
pub struct State {
    /// Pieces in the cache.
    pub have: Bitmap,
    /// Bytes of pieces that came from neighbours since it was first wanted.
    pub bytes_from_peers: u64,
    /// Bytes of pieces that came from central.
    pub bytes_from_central: u64,
}

#[derive(Debug)]
struct Wish {
    listing: Arc<Listing>,
    bytes_from_peers: u64,
    bytes_from_central: u64,
}

#[derive(Debug)]
struct Running {
    manifest: Digest,
    from: Source,
    /// Pieces that have not come.
    left: u32,
    task: AbortHandle,
}

/// What a transfer will bring, and from where.
struct Size {
    from: Source,
    pieces: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Central,
    Neighbour(DeviceId),
}

/// The swarm and its transfers. After each call, [`Fetcher::poll`] until it is empty.
#[derive(Debug)]
pub struct Fetcher {
    data: Arc<Data>,
    swarm: Swarm,
    wishes: BTreeMap<Digest, Wish>,
    running: BTreeMap<TransferId, Running>,
    reports: mpsc::Sender<Report>,
    outputs: VecDeque<Output>,
    sources: Sources,
    /// What hinders fetching; cleared by the next piece that comes.
    trouble: Option<String>,
}

impl Fetcher {
    /// Nothing is wanted yet. What the receiver gives goes to [`Fetcher::report`].
    pub fn new(data: Arc<Data>, origin: bool, weight: u16, seed: u64) -> (Self, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        let mut swarm = Swarm::new(data.me.clone(), origin, weight, seed);
        if let Some(uplink) = data.uplink() {
            swarm.set_least_budget(uplink.least());
        }
        let (wishes, running, outputs) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        (
            Fetcher { data, swarm, wishes, running, reports, outputs, sources: Sources::default(), trouble: None },
            receiver,
        )
    }

    /// Wants pieces of a manifest; an empty `need` only helps others. Said again, it replaces the need.
    pub fn want(&mut self, listing: &Arc<Listing>, need: Bitmap, now: Timestamp) {
        let manifest = listing.blob.sha256;
        let fresh = || Wish { listing: listing.clone(), bytes_from_peers: 0, bytes_from_central: 0 };
        self.wishes.entry(manifest).or_insert_with(fresh);
        let have = listing.cached(&self.data.cache);
        self.handle(Input::Want { manifest, frames: listing.spans(), need, have }, now);
    }

    /// Ends the wish; its pieces are no longer offered.
    pub fn unwant(&mut self, manifest: &Digest, now: Timestamp) {
        if self.wishes.contains_key(manifest) {
            self.handle(Input::Unwant { manifest: *manifest }, now);
            self.wishes.remove(manifest);
        }
    }

    /// A neighbour came.
    pub fn connected(&mut self, peer: DeviceId, address: SocketAddr, now: Timestamp) {
        self.handle(Input::Connected { peer, address }, now);
    }

    /// A neighbour went.
    pub fn disconnected(&mut self, peer: DeviceId, now: Timestamp) {
        self.handle(Input::Disconnected { peer }, now);
    }

    /// A neighbour sent an update.
    pub fn update(&mut self, from: DeviceId, update: SwarmUpdate, now: Timestamp) {
        self.handle(Input::Update { from, update }, now);
    }

    /// [`Fetcher::next_wakeup`] has come.
    pub fn wakeup(&mut self, now: Timestamp) {
        self.handle(Input::Wakeup, now);
    }

    /// When to call [`Fetcher::wakeup`].
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.swarm.next_wakeup()
    }

    /// Takes in what a transfer said.
    pub fn report(&mut self, report: Report, now: Timestamp) {
        let Report { transfer, what } = report;
        match what {
            What::Moved(bytes) => self.handle(Input::Progress { transfer, bytes }, now),
            What::Verified { piece, bytes } => {
                self.count(transfer, bytes);
                self.handle(Input::Verified { transfer, piece }, now);
            }
            What::Corrupt(piece) => {
                let ended = self.running.remove(&transfer);
                if let Some(ended) = ended.filter(|r| r.from == Source::Central) {
                    let reason = self.wrong_at_central(&ended.manifest, piece);
                    self.complain(ended.manifest, reason);
                }
                self.handle(Input::Corrupt { transfer, piece }, now);
            }
            What::Failed { why, reason, lasting } => {
                let ended = self.running.remove(&transfer);
                debug!(%transfer, ?why, reason, "transfer failed");
                if let Some(ended) = ended.filter(|_| lasting) {
                    self.complain(ended.manifest, reason);
                }
                self.handle(Input::Failed { transfer, why }, now);
            }
        }
    }

    /// These files are about to go: they leave the have-maps.
    pub fn evict(&mut self, keys: &[Key], now: Timestamp) {
        let gone: BTreeSet<Key> = keys.iter().copied().collect();
        let mut lost = Vec::new();
        for (manifest, wish) in &self.wishes {
            let is_gone = |piece: &u32| wish.listing.key(*piece).is_some_and(|key| gone.contains(&key));
            lost.extend((0..wish.listing.pieces()).filter(is_gone).map(|piece| (*manifest, piece)));
        }
        for (manifest, piece) in lost {
            self.handle(Input::Evicted { manifest, piece }, now);
        }
    }

    /// How far a wanted manifest is.
    pub fn state(&self, manifest: &Digest) -> Option<State> {
        let wish = self.wishes.get(manifest)?;
        let have = self.swarm.have(manifest)?.clone();
        let (bytes_from_peers, bytes_from_central) = (wish.bytes_from_peers, wish.bytes_from_central);
        Some(State { have, bytes_from_peers, bytes_from_central })
    }

    /// The next thing for others to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The newest lasting trouble with central or the cache.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// Which neighbours have sent the most bytes since the start, the most first.
    pub fn sources(&self) -> Vec<(DeviceId, u64)> {
        self.sources.most()
    }

    fn wrong_at_central(&self, manifest: &Digest, piece: u32) -> String {
        let listing = self.wishes.get(manifest).map(|wish| &wish.listing);
        let (frames, packs) = match listing.map(|listing| &listing.listed) {
            Some(Listed::Frames(frames, packs)) => (frames, packs),
            Some(Listed::Batches(plain, _)) => {
                let commit = plain.commit;
                return format!(
                    "central has wrong bytes for an object of batch {piece} of commit {commit}; check its repo with `ostree fsck`"
                );
            }
            None => return String::new(),
        };
        let pack = frames.get(piece as usize).and_then(|frame| packs.get(frame.pack as usize));
        let pack = pack.copied().unwrap_or_default();
        format!(
            "central has wrong bytes for frame {piece} in pack {pack}; restore the pack from a backup, or remove it and \
             publish with --recommit"
        )
    }

    fn complain(&mut self, manifest: Digest, reason: String) {
        warn!(manifest = %manifest.short(), reason, "fetching");
        self.trouble = Some(reason.clone());
        self.outputs.push_back(Output::Trouble { manifest, reason });
    }

    fn handle(&mut self, input: Input, now: Timestamp) {
        trace!(?input);
        self.swarm.handle(input, now);
        if let Some(uplink) = self.data.uplink() {
            uplink.share_among(self.swarm.fetchers());
        }
        while let Some(effect) = self.swarm.poll() {
            self.act(effect);
        }
    }

    fn act(&mut self, effect: Effect) {
        trace!(?effect);
        match effect {
            Effect::FetchFromPeer { transfer, manifest, piece, peer } => {
                let from = Source::Neighbour(peer.clone());
                self.start(transfer, manifest, Size { from, pieces: 1 }, |data, listing, reports| {
                    neighbour::fetch(data, listing, neighbour::Wanted { transfer, piece, peer }, reports)
                });
            }
            Effect::FetchFromOrigin { transfer, manifest, first, count } => {
                let from = Source::Central;
                self.start(transfer, manifest, Size { from, pieces: count }, |data, listing, reports| {
                    origin::fetch(data, listing, origin::Run { transfer, first, count }, reports)
                });
            }
            Effect::Abort { transfer } => {
                if let Some(running) = self.running.remove(&transfer) {
                    running.task.abort();
                }
            }
            Effect::Send { peer, update } => self.outputs.push_back(Output::Send { peer, update }),
            Effect::Ban { peer, for_ } => {
                warn!(%peer, "wrong bytes: banned");
                self.outputs.push_back(Output::Ban { peer, duration: for_ });
            }
            Effect::Seek { peers, company } => self.outputs.push_back(Output::Seek(Wanted { peers, company })),
            Effect::Have { manifest } => self.outputs.push_back(Output::Have { manifest, complete: false }),
            Effect::Complete { manifest } => self.outputs.push_back(Output::Have { manifest, complete: true }),
        }
    }

    fn start<F>(
        &mut self,
        transfer: TransferId,
        manifest: Digest,
        size: Size,
        task: impl FnOnce(Arc<Data>, Arc<Listing>, mpsc::Sender<Report>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(wish) = self.wishes.get(&manifest) else { return };
        let task = tokio::spawn(task(self.data.clone(), wish.listing.clone(), self.reports.clone()));
        let Size { from, pieces } = size;
        self.running.insert(transfer, Running { manifest, from, left: pieces, task: task.abort_handle() });
    }

    fn count(&mut self, transfer: TransferId, bytes: u64) {
        let Some(running) = self.running.get_mut(&transfer) else { return };
        let (manifest, from) = (running.manifest, running.from.clone());
        running.left = running.left.saturating_sub(1);
        if running.left == 0 {
            self.running.remove(&transfer);
        }
        let Some(wish) = self.wishes.get_mut(&manifest) else { return };
        self.trouble = None;
        match from {
            Source::Central => {
                wish.bytes_from_central += bytes;
                self.data.counters.add_from_central(bytes);
            }
            Source::Neighbour(device) => {
                wish.bytes_from_peers += bytes;
                self.data.counters.add_from_peers(bytes);
                self.sources.add(device, bytes);
            }
        }
    }
}
