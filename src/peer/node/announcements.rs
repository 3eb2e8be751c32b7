//! The newest announcement: pulled, verified, kept, passed on to neighbours and clients.

use super::verify::{self, Verified, VerifyError};
use super::{Finished, Node};
use crate::identity::FleetTrust;
use crate::local::read_descriptor;
use crate::peer::cache::{Cache, CacheError, Key, Shelf};
use crate::peer::socket::{ClientId, Reply};
use crate::peer::transfer::blob::pull_from;
use bytes::Bytes;
use fullmetal_proto::announce::newest::{Effect, Input, Newest};
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::local::{Client, FromPeer};
use fullmetal_proto::wire::transfer::Control;
use fullmetal_proto::wire::{Announcement, Hint};
use fullmetal_proto::{DeviceId, Digest};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use tracing::{error, info, warn};

/// The cache's note of which announcement is the newest.
const NOTE: &str = "newest";

/// The core and what the verified announcements name.
pub(super) struct Announcements {
    pub core: Newest,
    /// Verified but not yet accepted or refused by the core, the newest, and the one that contradicts it.
    verified: Vec<Verified>,
    /// A verified announcement of the newest one's rank that says something else.
    conflict: Option<Hint>,
}

/// What became of a body.
pub(super) enum Judged {
    Good(Verified),
    Bad(Digest, VerifyError),
    /// It could not be had.
    Absent(Digest, String),
}

impl Announcements {
    pub fn new(seed: u64) -> Self {
        Announcements { core: Newest::new(seed), verified: Vec::new(), conflict: None }
    }

    /// What the announcement needs in the cache.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.verified.iter().flat_map(|v| v.blobs.iter().copied())
    }

    pub fn trouble(&self) -> Option<String> {
        let text = "two gateways announced different things under one counter; stop one and announce again";
        self.conflict.map(|_| text.to_owned())
    }
}

impl Node {
    /// Offers what an earlier run had verified, if it still holds. Blocks for a moment, before the network is up.
    pub(super) fn restore_announcement(&mut self) -> Result<(), CacheError> {
        let Some(hint) = self.data.cache.read_note(NOTE)?.and_then(|bytes| Hint::decode(&bytes).ok()) else {
            return Ok(());
        };
        let trust = self.credentials.trust.get();
        let judged = judge(&self.data.cache, hint.digest, hint.length, &trust);
        self.on_judged(judged);
        Ok(())
    }

    pub(super) fn on_announcement_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Pull { from, digest, length } => self.pull_announcement(from, digest, length),
            Effect::Send { peer, hint } => drop(self.membership.send(&peer, Control::Hint(hint))),
            Effect::Publish(hint) => self.membership.publish(hint),
            Effect::Refuse(hint) => self.membership.refuse(hint),
            Effect::Accept(hint) => self.accept(hint),
            Effect::Alarm { ours, theirs } => {
                error!(?ours, ?theirs, "two announcements of one rank: is a second gateway running?");
                self.announcements.conflict = Some(theirs);
                for id in self.clients.ids() {
                    self.tell_conflict(id);
                }
            }
        }
    }

    fn pull_announcement(&mut self, from: DeviceId, digest: Digest, length: u32) {
        let (data, trust) = (self.data.clone(), self.credentials.trust.clone());
        self.answers.spawn(async move {
            if let Err(error) = pull_from(&data, &from, Key::blob(digest), length).await {
                return Finished::Announcement(Judged::Absent(digest, error.to_string()));
            }
            let judged = tokio::task::spawn_blocking(move || judge(&data.cache, digest, length, &trust.get())).await;
            Finished::Announcement(judged.unwrap_or_else(|e| Judged::Absent(digest, e.to_string())))
        });
    }

    /// A gateway hands over a newer announcement.
    pub(super) fn on_announce(&mut self, client: ClientId, hint: Hint, descriptor: Option<OwnedFd>) {
        let Some(descriptor) = descriptor else {
            return self.clients.close(client, "it announced without a descriptor");
        };
        let (data, trust) = (self.data.clone(), self.credentials.trust.clone());
        self.answers.spawn(async move {
            let max = envelope_len_max::<Announcement>() as u64;
            let bytes = match read_descriptor(&descriptor, max) {
                Ok(bytes) => Bytes::from(bytes),
                Err(error) => return Finished::Announcement(Judged::Absent(hint.digest, error.to_string())),
            };
            let verified = match verify::announcement(&bytes, &trust.get()) {
                Ok(verified) => verified,
                Err(error) => return Finished::Announcement(Judged::Bad(Digest::of(&bytes), error)),
            };
            Finished::Announcement(match data.put(Shelf::Blobs, bytes).await {
                Ok(_) => Judged::Good(verified),
                Err(error) => Judged::Absent(hint.digest, error.to_string()),
            })
        });
    }

    pub(super) fn on_judged(&mut self, judged: Judged) {
        let now = self.now();
        match judged {
            Judged::Good(verified) => {
                self.credentials.clock.raise(verified.issued);
                let hint = verified.hint;
                self.announcements.verified.push(verified);
                self.announcements.core.handle(Input::Verified { hint }, now);
                self.drain();
                let kept = [self.announcements.core.newest().copied(), self.announcements.conflict];
                self.announcements.verified.retain(|v| kept.contains(&Some(v.hint)));
                self.keep();
            }
            Judged::Bad(digest, error) => {
                warn!(announcement = %digest.short(), %error, "announcement refused");
                self.data.cache.remove(Key::blob(digest));
                self.announcements.core.handle(Input::Refused { digest }, now);
            }
            Judged::Absent(digest, error) => {
                warn!(announcement = %digest.short(), error, "announcement not had");
                self.announcements.core.handle(Input::Failed { digest }, now);
            }
        }
    }

    fn accept(&mut self, hint: Hint) {
        info!(epoch = hint.epoch, counter = hint.counter, "announcement");
        self.announcements.conflict = None;
        self.keep();
        self.notes.write(NOTE, hint.encode());
        self.notes.flush_now();
        for id in self.clients.ids() {
            self.tell_announcement(id);
        }
    }

    /// Hands the newest announcement to a client.
    pub(super) fn tell_announcement(&mut self, client: ClientId) {
        let Some(hint) = self.announcements.core.newest().copied() else { return };
        self.hand_over(client, hint);
        self.tell_conflict(client);
    }

    /// Hands a gateway what contradicts the newest announcement. Whichever of the two it made, it sees one that it did
    /// not make, and stops acting.
    fn tell_conflict(&mut self, client: ClientId) {
        if self.clients.kind(client) == Some(Client::Gateway)
            && let Some(theirs) = self.announcements.conflict
        {
            self.hand_over(client, theirs);
        }
    }

    fn hand_over(&mut self, client: ClientId, hint: Hint) {
        let file = self.data.cache.open_read(Key::blob(hint.digest), u64::from(hint.length));
        let Some(file) = file else {
            return warn!(announcement = %hint.digest.short(), "an announcement is gone from the cache");
        };
        self.clients.send(client, Reply::Message(FromPeer::Announcement(hint), Some(file.into())));
    }
}

fn judge(cache: &Cache, digest: Digest, length: u32, trust: &FleetTrust) -> Judged {
    let mut bytes = Vec::new();
    let file = cache.open_read(Key::blob(digest), u64::from(length));
    match file.map(|mut file| file.read_to_end(&mut bytes)) {
        None => return Judged::Absent(digest, "it is not in the cache".to_owned()),
        Some(Err(error)) => return Judged::Absent(digest, error.to_string()),
        Some(Ok(_)) => {}
    }
    match verify::announcement(&bytes, trust) {
        Ok(verified) if verified.hint.digest == digest => Judged::Good(verified),
        Ok(_) => Judged::Absent(digest, "the cached file is another".to_owned()),
        Err(error) => Judged::Bad(digest, error),
    }
}
