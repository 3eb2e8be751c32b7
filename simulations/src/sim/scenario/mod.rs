//! Scenario files: a fleet, its network, a release, what happens, and what is expected of it.
//!
//! `docs/simulations.md` describes every key. A scenario that was read is whole and consistent: groups, halls and
//! targets that it names are there.

mod calibration;
mod error;
mod event;
mod expect;
mod fleet;
mod lines;
mod nearest;
mod network;
mod release;
mod section;
#[cfg(test)]
mod tests;
mod units;
mod write;

pub use calibration::Calibration;
pub use error::{Place, ScenarioError};
pub use event::{Action, Happening, OriginMood, Targets, When};
pub use expect::{Expectation, Measure, Relation};
pub use fleet::{Group, Manner, PowerOn};
pub use lines::Lines;
pub use network::{Network, Trunk};
pub use release::{Decision, Kind, Later, ReleaseSpec, Sizes};

use crate::sim::engine::Moment;
pub(in crate::sim) use section::read_bounded;
use section::{Section, Source};
use std::path::Path;

/// The longest scenario file in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;
/// The longest run in seconds of virtual time.
pub const SECONDS_MAX: u64 = 30 * 86_400;

/// How much of the way of a deployment is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layers {
    /// Every device knows the manifest when it starts.
    Swarm,
    /// An announcement spreads first.
    Announcement,
    /// A decision at the gateway, deployments on the devices, reports back.
    Deployment,
}

/// A whole scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For people.
    pub name: String,
    /// When to give up.
    pub until: Moment,
    /// The seed unless another is given.
    pub seed: Option<u64>,
    /// What is simulated.
    pub layers: Layers,
    /// The links.
    pub network: Network,
    /// The devices, group by group. The gateway's own peer is no device.
    pub groups: Vec<Group>,
    /// The gateway's peer.
    pub gateway: Group,
    /// What is to be had.
    pub release: ReleaseSpec,
    /// What is to be had after it, in the order of the decisions.
    pub later: Vec<Later>,
    /// What happens.
    pub happenings: Vec<Happening>,
    /// What is expected.
    pub expectations: Vec<Expectation>,
    /// Where in the file all that stands.
    pub lines: Lines,
    /// What the models take from real machines; not in the file.
    pub calibration: Calibration,
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        Scenario::parse(&section::read(path, FILE_LEN_MAX)?, path)
    }

    /// Reads `text`; errors name `file`, and paths in it are relative to that.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ScenarioError> {
        let source = Source { file, text };
        let table = source.table()?;
        if table.get_ref().is_empty() {
            return Err(ScenarioError::Empty { path: file.to_owned() });
        }
        let lines = Lines::of(source, table.get_ref());
        let mut root = Section::root(source, table.get_ref());
        let name = root.required("name", |text| Ok(text.to_owned()))?;
        let seconds = root.number("seconds", 1, SECONDS_MAX)?.unwrap_or(3600);
        let until = Moment::from_millis(seconds * 1_000);
        let seed = root.number("seed", 0, u64::MAX >> 1)?;
        let words =
            [("swarm", Layers::Swarm), ("announcement", Layers::Announcement), ("deployment", Layers::Deployment)];
        let layers = root.word("layers", &words)?.unwrap_or(Layers::Deployment);
        let network = network::read(root.table("network")?, root.tables("trunk")?)?;
        let sections = (root.tables("group")?, root.table("gateway")?);
        let (groups, gateway) = fleet::read(sections, (&root, &lines), &network, until)?;
        let releases = release::read_all(root.one_or_more("release")?, file, &groups, (layers, until))?;
        let (release, later) = releases.ok_or_else(|| root.bad("release", "at least one [[release]]"))?;
        let sections = root.tables("event")?;
        let read = |section| event::read(section, &groups, (layers, until));
        let happenings = sections.into_iter().map(read).collect::<Result<_, _>>()?;
        let expectations = expect::read(root.table("expect")?)?;
        root.finish()?;
        let calibration = Calibration::default();
        Ok(Scenario {
            name,
            until,
            seed,
            layers,
            network,
            groups,
            gateway,
            release,
            later,
            happenings,
            expectations,
            lines,
            calibration,
        })
    }

    /// When each release is decided, and for whom.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        std::iter::once(&self.release.decision).chain(self.later.iter().map(|later| &later.decision))
    }

    /// The lines of these events, without those that are not in the file.
    pub fn event_lines(&self, events: impl Iterator<Item = usize>) -> Vec<usize> {
        events.filter_map(|event| self.lines.line("event", event, "")).collect()
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.groups.iter().map(|group| group.devices).sum()
    }
}
