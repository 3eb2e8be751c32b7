//! Who is whose neighbour: whom to dial, whom to take, whom to tell of whom, what to remember.
//!
//! A peer looks for [`NEIGHBOURS_WANTED`](limits::NEIGHBOURS_WANTED) neighbours among the addresses of its [`book`]:
//! configured, remembered, found by discovery, told by others. Whoever answers must prove to be a member, which is the
//! adapter's to judge; all else is decided here. Two connections of a pair become one. Who has no room says so and
//! whom it knows. Others are dialed besides when the swarm [seeks](Input::Seek) them.
//!
//! A fleet must stay one, whatever was cut and for how long. So every [`SHUFFLE`](limits::SHUFFLE) each peer dials
//! somebody, first whom it never met in this life, and leaves another if it has enough; the members with the lowest ids,
//! its *beacons*, can always be discovered and dial strangers that they discover.

mod admission;
mod book;
mod io;
pub mod limits;
mod looking;
mod seeking;
#[cfg(test)]
mod tests;
mod unanswered;

pub use io::{Close, ConnectionId, Effect, Input, Refusal};

use crate::draw::Draw;
use crate::wire::transfer::{KnownPeer, PEERS_MAX};
use crate::{DeviceId, Timestamp};
use admission::{Arrival, Neighbour};
use book::{Book, Source};
use limits::{BANS_MAX, DIALS_MAX, SAVE, SHUFFLE, YOUNG};
use seeking::Seeking;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// What a peer begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Who we are.
    pub me: DeviceId,
    /// Addresses of members, whoever they are.
    pub configured: Vec<SocketAddr>,
    /// What the last [`Effect::Remember`] of an earlier life said.
    pub remembered: Vec<KnownPeer>,
    /// Members may be looked for on the same link.
    pub discovery: bool,
}

/// The core. Inputs: [`Membership::handle`]. Outputs: [`Membership::poll`], [`Membership::next_wakeup`]. Query:
/// [`Membership::known`].
#[derive(Debug)]
pub struct Membership {
    me: DeviceId,
    book: Book,
    neighbours: BTreeMap<DeviceId, Neighbour>,
    /// Proven, until the older connection to the same device has ended.
    waiting: BTreeMap<DeviceId, Arrival>,
    /// Dials under way.
    dialing: BTreeMap<SocketAddr, Timestamp>,
    seeking: Seeking,
    /// Dials that this round may still begin.
    dials_left: usize,
    banned: BTreeMap<DeviceId, Timestamp>,
    /// None: there is no discovery here.
    discovers: Option<bool>,
    /// From then on, discovery finds strangers.
    grown_up_at: Timestamp,
    timers: Timers,
    wakeup: Timestamp,
    effects: VecDeque<Effect>,
    draw: Draw,
}

/// Before when something is not done again.
#[derive(Debug)]
struct Timers {
    /// Another round of dials.
    round: Timestamp,
    /// One more dial although there are neighbours enough, and telling one of others.
    shuffle: Timestamp,
    /// Dialing a stranger.
    stranger: Option<Timestamp>,
    /// Starting or stopping discovery.
    discovery: Timestamp,
    /// Since when discovery asks.
    asks_since: Timestamp,
    /// Writing down who is known.
    save: Timestamp,
}

impl Membership {
    /// A peer without neighbours; its first wakeup is due at once. `now` is a steady time.
    pub fn new(start: Start, seed: u64, now: Timestamp) -> Self {
        let mut draw = Draw::new(seed);
        let mut book = Book::new(start.me.clone());
        start.configured.into_iter().for_each(|address| book.hear(address, None, Source::Configured, now));
        for peer in start.remembered.into_iter().take(limits::PROVEN_MAX) {
            if let Ok(address) = peer.address.parse() {
                book.hear(address, Some(peer.device), Source::Remembered, now);
            }
        }
        // Those that were switched on together do not dial together later.
        let shuffle = now.after(SHUFFLE / 2 + up_to(SHUFFLE, &mut draw));
        Membership {
            me: start.me,
            book,
            neighbours: BTreeMap::new(),
            waiting: BTreeMap::new(),
            dialing: BTreeMap::new(),
            seeking: Seeking::default(),
            dials_left: DIALS_MAX,
            banned: BTreeMap::new(),
            discovers: start.discovery.then_some(false),
            grown_up_at: now.after(YOUNG),
            timers: Timers { round: now, shuffle, stranger: None, discovery: now, asks_since: now, save: now },
            wakeup: now,
            effects: VecDeque::new(),
            draw,
        }
    }

    /// Takes one input; drain [`Membership::poll`] afterwards. `now` is a steady time.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Found { address } => self.found(address, now),
            Input::Told { from, peers } => {
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.others = neighbour.others.max(peers.len());
                }
                self.told(peers, &Source::Neighbour(from), now);
            }
            Input::DialFailed { address, why } => self.dial_failed(address, why, now),
            Input::Proven { connection, device, address, dialed } => {
                if dialed {
                    self.dialing.remove(&address);
                }
                self.proven(Arrival { connection, device, address, dialed }, now);
            }
            Input::Ended { connection } => self.ended(connection, now),
            Input::Traffic { connection, sent, received } => self.look_at_traffic(connection, sent, received, now),
            Input::Seek { peers, company } => self.seek(peers, &company, now),
            Input::Ban { device, duration } => self.ban(device, now.after(duration), now),
            Input::Wakeup => {}
        }
        self.look_around(now);
        self.dial_some(now);
        self.save(now);
        self.wakeup = self.due(now);
    }

    /// The next effect, if there is one.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Wakeup`] is due.
    pub fn next_wakeup(&self) -> Timestamp {
        self.wakeup
    }

    /// Whom a restart begins with; [`Effect::Remember`] says so, too, when it has changed.
    pub fn known(&self) -> Vec<KnownPeer> {
        self.book.known()
    }

    fn told(&mut self, peers: Vec<KnownPeer>, source: &Source, now: Timestamp) {
        for peer in peers.into_iter().take(PEERS_MAX).filter(|peer| peer.device != self.me) {
            if let Ok(address) = peer.address.parse() {
                self.book.hear(address, Some(peer.device), source.clone(), now);
            }
        }
    }

    fn ban(&mut self, device: DeviceId, until: Timestamp, now: Timestamp) {
        self.banned.retain(|_, until| *until > now);
        if self.banned.len() >= BANS_MAX
            && let Some(first) = self.banned.iter().min_by_key(|(_, until)| **until).map(|(device, _)| device.clone())
        {
            self.banned.remove(&first);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&device) {
            neighbour.close(Close::Banned, &mut self.effects);
        }
        self.banned.insert(device, until);
    }

    fn is_banned(&self, device: &DeviceId, now: Timestamp) -> bool {
        self.banned.get(device).is_some_and(|until| *until > now)
    }

    fn save(&mut self, now: Timestamp) {
        if self.book.changed && now >= self.timers.save {
            self.book.changed = false;
            self.timers.save = now.after(SAVE);
            self.effects.push_back(Effect::Remember(self.book.known()));
        }
    }
}

/// Somewhere from nothing to just below `most`, in milliseconds.
fn up_to(most: Duration, draw: &mut Draw) -> Duration {
    Duration::from_millis(draw.below(most.as_millis() as usize) as u64)
}
