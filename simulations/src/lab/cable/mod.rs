//! Cables between network namespaces: veth pairs, and where latency, jitter or loss is to be felt, pairs of TAP devices with
//! a relay in between, since the kernel may have no netem.
//!
//! Rates are not their matter: `tc` shapes what goes out of either end, as at any interface.

mod lane;
mod tap;

pub use lane::{Impairment, Lane, Tally};

use super::net::ip;
use crate::sim::engine::Random;
use std::net::Ipv4Addr;
use tap::Cable;

/// An end of a cable: a namespace, and the name of the interface in it.
pub type End = (String, String);

/// The cables of a network.
#[derive(Debug, Default)]
pub struct Cables {
    impaired: Vec<Cable>,
    seed: u64,
    spared: Option<Ipv4Addr>,
}

impl Cables {
    /// From now on impaired ones draw from this seed, and spare what comes from this address or is for it.
    pub fn draw(&mut self, seed: u64, spared: Ipv4Addr) {
        (self.seed, self.spared) = (seed, Some(spared));
    }

    /// Makes an interface at both ends. Impairments are those from the first end to the second, and back.
    pub fn lay(&mut self, ends: [End; 2], impairments: [Impairment; 2]) -> anyhow::Result<()> {
        let [(netns, name), (other_netns, other)] = &ends;
        if !impairments.iter().any(Impairment::is_felt) {
            let line = format!("link add {name} netns {netns} type veth peer name {other} netns {other_netns}");
            return ip(&line).map(|_| ());
        }
        let lane = |way: usize| {
            let chance = Random::new(self.seed, &format!("cable {} {way}", self.impaired.len()));
            Lane::new(impairments[way], self.spared, chance)
        };
        let lanes = [lane(0), lane(1)];
        self.impaired.push(Cable::lay(ends, lanes)?);
        Ok(())
    }

    /// Fails when one has ended by itself.
    pub fn check(&self) -> anyhow::Result<()> {
        self.impaired.iter().try_for_each(Cable::check)
    }

    /// What became of frames on impaired ones so far.
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.impaired.iter().for_each(|cable| all += cable.tally());
        all
    }
}
