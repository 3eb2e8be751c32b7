//! Reports on their way to a gateway and receipts on their way back, carried by every peer.
//!
//! Reports are named by (device, counter), receipts by device: the one with the highest counter counts and
//! drops all reports up to it. What a peer holds it offers as `Control::Stock` on connect, what is new soon
//! after ([`NEWS_MS`]), and everything again to one neighbour every [`EXCHANGE_MS`]. A gateway that is attached is
//! handed again then what has no receipt yet: it may have had no room. What a neighbour offers
//! and is missing is pulled; the adapter verifies the body and says [`Input::Verified`].

mod stock;
#[cfg(test)]
mod tests;
mod wants;

use crate::draw::Draw;
use crate::wire::transfer::{STOCK_MAX, StockItem};
use crate::{DeviceId, Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use stock::Stock;
pub use stock::{RECEIPTS_MAX, REPORTS_MAX, REPORTS_PER_DEVICE_MAX};
use wants::Wants;

/// Milliseconds that news wait for company before neighbours are told.
pub const NEWS_MS: u64 = 200;
/// Milliseconds between two full exchanges, each with one neighbour and the gateway.
pub const EXCHANGE_MS: u64 = 300_000;

/// Who is at the client's end of the local socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// This device's agent: gets receipts for this device.
    Agent,
    /// A gateway: gets all reports.
    Gateway,
}

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
    /// A neighbour told what it carries.
    Stock {
        /// Who.
        from: DeviceId,
        /// What.
        items: Vec<StockItem>,
    },
    /// A client came; it is handed what is for it, now and from now on.
    Attached(Client),
    /// It left.
    Detached(Client),
    /// The adapter holds and has verified a body: pulled, restored at start, or handed over by a client.
    /// Device and counter are those of the document.
    Verified(StockItem),
    /// A pulled body has its digest and does not hold.
    Refused {
        /// Which body.
        digest: Digest,
    },
    /// The pull did not give a body with this digest.
    Failed {
        /// Which body.
        digest: Digest,
    },
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
    /// Send `Control::Stock`.
    Send {
        /// To whom.
        peer: DeviceId,
        /// At most `STOCK_MAX`.
        items: Vec<StockItem>,
    },
    /// Keep the verified body: it is served to neighbours and restored at the next start.
    Keep(StockItem),
    /// Hand a kept body to the client.
    Deliver {
        /// To which client.
        to: Client,
        /// A report for a gateway, a receipt for an agent.
        item: StockItem,
    },
    /// The body is of no use any more: a verified one that came too late, or one kept so far.
    Drop(Digest),
}

/// The core. Inputs: [`Carried::handle`]. Outputs: [`Carried::poll`], [`Carried::next_wakeup`]. Query: [`Carried::len`].
#[derive(Debug)]
pub struct Carried {
    me: DeviceId,
    stock: Stock,
    wants: Wants,
    neighbours: BTreeSet<DeviceId>,
    clients: Vec<Client>,
    /// Not told to the neighbours yet, with the neighbour that it came from.
    news: BTreeMap<StockItem, Option<DeviceId>>,
    news_at: Option<Timestamp>,
    exchange_at: Option<Timestamp>,
    effects: VecDeque<Effect>,
    draw: Draw,
}

impl Carried {
    /// A core that carries nothing yet, on the device `me`.
    pub fn new(me: DeviceId, seed: u64) -> Self {
        Carried {
            me,
            stock: Stock::default(),
            wants: Wants::default(),
            neighbours: BTreeSet::new(),
            clients: Vec::new(),
            news: BTreeMap::new(),
            news_at: None,
            exchange_at: None,
            effects: VecDeque::new(),
            draw: Draw::new(seed),
        }
    }

    /// Takes one input; drain [`Carried::poll`] afterwards. `now` is a steady time.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Connected { peer } => self.connected(peer, now),
            Input::Disconnected { peer } => {
                self.neighbours.remove(&peer);
                self.wants.forget(&peer);
            }
            Input::Stock { from, items } => self.offered(&from, items, now),
            Input::Attached(client) => self.attached(client, now),
            Input::Detached(client) => self.clients.retain(|c| *c != client),
            Input::Verified(item) => self.verified(item, now),
            Input::Refused { digest } => self.wants.refused(&digest),
            Input::Failed { digest } => self.wants.failed(&digest, now),
            Input::Wakeup => self.wakeup(now),
        }
        let pulls = self.wants.pulls(now, &mut self.draw);
        self.effects.extend(pulls.into_iter().map(|(from, digest, length)| Effect::Pull { from, digest, length }));
    }

    /// The next effect, if there is one.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Wakeup`] is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        [self.news_at, self.exchange_at, self.wants.next_wakeup()].into_iter().flatten().min()
    }

    /// How many reports and receipts are carried.
    pub fn len(&self) -> usize {
        self.stock.items().count()
    }

    /// Whether nothing is carried.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn connected(&mut self, peer: DeviceId, now: Timestamp) {
        self.wants.forget(&peer);
        self.neighbours.insert(peer.clone());
        let all: Vec<StockItem> = self.stock.items().cloned().collect();
        self.send(&peer, all);
        self.exchange_at.get_or_insert(now.after(Duration::from_millis(EXCHANGE_MS)));
    }

    fn attached(&mut self, client: Client, now: Timestamp) {
        if !self.clients.contains(&client) {
            self.clients.push(client);
        }
        if client == Client::Gateway {
            self.exchange_at.get_or_insert(now.after(Duration::from_millis(EXCHANGE_MS)));
        }
        self.deliver_all(client);
    }

    fn deliver_all(&mut self, client: Client) {
        let all: Vec<StockItem> = self.stock.items().cloned().collect();
        all.into_iter().for_each(|item| self.deliver(client, item));
    }

    fn deliver(&mut self, to: Client, item: StockItem) {
        let is_for = match to {
            Client::Gateway => !item.receipt,
            Client::Agent => item.receipt && item.device == self.me,
        };
        if is_for {
            self.effects.push_back(Effect::Deliver { to, item });
        }
    }

    fn offered(&mut self, from: &DeviceId, items: Vec<StockItem>, now: Timestamp) {
        if !self.neighbours.contains(from) {
            return;
        }
        let mut answers = BTreeSet::new();
        for item in items.into_iter().take(STOCK_MAX) {
            if let Some(receipt) = self.stock.newer_receipt(&item) {
                answers.insert(receipt.clone());
            } else if self.stock.wants(&item) {
                self.wants.offer(from, item, now);
            }
        }
        self.send(from, answers.into_iter().collect());
    }

    fn verified(&mut self, item: StockItem, now: Timestamp) {
        let source = self.wants.take(&item);
        let Some(dropped) = self.stock.insert(item.clone()) else {
            // Already here under this digest: keep it; here or settled under another: of no use.
            if !self.stock.holds(&item.digest) {
                self.effects.push_back(Effect::Drop(item.digest));
            }
            return;
        };
        self.effects.push_back(Effect::Keep(item.clone()));
        for digest in dropped {
            self.news.retain(|news, _| news.digest != digest);
            self.effects.push_back(Effect::Drop(digest));
        }
        if !self.stock.holds(&item.digest) {
            return;
        }
        if item.receipt {
            self.wants.settle(&item.device, item.counter);
        }
        for client in self.clients.clone() {
            self.deliver(client, item.clone());
        }
        self.news.insert(item, source);
        self.news_at.get_or_insert(now.after(Duration::from_millis(NEWS_MS)));
    }

    fn wakeup(&mut self, now: Timestamp) {
        self.wants.expire(now);
        if self.news_at.is_some_and(|at| at <= now) {
            self.news_at = None;
            let news = std::mem::take(&mut self.news);
            for peer in self.neighbours.clone() {
                let not_from_it = news.iter().filter(|(_, from)| from.as_ref() != Some(&peer));
                let items = not_from_it.map(|(item, _)| item.clone()).collect();
                self.send(&peer, items);
            }
        }
        if self.exchange_at.is_some_and(|at| at <= now) {
            let next = now.after(Duration::from_millis(EXCHANGE_MS));
            let gateway = self.clients.contains(&Client::Gateway);
            self.exchange_at = (gateway || !self.neighbours.is_empty()).then_some(next);
            if gateway {
                self.deliver_all(Client::Gateway);
            }
            let one = self.neighbours.iter().nth(self.draw.below(self.neighbours.len())).cloned();
            let all: Vec<StockItem> = self.stock.items().cloned().collect();
            one.into_iter().for_each(|peer| self.send(&peer, all.clone()));
        }
    }

    fn send(&mut self, peer: &DeviceId, items: Vec<StockItem>) {
        let messages = items.chunks(STOCK_MAX / 4).map(|c| Effect::Send { peer: peer.clone(), items: c.to_vec() });
        self.effects.extend(messages);
    }
}
