//! What is sent to somebody who does not answer: dead, cut off, or started anew.
//!
//! Whoever answers does so within milliseconds; so only silence is counted, and told to the core of membership.

use super::World;
use super::event::{Event, Life, NodeId};
use fullmetal_proto::membership::limits::LOOK;
use fullmetal_proto::membership::{ConnectionId, Input};

/// A silent connection is kept alive this often by its dialer, in microseconds (`endpoint::KEEP_ALIVE`).
const KEEP_ALIVE: u64 = 45_000_000;

impl World {
    /// Something goes over the connection to a neighbour.
    pub(super) fn sends(&mut self, node: NodeId, other: NodeId) {
        let neighbour = self.node(node).neighbour(other);
        let Some(serial) = neighbour.map(|n| n.serial) else { return };
        if self.has_answer(node, other, serial) {
            return;
        }
        let life = self.life(node);
        let neighbour = self.peer_of(life).and_then(|p| p.neighbours.get_mut(&other));
        let Some((sent, looks)) = neighbour.map(|n| &mut n.unanswered) else { return };
        *sent += 1;
        if *looks == 0 {
            *looks = 1;
            self.queue.put(self.now.after(LOOK.as_micros() as u64), Event::Unanswered(life, other, serial));
        }
    }

    fn has_answer(&self, node: NodeId, other: NodeId, serial: u64) -> bool {
        self.reach(node, other) && self.has(other, node, serial)
    }

    /// The connection was silent for a second.
    pub(super) fn unanswered(&mut self, life: Life, other: NodeId, serial: u64) {
        let answers = self.has_answer(life.node, other, serial);
        let neighbour = self.peer_of(life).and_then(|p| p.neighbours.get_mut(&other));
        let Some(neighbour) = neighbour.filter(|n| n.serial == serial) else { return };
        let (sent, looks) = &mut neighbour.unanswered;
        if answers {
            (*looks, neighbour.answers) = (0, neighbour.answers + 1);
        } else {
            // QUIC sends again after ever twice the time.
            *sent += u64::from(looks.is_power_of_two());
            *looks += 1;
            self.queue.put(self.now.after(LOOK.as_micros() as u64), Event::Unanswered(life, other, serial));
        }
        let connection = ConnectionId(serial);
        let neighbour = self.node(life.node).neighbour(other);
        if let Some((sent, received)) = neighbour.map(|n| (n.unanswered.0, n.answers)) {
            self.tell_membership(life.node, Input::Traffic { connection, sent, received });
        }
    }

    /// `other` has stopped to answer `node`; if that dialed, it will notice by its next sign of life.
    pub(super) fn plan_keep_alive(&mut self, node: NodeId, other: NodeId, serial: u64) {
        let neighbour = self.node(node).neighbour(other);
        if neighbour.is_some_and(|n| n.serial == serial && n.dialed) {
            self.queue.put(self.now.after(KEEP_ALIVE), Event::KeepsAlive(self.life(node), other, serial));
        }
    }

    /// A sign of life is due.
    pub(super) fn keeps_alive(&mut self, life: Life, other: NodeId, serial: u64) {
        if self.peer_of(life).is_some() && self.has(life.node, other, serial) {
            self.sends(life.node, other);
        }
    }
}
