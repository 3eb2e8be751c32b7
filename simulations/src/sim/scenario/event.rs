//! `[[event]]`: what happens, when, and to whom.

use super::fleet::MANNERS;
use super::section::Section;
use super::{Group, Layers, Manner, ScenarioError, units};
use crate::sim::engine::{Moment, Random};
use std::ops::Range;

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When it begins.
    pub when: When,
    /// What.
    pub action: Action,
    /// After how many microseconds it is undone.
    pub lasting: Option<u64>,
    /// Microseconds between two of its targets.
    pub each: u64,
}

impl Happening {
    /// When it begins, if that is a moment.
    pub fn at(&self) -> Option<Moment> {
        match self.when {
            When::At(at) => Some(at),
            When::Progress(_) => None,
        }
    }

    /// When it begins for the last of its targets, in microseconds; if it waits for a share, so long after that.
    pub fn last_at(&self, groups: &[Group]) -> u64 {
        let targets = self.action.targets().map_or(0, |targets| targets.count(groups));
        let spread = self.each.saturating_mul(targets.saturating_sub(1) as u64);
        self.at().map_or(0, |at| at.0).saturating_add(spread)
    }
}

/// When something begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At a moment.
    At(Moment),
    /// When the devices together have this share of all that they need, in millionths.
    Progress(u32),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Processes end in order: neighbours are told.
    Stop(Targets),
    /// Processes are killed: neighbours are told nothing, what was written stays.
    Crash(Targets),
    /// The power goes: what was not synced is lost.
    PowerCut(Targets),
    /// They start, if they do not run.
    Start(Targets),
    /// These can reach only each other; central stays with the others.
    Partition(Targets),
    /// Their ports carry so many bytes a second.
    Slow(Targets, u64),
    /// They begin to lie.
    Lie(Targets, Manner),
    /// The deployment server takes back what was last decided for these.
    Cancel(Targets),
    /// Central changes its mood.
    Origin(OriginMood),
    /// The uplink carries so many bytes a second.
    Uplink(u64),
}

impl Action {
    /// Whom it is done to.
    pub fn targets(&self) -> Option<&Targets> {
        match self {
            Action::Stop(t) | Action::Crash(t) | Action::PowerCut(t) | Action::Start(t) | Action::Partition(t) => {
                Some(t)
            }
            Action::Slow(t, _) | Action::Lie(t, _) | Action::Cancel(t) => Some(t),
            Action::Origin(_) | Action::Uplink(_) => None,
        }
    }

    /// The same, to change it.
    pub fn targets_mut(&mut self) -> Option<&mut Targets> {
        match self {
            Action::Stop(t) | Action::Crash(t) | Action::PowerCut(t) | Action::Start(t) | Action::Partition(t) => {
                Some(t)
            }
            Action::Slow(t, _) | Action::Lie(t, _) | Action::Cancel(t) => Some(t),
            Action::Origin(_) | Action::Uplink(_) => None,
        }
    }
}

/// How central answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginMood {
    /// As it should.
    Well,
    /// It takes requests and sends nothing.
    Stalled,
    /// It refuses.
    Failing,
    /// It has not what is asked for.
    Missing,
    /// It sends wrong bytes.
    Corrupt,
}

/// Which devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// All devices, not the gateway.
    All,
    /// The gateway.
    Gateway,
    /// A device that is fetching from central at that moment, else any.
    Fetcher,
    /// Some of a group, by index: the first and the last.
    Group {
        /// Index of the group.
        group: usize,
        /// The first of its devices.
        first: usize,
        /// The last.
        last: usize,
    },
    /// So many millionths of a group or of all, drawn from the seed.
    Share {
        /// Millionths.
        ppm: u32,
        /// Index of the group; all without it.
        group: Option<usize>,
    },
}

impl Targets {
    /// How many these are.
    pub fn count(&self, groups: &[Group]) -> usize {
        let all = || groups.iter().map(|group| group.devices).sum();
        match self {
            Targets::All => all(),
            Targets::Gateway | Targets::Fetcher => 1,
            Targets::Group { first, last, .. } => last - first + 1,
            Targets::Share { ppm, group } => share_of(group.map_or_else(all, |group| groups[group].devices), *ppm),
        }
    }

    /// Which nodes these are: 0 is the gateway, `groups` are where the devices of each group stand, one after another from
    /// 1. Shares are drawn; `fetcher` names one that is fetching from central.
    pub fn resolve(
        &self,
        groups: &[Range<usize>],
        draw: &mut Random,
        fetcher: impl FnOnce() -> Option<usize>,
    ) -> Vec<usize> {
        let devices = 1..groups.last().map_or(1, |range| range.end);
        match self {
            Targets::All => devices.collect(),
            Targets::Gateway => vec![0],
            Targets::Fetcher => fetcher().into_iter().collect(),
            Targets::Group { group, first, last } => {
                let start = groups[*group].start;
                (start + first..=start + last).collect()
            }
            Targets::Share { ppm, group } => {
                let mut all: Vec<usize> = group.map_or(devices, |group| groups[group].clone()).collect();
                let count = share_of(all.len(), *ppm);
                let mut drawn: Vec<usize> = (0..count).map(|_| all.swap_remove(draw.index(all.len()))).collect();
                drawn.sort_unstable();
                drawn
            }
        }
    }
}

/// So many millionths of some devices, and one if it is not none.
fn share_of(devices: usize, ppm: u32) -> usize {
    (devices as u64 * u64::from(ppm)).div_ceil(1_000_000) as usize
}

/// The words for [`OriginMood`].
pub(super) const MOODS: [(&str, OriginMood); 5] = [
    ("well", OriginMood::Well),
    ("stalled", OriginMood::Stalled),
    ("failing", OriginMood::Failing),
    ("missing", OriginMood::Missing),
    ("corrupt", OriginMood::Corrupt),
];

/// Keys that say what happens; an event has exactly one of them.
const ACTIONS: [&str; 10] =
    ["stop", "crash", "power_cut", "start", "partition", "slow", "lie", "cancel", "origin", "uplink"];

pub(super) fn read(
    mut section: Section<'_>,
    groups: &[Group],
    (layers, until): (Layers, Moment),
) -> Result<Happening, ScenarioError> {
    let when = section.required("at", when)?;
    let lasting = section.text("for", units::time)?;
    let each = section.text("each", units::time)?.unwrap_or(0);
    let port = section.text("port", units::rate_or_none)?;
    let how = section.word("how", &MANNERS)?;
    let mut actions = ACTIONS.iter().filter(|key| section.has(key));
    if let (Some(one), Some(other)) = (actions.next(), actions.next()) {
        return Err(section.bad(other, &format!("an [[event]] of its own: this one has `{one}`, too")));
    }
    let mut action = None;
    for key in &ACTIONS[..8] {
        if let Some(text) =
            section.text(key, |text| if text.is_empty() { Err(WHO.to_owned()) } else { Ok(text.to_owned()) })?
        {
            let targets = targets(&section, key, &text, groups)?;
            action = Some(match *key {
                "stop" => Action::Stop(targets),
                "crash" => Action::Crash(targets),
                "power_cut" => Action::PowerCut(targets),
                "start" => Action::Start(targets),
                "partition" => Action::Partition(targets),
                "slow" => Action::Slow(targets, port.ok_or_else(|| section.bad("port", "a rate with `slow`"))?),
                "lie" => Action::Lie(targets, how.unwrap_or(Manner::Bytes)),
                _ => Action::Cancel(targets),
            });
        }
    }
    let mood = section.word("origin", &MOODS)?.map(Action::Origin);
    let uplink = section.text("uplink", units::rate_or_none)?.map(Action::Uplink);
    if matches!(action, Some(Action::Cancel(_))) && (lasting.is_some() || layers != Layers::Deployment) {
        return Err(section.bad("cancel", "layers = \"deployment\" with it, and no `for`: what is cancelled stays so"));
    }
    let is = |wanted: fn(&Action) -> bool| action.as_ref().is_some_and(wanted);
    if port.is_some() && !is(|action| matches!(action, Action::Slow(..))) {
        return Err(section.bad("port", "`slow` with it"));
    }
    if how.is_some() && !is(|action| matches!(action, Action::Lie(..))) {
        return Err(section.bad("how", "`lie` with it"));
    }
    if each > 0 && action.is_none() {
        return Err(section.bad("each", "devices to which something happens one after the other"));
    }
    if is(|action| matches!(action, Action::Cancel(Targets::Gateway))) {
        return Err(section.bad("cancel", "devices: the gateway has no release of its own"));
    }
    let Some(action) = action.or(mood).or(uplink) else {
        let place = section.place();
        // An unknown key is the likelier mistake.
        section.finish()?;
        return Err(ScenarioError::NoAction { place, actions: ACTIONS.join(", ") });
    };
    let happening = Happening { when, action, lasting, each };
    check_times(&section, &happening, groups, until)?;
    section.finish()?;
    Ok(happening)
}

/// An event is to come and to be over within the run: who never comes back would not be missed at its end.
fn check_times(
    section: &Section<'_>,
    happening: &Happening,
    groups: &[Group],
    until: Moment,
) -> Result<(), ScenarioError> {
    let last = happening.last_at(groups);
    if happening.at().is_some_and(|at| at >= until) {
        return Err(section.too_late("at", until));
    }
    if last >= until.0 {
        return Err(section.not_within("each", "so much time that the last of them comes", until));
    }
    match happening.lasting {
        Some(us) if last.saturating_add(us) >= until.0 => {
            Err(section.not_within("for", "to be left out, or so much time that it is over", until))
        }
        _ => Ok(()),
    }
}

/// Words by which events mean somebody; no group has such a name.
pub(super) const RESERVED: [&str; 3] = ["all", "gateway", "fetcher"];

const WHO: &str =
    "devices: \"all\", \"gateway\", \"fetcher\", \"hall-a\", \"hall-a 3\", \"hall-a 3-7\" or \"5 % of hall-a\"";

fn when(text: &str) -> Result<When, String> {
    if text.ends_with('%') {
        return units::share(text).map(When::Progress);
    }
    let at = units::time(text).map(|us| When::At(Moment(us)));
    at.map_err(|expected| format!("{expected}; or a share such as \"50 %\" of what all need"))
}

pub(super) fn targets(
    section: &Section<'_>,
    key: &str,
    text: &str,
    groups: &[Group],
) -> Result<Targets, ScenarioError> {
    match text {
        "all" => return Ok(Targets::All),
        "gateway" => return Ok(Targets::Gateway),
        "fetcher" => return Ok(Targets::Fetcher),
        _ => {}
    }
    let find = |name: &str| {
        let index = groups.iter().position(|group| group.name == name);
        let names = || groups.iter().map(|g| g.name.clone()).chain(RESERVED.map(str::to_owned));
        index.ok_or_else(|| section.unknown_name(key, name, &names().collect::<Vec<_>>()))
    };
    if let Some((share, name)) = text.split_once(" of ") {
        let ppm = units::share(share).map_err(|expected| section.bad(key, &format!("{WHO}: {expected}")))?;
        let group = if name == "all" { None } else { Some(find(name)?) };
        return Ok(Targets::Share { ppm, group });
    }
    let Some((name, range)) = text.split_once(' ') else {
        let group = find(text)?;
        return Ok(Targets::Group { group, first: 0, last: groups[group].devices - 1 });
    };
    let group = find(name)?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last && last < groups[group].devices => {
            Ok(Targets::Group { group, first, last })
        }
        _ => Err(section.bad(key, &format!("devices of {name} from 0 to {}", groups[group].devices - 1))),
    }
}
