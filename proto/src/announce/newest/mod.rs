//! The newest announcement wins: hints come in, bodies are pulled, one of them is accepted.
//!
//! A hint is a claim. Its body is pulled from a neighbour that hinted it, the adapter verifies the body and
//! says [`Input::Verified`], and only then it counts. What was accepted never gives way to an older one. Two
//! verified announcements of equal rank and different content raise [`Effect::Alarm`]; the first one stays.
//!
//! Hints travel by gossip ([`Effect::Publish`]), on connect, to [`FANOUT`] neighbours when the newest changes, as an answer
//! to an older one, and every [`EXCHANGE_MS`] to one neighbour (to all on [`Input::CheckNow`]). The last four ways reach the whole connected fleet when gossip drops everything.

mod candidates;
#[cfg(test)]
mod tests;

use crate::draw::Draw;
use crate::wire::gossip::Hint;
use crate::{DeviceId, Digest, Timestamp};
use candidates::Candidates;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Milliseconds between two exchanges, each with one neighbour.
pub const EXCHANGE_MS: u64 = 30_000;
/// Neighbours that are told at once of a newly accepted announcement.
pub const FANOUT: usize = 2;
/// Milliseconds between two answers to the same neighbour's older hint.
const ANSWER_MS_MIN: u64 = 5_000;
/// Alarmed digests that are remembered, so that each pair is reported once.
const ALARMS_MAX: usize = 16;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A neighbour connected.
    Connected {
        /// Who.
        peer: DeviceId,
    },
    /// It is gone.
    Disconnected {
        /// Who.
        peer: DeviceId,
    },
    /// A neighbour hinted, over its control stream or by gossip.
    Hint {
        /// The neighbour that said or passed it.
        from: DeviceId,
        /// What it claims.
        hint: Hint,
    },
    /// The adapter holds and has verified this announcement: pulled, restored at start, or handed over by a
    /// gateway. Epoch and counter are those of the document, not of a hint.
    Verified {
        /// Its true hint.
        hint: Hint,
    },
    /// A pulled body has its digest and does not hold: wrong signature, fleet, shape or expired.
    Refused {
        /// Which body.
        digest: Digest,
    },
    /// The pull did not give a body with this digest.
    Failed {
        /// Which body.
        digest: Digest,
    },
    /// Somebody on the device wants to know of newer ones now: each neighbour is told ours, which one that has a newer
    /// answers.
    CheckNow,
    /// `next_wakeup` has come.
    Wakeup,
}

/// What the adapter is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Pull a body from a neighbour; ends with `Verified`, `Refused` or `Failed`.
    Pull {
        /// From whom.
        from: DeviceId,
        /// Which body.
        digest: Digest,
        /// Its bytes.
        length: u32,
    },
    /// Tell one neighbour on its control stream.
    Send {
        /// Whom.
        peer: DeviceId,
        /// What.
        hint: Hint,
    },
    /// Gossip it, or let its held gossip message travel on.
    Publish(Hint),
    /// A gossip message that carried this hint is not to travel on.
    Refuse(Hint),
    /// This is the newest now: hand it to the client and keep its body for neighbours.
    Accept(Hint),
    /// Two verified announcements of equal rank. `ours` stays in force.
    Alarm {
        /// The first one.
        ours: Hint,
        /// The other one.
        theirs: Hint,
    },
}

/// The core. Inputs: [`Newest::handle`]. Outputs: [`Newest::poll`], [`Newest::next_wakeup`]. Query: [`Newest::newest`].
#[derive(Debug)]
pub struct Newest {
    newest: Option<Hint>,
    neighbours: BTreeMap<DeviceId, Neighbour>,
    candidates: Candidates,
    alarmed: VecDeque<Digest>,
    effects: VecDeque<Effect>,
    exchange_at: Option<Timestamp>,
    draw: Draw,
}

/// What was said to a neighbour.
#[derive(Debug, Default)]
struct Neighbour {
    told: Option<(Digest, Timestamp)>,
}

impl Newest {
    /// A core that knows no announcement yet.
    pub fn new(seed: u64) -> Self {
        Newest {
            newest: None,
            neighbours: BTreeMap::new(),
            candidates: Candidates::default(),
            alarmed: VecDeque::new(),
            effects: VecDeque::new(),
            exchange_at: None,
            draw: Draw::new(seed),
        }
    }

    /// Takes one input; drain [`Newest::poll`] afterwards. `now` is a steady time.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Connected { peer } => self.connected(peer, now),
            Input::Disconnected { peer } => {
                self.neighbours.remove(&peer);
                self.candidates.forget(&peer);
            }
            Input::Hint { from, hint } => self.hinted(from, hint, now),
            Input::Verified { hint } => self.verified(hint, now),
            Input::Refused { digest } => {
                self.effects.extend(self.candidates.refused(&digest).map(Effect::Refuse));
            }
            Input::Failed { digest } => self.candidates.failed(&digest, now),
            Input::CheckNow => self.check(now),
            Input::Wakeup => self.candidates.expire(now),
        }
        self.exchange(now);
        let pulls = self.candidates.pulls(now, &mut self.draw);
        self.effects.extend(pulls.into_iter().map(|(from, digest, length)| Effect::Pull { from, digest, length }));
    }

    /// The next effect, if there is one.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Wakeup`] is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.exchange_at.into_iter().chain(self.candidates.next_wakeup()).min()
    }

    /// The newest verified announcement.
    pub fn newest(&self) -> Option<&Hint> {
        self.newest.as_ref()
    }

    fn connected(&mut self, peer: DeviceId, now: Timestamp) {
        self.candidates.forget(&peer);
        self.neighbours.insert(peer.clone(), Neighbour::default());
        if let Some(hint) = self.newest {
            self.tell(&peer, hint, now);
        }
        self.exchange_at.get_or_insert(now.after(Duration::from_millis(EXCHANGE_MS)));
    }

    fn hinted(&mut self, from: DeviceId, hint: Hint, now: Timestamp) {
        if !self.neighbours.contains_key(&from) || self.newest == Some(hint) {
            return;
        }
        match self.newest {
            Some(ours) if hint.rank() < ours.rank() => self.answer(&from, ours, now),
            Some(_) if self.alarmed.contains(&hint.digest) => {}
            _ => self.candidates.offer(from, hint, now),
        }
    }

    /// Tells a neighbour, unless it was told this a moment ago.
    fn answer(&mut self, peer: &DeviceId, ours: Hint, now: Timestamp) {
        let told = self.neighbours.get(peer).and_then(|n| n.told);
        let again = |at: Timestamp| now.since(at) < Duration::from_millis(ANSWER_MS_MIN);
        if !told.is_some_and(|(digest, at)| digest == ours.digest && again(at)) {
            self.tell(peer, ours, now);
        }
    }

    fn check(&mut self, now: Timestamp) {
        let Some(ours) = self.newest else { return };
        for peer in self.neighbours.keys().cloned().collect::<Vec<_>>() {
            self.answer(&peer, ours, now);
        }
    }

    fn verified(&mut self, hint: Hint, now: Timestamp) {
        let source = self.candidates.verified(&hint);
        match self.newest {
            Some(ours) if hint.rank() < ours.rank() || hint == ours => {}
            Some(ours) if hint.rank() == ours.rank() => self.alarm(ours, hint),
            _ => self.accept(hint, source, now),
        }
    }

    fn alarm(&mut self, ours: Hint, theirs: Hint) {
        if ours.digest == theirs.digest || self.alarmed.contains(&theirs.digest) {
            return;
        }
        if self.alarmed.len() == ALARMS_MAX {
            self.alarmed.pop_front();
        }
        self.alarmed.push_back(theirs.digest);
        self.effects.extend([Effect::Refuse(theirs), Effect::Alarm { ours, theirs }]);
    }

    fn accept(&mut self, hint: Hint, source: Option<DeviceId>, now: Timestamp) {
        self.newest = Some(hint);
        self.candidates.drop_older(hint.rank());
        self.effects.extend([Effect::Accept(hint), Effect::Publish(hint)]);
        let mut others: Vec<_> = self.neighbours.keys().filter(|p| Some(*p) != source.as_ref()).cloned().collect();
        for _ in 0..FANOUT.min(others.len()) {
            let peer = others.swap_remove(self.draw.below(others.len()));
            self.tell(&peer, hint, now);
        }
    }

    fn exchange(&mut self, now: Timestamp) {
        if self.exchange_at.is_none_or(|at| now < at) {
            return;
        }
        self.exchange_at = match self.neighbours.is_empty() {
            true => None,
            false => Some(now.after(Duration::from_millis(EXCHANGE_MS))),
        };
        let one = self.neighbours.keys().nth(self.draw.below(self.neighbours.len())).cloned();
        if let (Some(peer), Some(hint)) = (one, self.newest) {
            self.tell(&peer, hint, now);
        }
    }

    fn tell(&mut self, peer: &DeviceId, hint: Hint, now: Timestamp) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.told = Some((hint.digest, now));
            self.effects.push_back(Effect::Send { peer: peer.clone(), hint });
        }
    }
}
