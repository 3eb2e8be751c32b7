//! Neighbours that leave unanswered what is sent to them.
//!
//! Every QUIC packet that needs an acknowledgement gets one within milliseconds (RFC 9000, section 13.2), and is sent
//! again, ever more rarely, while it does not. So a neighbour of which nothing comes although something was sent, and
//! sent again, is gone: it lost its power, or is across a cut. The idle timeout would take minutes to say so. Who stood
//! still meanwhile, because it slept or had no processor, has sent nothing again: it looks twice more before it judges.

use super::limits::{UNANSWERED, UNANSWERED_LOOKS};
use super::{Close, ConnectionId, Membership};
use crate::Timestamp;

/// What was sent to a neighbour and what came from it, at the last look.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    sent: u64,
    received: u64,
    silence: Option<Silence>,
}

/// Something was sent, and nothing came since.
#[derive(Debug)]
struct Silence {
    since: Timestamp,
    /// Looks at which more had been sent.
    looks: u32,
}

impl Traffic {
    /// Takes a look; gives whether the neighbour is to be given up.
    fn look(&mut self, sent: u64, received: u64, now: Timestamp) -> bool {
        let more = sent > self.sent;
        self.sent = sent;
        if received != self.received {
            (self.received, self.silence) = (received, None);
            return false;
        }
        if more {
            self.silence.get_or_insert(Silence { since: now, looks: 0 }).looks += 1;
        }
        let silence = self.silence.as_ref();
        silence.is_some_and(|s| s.looks >= UNANSWERED_LOOKS && now.since(s.since) >= UNANSWERED)
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silence.is_some()
    }
}

impl Membership {
    pub(super) fn look_at_traffic(&mut self, connection: ConnectionId, sent: u64, received: u64, now: Timestamp) {
        let Some(neighbour) = self.neighbours.values_mut().find(|n| n.connection == connection) else { return };
        if neighbour.traffic.look(sent, received, now) {
            neighbour.close(Close::Unanswered, &mut self.effects);
        }
    }
}
