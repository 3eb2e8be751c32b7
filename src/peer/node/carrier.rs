//! Reports on their way to a gateway and receipts on their way back.

use super::verify::{self, VerifyError};
use super::{Finished, Node};
use crate::identity::FleetTrust;
use crate::peer::cache::{Cache, CacheError, Key, Shelf};
use crate::peer::socket::Reply;
use crate::peer::transfer::blob::pull_from;
use fullmetal_proto::announce::carried::{self, Carried, Effect, Input};
use fullmetal_proto::wire::cbor;
use fullmetal_proto::wire::local::Client;
use fullmetal_proto::wire::transfer::{Control, StockItem};
use fullmetal_proto::{DeviceId, Digest, Timestamp};
use std::collections::BTreeMap;
use std::io::Read as _;
use tracing::{debug, warn};

/// The cache's note of what is carried.
pub(super) const NOTE: &str = "carried";
/// Bytes of that note: all that may be carried, at its longest.
const NOTE_LEN_MAX: usize = 4 << 20;

/// The core and what it keeps.
pub(super) struct Carrier {
    pub core: Carried,
    kept: BTreeMap<Digest, StockItem>,
    dirty: bool,
}

/// What became of a body.
pub(super) enum Judged {
    Good(StockItem),
    Bad(Digest, VerifyError),
    Absent(Digest, String),
}

impl Carrier {
    pub fn new(me: DeviceId, seed: u64) -> Self {
        Carrier { core: Carried::new(me, seed), kept: BTreeMap::new(), dirty: false }
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.kept.keys().map(|digest| Key::blob(*digest))
    }

    /// The note to write, when something changed since the last.
    pub fn take_note(&mut self) -> Option<Vec<u8>> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.then(|| cbor::to_vec(&self.kept.values().collect::<Vec<_>>()))
    }
}

impl Node {
    /// Takes up what an earlier run carried. Blocks for a moment, before the network is up.
    pub(super) fn restore_carried(&mut self) -> Result<(), CacheError> {
        let note = self.data.cache.read_note(NOTE)?.unwrap_or_default();
        let items: Vec<StockItem> = cbor::from_slice(&note, NOTE_LEN_MAX).unwrap_or_default();
        let (trust, time) = (self.credentials.trust.get(), self.credentials.clock.now());
        for item in items {
            let judged = judge(&self.data.cache, item.digest, item.length, &trust, time);
            self.on_carried(judged);
        }
        Ok(())
    }

    pub(super) fn on_carried_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Pull { from, digest, length } => self.pull_carried(from, digest, length),
            Effect::Send { peer, items } => drop(self.membership.send(&peer, Control::Stock(items))),
            Effect::Keep(item) => {
                self.data.cache.keep_also([Key::blob(item.digest)]);
                self.carrier.kept.insert(item.digest, item);
                self.carrier.dirty = true;
                self.sync_soon();
            }
            Effect::Deliver { to, item } => self.deliver(to, &item),
            Effect::Drop(digest) => {
                self.data.cache.remove(Key::blob(digest));
                self.carrier.dirty |= self.carrier.kept.remove(&digest).is_some();
                self.sync_soon();
            }
        }
    }

    fn deliver(&mut self, to: carried::Client, item: &StockItem) {
        let (cache, key) = (self.data.cache.clone(), Key::blob(item.digest));
        match to {
            carried::Client::Gateway => {
                self.clients.send_to(Client::Gateway, || Reply::Report(cache.clone(), key, item.length));
            }
            carried::Client::Agent => {
                self.clients.send_to(Client::Agent, || Reply::Receipt(cache.clone(), key, item.length));
            }
        }
    }

    fn pull_carried(&mut self, from: DeviceId, digest: Digest, length: u32) {
        let (data, credentials) = (self.data.clone(), self.credentials.clone());
        self.answers.spawn(async move {
            let judged = match pull_from(&data, &from, Key::blob(digest), length).await {
                Ok(()) => {
                    let (trust, time) = (credentials.trust.get(), credentials.clock.now());
                    judge(&data.cache, digest, length, &trust, time)
                }
                Err(error) => Judged::Absent(digest, error.to_string()),
            };
            Finished::Carried(judged)
        });
    }

    /// A client hands over a report or receipt; `of_agent` may only speak of this device.
    pub(super) fn on_handed(&mut self, bytes: Vec<u8>, of_agent: bool) {
        let (trust, time) = (self.credentials.trust.get(), self.credentials.clock.now());
        let item = match verify::carried(&bytes, &trust, time) {
            Ok(item) => item,
            Err(error) => return warn!(%error, of_agent, "a local client's report or receipt refused"),
        };
        if of_agent == item.receipt || (of_agent && item.device != self.data.me) {
            return warn!(device = %item.device, "a local client's report or receipt is not its to give");
        }
        let data = self.data.clone();
        self.answers.spawn(async move {
            Finished::Carried(match data.put(Shelf::Blobs, bytes.into()).await {
                Ok(_) => Judged::Good(item),
                Err(error) => Judged::Absent(item.digest, error.to_string()),
            })
        });
    }

    pub(super) fn on_carried(&mut self, judged: Judged) {
        let now = self.now();
        match judged {
            Judged::Good(item) => self.carrier.core.handle(Input::Verified(item), now),
            Judged::Bad(digest, error) => {
                warn!(body = %digest.short(), %error, "report or receipt refused");
                self.data.cache.remove(Key::blob(digest));
                self.carrier.core.handle(Input::Refused { digest }, now);
            }
            Judged::Absent(digest, error) => {
                debug!(body = %digest.short(), error, "report or receipt not had");
                self.carrier.core.handle(Input::Failed { digest }, now);
            }
        }
    }
}

fn judge(cache: &Cache, digest: Digest, length: u32, trust: &FleetTrust, time: Timestamp) -> Judged {
    let mut bytes = Vec::new();
    let file = cache.open_read(Key::blob(digest), u64::from(length));
    match file.map(|mut file| file.read_to_end(&mut bytes)) {
        None => return Judged::Absent(digest, "it is not in the cache".to_owned()),
        Some(Err(error)) => return Judged::Absent(digest, error.to_string()),
        Some(Ok(_)) => {}
    }
    match verify::carried(&bytes, trust, time) {
        Ok(item) if item.digest == digest => Judged::Good(item),
        Ok(_) => Judged::Absent(digest, "the cached file is another".to_owned()),
        Err(error) => Judged::Bad(digest, error),
    }
}
