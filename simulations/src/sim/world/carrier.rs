//! Drives the core that carries reports to the gateway and receipts back.

use super::World;
use super::event::{Body, Life, Message, NodeId};
use fullmetal_proto::announce::carried::{Client, Effect, Input};
use fullmetal_proto::wire::transfer::StockItem;
use fullmetal_proto::wire::{Report, cbor};
use fullmetal_proto::{DeviceId, Digest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A body that is carried.
#[derive(Clone, Debug)]
pub(super) enum Carriage {
    /// A report.
    Report(Arc<Report>),
    /// A receipt up to a counter, for the device that its item names.
    Receipt(u64),
}

/// Bytes of an envelope besides its body: kind, key, signature, certificate.
const ENVELOPE_LEN: usize = 700;

impl World {
    /// Hands the core an input and does what it wants done.
    pub(super) fn tell_carried(&mut self, node: NodeId, input: Input) {
        if !self.hears {
            return;
        }
        let now = self.now.timestamp();
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        peer.carried.handle(input, now);
        peer.wakeups.carried = peer.carried.next_wakeup();
        let life = self.life(node);
        while let Some(effect) = self.peer_of(life).and_then(|p| p.carried.poll()) {
            self.carry(life, effect);
        }
        self.plan_wake(node);
    }

    fn carry(&mut self, life: Life, effect: Effect) {
        let node = life.node;
        match effect {
            Effect::Pull { from, digest, length } => self.pull(life, &from, digest, u64::from(length), Body::Carried),
            Effect::Send { peer, items } => {
                if let Some(to) = self.index(&peer) {
                    self.send(node, to, Message::Stock(items));
                }
            }
            Effect::Keep(item) => drop(self.nodes[node as usize].carries.insert(item.digest, item)),
            Effect::Drop(digest) => drop(self.nodes[node as usize].carries.remove(&digest)),
            Effect::Deliver { to, item } => match (to, self.carriages.get(&item.digest).cloned()) {
                (Client::Gateway, Some(Carriage::Report(report))) => self.gateway_reads(report),
                (Client::Agent, Some(Carriage::Receipt(counter))) => {
                    // What the gateway has for good need not be told again.
                    self.nodes[node as usize].journal.spool.retain(|c, _| *c > counter);
                }
                _ => {}
            },
        }
    }

    /// An agent gives its peer a report.
    pub(super) fn hand_over_report(&mut self, node: NodeId, report: Report) {
        let body = cbor::to_vec(&report);
        let (device, counter) = (report.device.clone(), report.counter);
        let item = item(&body, device, counter, false);
        self.carriages.insert(item.digest, Carriage::Report(Arc::new(report)));
        self.tell_carried(node, Input::Verified(item));
    }

    /// The gateway gives its peer a receipt.
    pub(super) fn hand_over_receipt(&mut self, device: DeviceId, counter: u64) {
        let body = cbor::to_vec(&("receipt", &device, counter));
        let item = item(&body, device.clone(), counter, true);
        self.carriages.insert(item.digest, Carriage::Receipt(counter));
        self.tell_carried(0, Input::Verified(item));
    }

    /// A pull of a report or receipt is over.
    pub(super) fn pulled_carried(&mut self, node: NodeId, item: Option<StockItem>, digest: Digest) {
        let input = item.map_or(Input::Failed { digest }, Input::Verified);
        self.tell_carried(node, input);
    }

    /// What a node carried before it was started anew.
    pub(super) fn restore_carried(&mut self, node: NodeId) {
        let items: BTreeMap<Digest, StockItem> = self.node(node).carries.clone();
        items.into_values().for_each(|item| self.tell_carried(node, Input::Verified(item)));
    }
}

fn item(body: &[u8], device: DeviceId, counter: u64, receipt: bool) -> StockItem {
    let length = (body.len() + ENVELOPE_LEN) as u32;
    StockItem { digest: Digest::of(body), length, device, counter, receipt }
}
