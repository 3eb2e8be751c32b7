//! `[network]` and `[[trunk]]`: the links and what messages suffer on them.

use super::ScenarioError;
use super::section::Section;
use super::units;

/// 1 Gbit/s in bytes a second.
const GIGABIT: u64 = 125_000_000;

/// The most packets that are lost, in millionths: what congestion control makes of it is modelled for small losses.
const LOSS_MAX: u32 = 100_000;

/// The least budget in bytes a second, as production has it (`config::Rate::MIN`).
const CENTRAL_RATE_MIN: u64 = 8_000;

/// The site's network. Rates in bytes a second, times in microseconds, shares in millionths.
#[derive(Clone, Debug)]
pub struct Network {
    /// From central to the site.
    pub uplink: u64,
    /// What the whole site may take of central, split among those who fetch.
    pub central_rate: Option<u64>,
    /// A device's switch port, each way, unless its group says otherwise.
    pub port: u64,
    /// One way between two devices.
    pub latency: u64,
    /// What is added to it at most, by chance.
    pub jitter: u64,
    /// Packets between two devices that are lost, each by itself.
    pub loss: u32,
    /// Gossip messages that are lost; control streams lose nothing.
    pub gossip_loss: u32,
    /// One way between the site and central.
    pub central_latency: u64,
    /// What packets add to the bytes that they carry.
    pub overhead: u32,
    /// How long a connection without an answer is believed in.
    pub idle: u64,
    /// Weak links between halls.
    pub trunks: Vec<Trunk>,
}

/// A link between two halls.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// The halls.
    pub between: [String; 2],
    /// Bytes a second, each way.
    pub rate: u64,
    /// One way in microseconds, in addition to the network's.
    pub latency: u64,
}

pub(super) fn read(mut section: Section<'_>, trunks: Vec<Section<'_>>) -> Result<Network, ScenarioError> {
    let mut network = Network {
        uplink: section.required("uplink", units::rate)?,
        central_rate: section.text("central_rate", central_rate)?,
        port: section.text("port", units::rate)?.unwrap_or(GIGABIT),
        latency: section.text("latency", units::time)?.unwrap_or(500),
        jitter: section.text("jitter", units::time)?.unwrap_or(200),
        loss: section.text("loss", loss)?.unwrap_or(0),
        gossip_loss: section.text("gossip_loss", units::share)?.unwrap_or(0),
        central_latency: section.text("central_latency", units::time)?.unwrap_or(20_000),
        overhead: section.text("overhead", units::share)?.unwrap_or(40_000),
        idle: section.text("idle", units::time)?.unwrap_or(120_000_000),
        trunks: Vec::new(),
    };
    section.finish()?;
    for section in trunks {
        let next = trunk(section, &network.trunks)?;
        network.trunks.push(next);
    }
    Ok(network)
}

fn central_rate(text: &str) -> Result<u64, String> {
    let least = "at least 64 kbit/s, as `[peer] central_rate`";
    units::rate(text).and_then(|rate| if rate >= CENTRAL_RATE_MIN { Ok(rate) } else { Err(least.to_owned()) })
}

fn loss(text: &str) -> Result<u32, String> {
    let formula = "the model of transfers (Mathis' formula) holds for small losses";
    let most = || format!("a share of at most {}: {formula}", units::show_share(LOSS_MAX));
    units::share(text).and_then(|loss| if loss <= LOSS_MAX { Ok(loss) } else { Err(most()) })
}

fn trunk(mut section: Section<'_>, others: &[Trunk]) -> Result<Trunk, ScenarioError> {
    let halls = section.texts("between", |hall| Ok(hall.to_owned()))?.unwrap_or_default();
    let between: [String; 2] = halls.try_into().map_err(|_| section.bad("between", "the names of two halls"))?;
    let joins_the_same = |other: &Trunk| between.iter().all(|hall| other.between.contains(hall));
    if between[0] == between[1] || others.iter().any(joins_the_same) {
        return Err(section.bad("between", "two halls that no other trunk joins"));
    }
    let rate = section.required("rate", units::rate)?;
    let latency = section.text("latency", units::time)?.unwrap_or(0);
    section.finish()?;
    Ok(Trunk { between, rate, latency })
}
