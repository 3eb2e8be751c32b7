//! Cores by hand, and whole fleets of them on a network without delays.

mod booking;
mod fleet;
mod hostile;
mod rules;
mod silence;

use super::limits::*;
use super::*;
use crate::wire::transfer::PEERS_MAX;
use std::collections::BTreeSet;

fn id(n: usize) -> DeviceId {
    format!("d{n:03}").parse().unwrap()
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250 + 1) as u8], 4000))
}

fn known(n: usize) -> KnownPeer {
    KnownPeer { device: id(n), address: address(n).to_string() }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn start(n: usize) -> Start {
    Start { me: id(n), configured: Vec::new(), remembered: Vec::new(), discovery: false }
}

/// One core, and the time.
struct Alone {
    core: Membership,
    now: Timestamp,
    serial: u64,
}

impl Alone {
    fn new(start: Start) -> Self {
        Alone { core: Membership::new(start, 7, Timestamp::ZERO), now: Timestamp::ZERO, serial: 0 }
    }

    fn tell(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(input, self.now);
        std::iter::from_fn(|| self.core.poll()).collect()
    }

    /// Lets time pass, with all wakeups that are due in it.
    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now.after(time);
        let mut effects = Vec::new();
        for round in 0.. {
            assert!(round < 100_000, "the core wants to be woken for ever");
            let next = self.core.next_wakeup().max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            effects.extend(self.tell(Input::Wakeup));
        }
        self.now = end;
        effects
    }

    fn connect(&mut self, n: usize, dialed: bool) -> (ConnectionId, Vec<Effect>) {
        self.serial += 1;
        let connection = ConnectionId(self.serial);
        let effects = self.tell(Input::Proven { connection, device: id(n), address: address(n), dialed });
        (connection, effects)
    }

    /// Has `n` as a neighbour from now on.
    fn join(&mut self, n: usize, dialed: bool) -> ConnectionId {
        let (connection, effects) = self.connect(n, dialed);
        assert!(joins(&effects, connection), "{effects:?}");
        connection
    }

    fn join_all(&mut self, all: std::ops::RangeInclusive<usize>, dialed: bool) {
        for n in all {
            self.join(n, dialed);
        }
    }

    fn fail(&mut self, address: SocketAddr) -> Vec<Effect> {
        self.tell(Input::DialFailed { address, why: Refusal::Failed })
    }
}

fn joins(effects: &[Effect], which: ConnectionId) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Join { connection, .. } if *connection == which))
}

fn closes(effects: &[Effect], which: ConnectionId) -> Option<Close> {
    let why = |e: &Effect| match e {
        Effect::Close { connection, why } if *connection == which => Some(why.clone()),
        _ => None,
    };
    effects.iter().find_map(why)
}

fn dials(effects: &[Effect]) -> Vec<SocketAddr> {
    effects.iter().filter_map(|e| if let Effect::Dial { address } = e { Some(*address) } else { None }).collect()
}
