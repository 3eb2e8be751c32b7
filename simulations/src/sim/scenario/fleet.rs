//! `[[group]]` and `[gateway]`: the devices.

use super::section::{Section, unknown_name};
use super::{Lines, Network, ScenarioError, event, units};
use crate::sim::engine::Moment;
use fullmetal_proto::DeviceId;

/// The most devices of a scenario.
const DEVICES_MAX: u64 = 20_000;
/// The most halls.
const HALLS_MAX: usize = 16;
/// The hall of all who name none.
pub const HALL: &str = "site";

/// Devices that are alike.
#[derive(Clone, Debug)]
pub struct Group {
    /// Device n of it has the id `<name>-<n>`, counted from 0.
    pub name: String,
    /// How many.
    pub devices: usize,
    /// Where they are.
    pub hall: String,
    /// Whether they may fetch from central.
    pub origin: bool,
    /// Their weight in the election of fetchers.
    pub weight: u16,
    /// Bytes a second of the switch port, each way.
    pub port: u64,
    /// Bytes a second of air time that the group shares.
    pub wifi: Option<u64>,
    /// When they are switched on.
    pub on: PowerOn,
    /// Which share of the pieces they have at the start, in millionths.
    pub has: u32,
    /// How they behave.
    pub manner: Manner,
    /// Milliseconds by which their clocks are wrong.
    pub clock: i64,
    /// Bytes a second that their disks write.
    pub disk: u64,
    /// Microseconds of a sync.
    pub sync: u64,
}

/// When devices are switched on, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerOn {
    /// The first moment.
    pub from: u64,
    /// Within this time after it, drawn for each.
    pub over: u64,
}

impl PowerOn {
    /// When all are on.
    pub fn end(&self) -> u64 {
        self.from + self.over
    }
}

/// How a device behaves towards its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// As the protocol says.
    Honest,
    /// Says it has everything and sends wrong bytes.
    Bytes,
    /// Says it has everything and has nothing when asked.
    Nothing,
    /// Says it has everything and never answers.
    Silence,
}

/// The words for [`Manner`].
pub(super) const MANNERS: [(&str, Manner); 4] =
    [("honest", Manner::Honest), ("bytes", Manner::Bytes), ("nothing", Manner::Nothing), ("silence", Manner::Silence)];

/// Reads all groups and the gateway; `root` is what they are in.
pub(super) fn read(
    (groups, gateway): (Vec<Section<'_>>, Section<'_>),
    (root, lines): (&Section<'_>, &Lines),
    network: &Network,
    until: Moment,
) -> Result<(Vec<Group>, Group), ScenarioError> {
    let mut read: Vec<Group> = Vec::new();
    let mut total = 0;
    for mut section in groups {
        let name = section.required("name", name)?;
        let devices = section.number("devices", 1, DEVICES_MAX)?.unwrap_or(1);
        if event::RESERVED.contains(&name.as_str()) {
            return Err(section.bad("name", &format!("another name: events mean something else by {}", reserved())));
        }
        if read.iter().any(|group| group.name == name) {
            return Err(section.bad("name", "a name that no other group has"));
        }
        total += devices;
        if total > DEVICES_MAX {
            let expected = format!("at most {DEVICES_MAX} devices in all, and with these it is {total}");
            return Err(section.bad("devices", &expected));
        }
        read.push(group(section, name, devices as usize, (network, until))?);
    }
    if read.is_empty() {
        return Err(root.bad("group", "at least one [[group]]"));
    }
    let mut gateway = group(gateway, "gateway".to_owned(), 1, (network, until))?;
    if gateway.hall == HALL {
        gateway.hall.clone_from(&read[0].hall);
    }
    check_halls(&read, &gateway, network, (root, lines))?;
    Ok((read, gateway))
}

/// Halls that trunks and the gateway name must be some group's.
fn check_halls(
    groups: &[Group],
    gateway: &Group,
    network: &Network,
    (root, lines): (&Section<'_>, &Lines),
) -> Result<(), ScenarioError> {
    let mut halls: Vec<String> = groups.iter().map(|group| group.hall.clone()).collect();
    halls.sort();
    halls.dedup();
    let between = network.trunks.iter().enumerate();
    let between = between.flat_map(|(i, trunk)| trunk.between.each_ref().map(|hall| (hall, ("trunk", i, "between"))));
    for (hall, (table, index, key)) in between.chain([(&gateway.hall, ("gateway", 0, "hall"))]) {
        if !halls.contains(hall) {
            return Err(unknown_name(lines.place(table, index, key), key, hall, &halls));
        }
    }
    if halls.len() > HALLS_MAX {
        return Err(root.bad("group", &format!("at most {HALLS_MAX} halls")));
    }
    Ok(())
}

/// "`all`, `gateway`" of the words that are no names.
fn reserved() -> String {
    event::RESERVED.map(|word| format!("`{word}`")).join(", ")
}

fn group(
    mut section: Section<'_>,
    name: String,
    devices: usize,
    (network, until): (&Network, Moment),
) -> Result<Group, ScenarioError> {
    let clock_ahead = section.text("clock_ahead", units::time)?.map_or(0, |us| (us / 1_000) as i64);
    let clock_behind = section.text("clock_behind", units::time)?.map_or(0, |us| (us / 1_000) as i64);
    let group = Group {
        name,
        devices,
        hall: section.text("hall", |hall| Ok(hall.to_owned()))?.unwrap_or_else(|| HALL.to_owned()),
        origin: section.truth("origin")?.unwrap_or(true),
        weight: section.number("weight", 0, 1_000)?.unwrap_or(10) as u16,
        port: section.text("port", units::rate)?.unwrap_or(network.port),
        wifi: section.text("wifi", units::rate)?,
        on: section.text("on", power_on)?.unwrap_or(PowerOn { from: 0, over: 0 }),
        has: section.text("has", units::share)?.unwrap_or(0),
        manner: section.word("lies", &MANNERS)?.unwrap_or(Manner::Honest),
        clock: clock_ahead - clock_behind,
        disk: section.text("disk", units::rate)?.unwrap_or(200_000_000),
        sync: section.text("sync", units::time)?.unwrap_or(5_000),
    };
    if group.on.from >= until.0 || group.on.end() > until.0 {
        return Err(section.not_within("on", "a time, for all of them,", until));
    }
    section.finish()?;
    Ok(group)
}

fn name(text: &str) -> Result<String, String> {
    // The longest number has five digits.
    let fits = text.len() + 6 <= DeviceId::LEN_MAX && format!("{text}-0").parse::<DeviceId>().is_ok();
    if fits { Ok(text.to_owned()) } else { Err("a name of letters, digits, '_', '.' and '-'".to_owned()) }
}

/// "at 5 s", "over 10 s" or "at 5 s over 10 s".
fn power_on(text: &str) -> Result<PowerOn, String> {
    let expected = || "\"at 5 s\", \"over 10 s\" or \"at 5 s over 10 s\"".to_owned();
    let time = |text: &str| units::time(text).map_err(|time| format!("{}: {time}", expected()));
    let (at, over) = match text.split_once("over ") {
        Some((at, over)) => (at.trim(), Some(over)),
        None => (text, None),
    };
    let from = match at.strip_prefix("at ") {
        Some(at) => time(at)?,
        None if at.is_empty() && over.is_some() => 0,
        None => return Err(expected()),
    };
    let over = over.map_or(Ok(0), time)?;
    Ok(PowerOn { from, over })
}
