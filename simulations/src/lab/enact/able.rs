//! What of a scenario a lab can do. What it cannot is refused by name; what it does otherwise is told with the result.

use crate::lab::Impairment;
use crate::sim::scenario::{
    Action, Group, Kind, Layers, Manner, Measure, Network, Scenario, ScenarioError, Sizes, Targets, Trunk,
};
use std::collections::BTreeSet;

/// The most devices of a lab: each is two programs, and all share one machine.
pub const DEVICES_MAX: usize = 64;
/// The least release in bytes: a program that runs is in it.
pub const SIZE_MIN: u64 = 3 << 20;
/// Frames as `fullmetal publish` cuts them.
const FRAME: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;
/// After which an idle connection is given up in production, in microseconds (`IDLE_MS_MAX` of a peer's endpoint).
const IDLE: u64 = 120_000_000;

/// Refuses what a lab cannot do; gives notes on what it does otherwise.
pub fn check(scenario: &Scenario) -> Result<Vec<String>, ScenarioError> {
    let refuse = |section: String, (table, index): (&str, usize), (key, reason): Unable<'_>| {
        let place = scenario.lines.place(table, index, key);
        Err(ScenarioError::Lab { place, section, key, reason: reason.to_owned() })
    };
    if scenario.layers != Layers::Deployment {
        let unable = ("layers", "real programs do the whole way, which is \"deployment\"");
        return refuse("the file".to_owned(), ("", 0), unable);
    }
    if scenario.devices() > DEVICES_MAX {
        let reason = format!("{} devices, and one machine holds {DEVICES_MAX} at most", scenario.devices());
        return refuse("[[group]]".to_owned(), ("group", most(&scenario.groups)), ("devices", &reason));
    }
    let groups = scenario.groups.iter().enumerate().map(|(index, group)| (group, ("group", index)));
    for (group, table) in groups.chain([(&scenario.gateway, ("gateway", 0))]) {
        if let Some(unable) = unable(group) {
            return refuse(format!("group {}", group.name), table, unable);
        }
    }
    if !scenario.gateway.origin {
        let unable = ("origin", "a gateway reads at central what it decides on");
        return refuse("[gateway]".to_owned(), ("gateway", 0), unable);
    }
    let found = [
        network(scenario).map(|unable| ("[network]", ("network", 0), unable)),
        (!is_tree(scenario)).then_some(("[[trunk]]", ("trunk", 0), NO_TREE)),
        release(scenario).map(|(index, unable)| ("[release]", ("release", index), unable)),
        events(scenario).map(|(index, unable)| ("[[event]]", ("event", index), unable)),
        expectations(scenario).map(|unable| ("[expect]", ("expect", 0), unable)),
    ];
    match found.into_iter().flatten().next() {
        Some((section, table, unable)) => refuse(section.to_owned(), table, unable),
        None => Ok(notes(scenario)),
    }
}

/// The key of what cannot be done, and why not.
type Unable<'a> = (&'static str, &'a str);

const NO_TREE: Unable<'_> =
    ("between", "switches must form a tree: trunks join all halls, and no two ways lead between two");

/// The first of the largest groups.
fn most(groups: &[Group]) -> usize {
    let largest = groups.iter().map(|group| group.devices).max();
    groups.iter().position(|group| Some(group.devices) == largest).unwrap_or(0)
}

/// What frames suffer between two devices of one hall.
pub fn impairment(network: &Network) -> Impairment {
    Impairment { latency: network.latency, jitter: network.jitter, loss: network.loss }
}

/// What they suffer on a trunk besides.
pub fn weak(trunk: &Trunk) -> Impairment {
    Impairment { latency: trunk.latency, ..Impairment::default() }
}

fn unable(group: &Group) -> Option<Unable<'static>> {
    if group.manner != Manner::Honest {
        return Some(("lies", "the real programs do not lie"));
    }
    if group.wifi.is_some() {
        return Some(("wifi", "there is no radio between network namespaces"));
    }
    if group.clock != 0 {
        let key = if group.clock > 0 { "clock_ahead" } else { "clock_behind" };
        return Some((key, "all devices have the machine's clock"));
    }
    (group.has > 0).then_some(("has", "all devices start with nothing"))
}

fn network(scenario: &Scenario) -> Option<Unable<'static>> {
    let network = &scenario.network;
    if network.gossip_loss > 0 {
        return Some(("gossip_loss", "gossip is on streams here, which lose nothing; `loss` loses packets"));
    }
    (network.idle != IDLE).then_some(("idle", "real peers give connections up after 120 s"))
}

/// Whether trunks join all halls without a ring. Without trunks all are on one switch.
fn is_tree(scenario: &Scenario) -> bool {
    let trunks = &scenario.network.trunks;
    let groups = scenario.groups.iter().chain([&scenario.gateway]);
    let mut parts: Vec<BTreeSet<&str>> = Vec::new();
    for hall in groups.map(|group| &group.hall).chain(trunks.iter().flat_map(|trunk| &trunk.between)) {
        if !parts.iter().any(|part| part.contains(hall.as_str())) {
            parts.push(BTreeSet::from([hall.as_str()]));
        }
    }
    for trunk in trunks {
        let [a, b] = trunk.between.each_ref().map(|hall| parts.iter().position(|part| part.contains(hall.as_str())));
        let (Some(a), Some(b)) = (a, b) else { return false };
        if a == b {
            return false;
        }
        let other = parts.swap_remove(a.max(b));
        parts[a.min(b)].extend(other);
    }
    trunks.is_empty() || parts.len() == 1
}

/// Which release, and what of it.
fn release(scenario: &Scenario) -> Option<(usize, Unable<'static>)> {
    if !scenario.later.is_empty() {
        return Some((1, ("changed", "one release can be had")));
    }
    first_release(scenario).map(|unable| (0, unable))
}

fn first_release(scenario: &Scenario) -> Option<Unable<'static>> {
    if scenario.release.decision.fails {
        return Some(("app", "the app works"));
    }
    let size = match &scenario.release.sizes {
        Sizes::Even { total, each } if FRAME.contains(each) => *total,
        Sizes::Even { .. } => return Some(("frame", "publish cuts frames of 64 KiB to 4 MiB")),
        Sizes::Given(_) if scenario.release.kind == Kind::Frames => {
            return Some(("sizes", "publish cuts the frames itself; `size` and `frame` can be had"));
        }
        Sizes::Given(sizes) => sizes.iter().sum(),
        Sizes::Drawn { total, .. } => *total,
        Sizes::FromRepo { rev, .. } if rev.len() == 64 => return Some(("ref", "devices are told refs, not commits")),
        Sizes::FromRepo { .. } => SIZE_MIN,
    };
    (size < SIZE_MIN).then_some(("size", "at least 3 MiB, since a program is in it that runs"))
}

/// Which event, and what of it.
fn events(scenario: &Scenario) -> Option<(usize, Unable<'static>)> {
    let halls: BTreeSet<&str> = scenario.groups.iter().map(|group| group.hall.as_str()).collect();
    let unable = |action: &Action| match action {
        Action::Lie(..) => Some(("lie", "the real programs do not lie")),
        Action::Cancel(_) => Some(("cancel", "nothing is taken back")),
        Action::Partition(targets) if !scenario.network.trunks.is_empty() => {
            let of_one_hall = halls.len() == 1 || matches!(targets, Targets::Group { .. });
            let why = "over weak links only devices of one group are divided from others";
            (!of_one_hall).then_some(("partition", why))
        }
        _ => None,
    };
    let mut all = scenario.happenings.iter().enumerate();
    all.find_map(|(index, happening)| Some((index, unable(&happening.action)?)))
}

fn expectations(scenario: &Scenario) -> Option<Unable<'static>> {
    let uncounted = |measure| matches!(measure, Measure::Wasted | Measure::Fetchers);
    let of_these = scenario.expectations.iter().find(|e| uncounted(e.measure));
    of_these.map(|e| (e.key, "real peers do not count it"))
}

fn notes(scenario: &Scenario) -> Vec<String> {
    let network = &scenario.network;
    let mut notes = vec!["overhead, disk, sync: those of this machine".to_owned()];
    let trunks = network.trunks.iter().map(weak);
    let links: Vec<Impairment> = trunks.chain([impairment(network)]).collect();
    if links.iter().any(Impairment::is_felt) {
        notes.push("latency, jitter, loss: of each Ethernet frame between two hosts, central excepted".to_owned());
    }
    if links.iter().any(|link| !link.is_felt() && *link != Impairment::default()) {
        notes.push("latency and jitter of at most 2 ms: not applied, such links are as fast as the kernel".to_owned());
    }
    if network.central_latency > 0 {
        notes.push("central_latency: applied to TCP connections by a relay, without jitter".to_owned());
    }
    if scenario.release.manifest.is_some() {
        notes.push("manifest: as long as it comes".to_owned());
    }
    if matches!(scenario.release.kind, Kind::Plain { .. }) {
        notes.push("batch, batch_objects: as gateways cut them".to_owned());
    }
    if scenario.happenings.iter().any(|h| matches!(h.action, Action::PowerCut(_))) {
        notes.push("power_cut: processes are killed, what was written stays".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const SITE: &str = "name = \"t\"\n[network]\nuplink = \"20 Mbit/s\"\nNETWORK\n[[group]]\nname = \"hall\"\n\
                        devices = 4\nGROUP\n[release]\nsize = \"4 MB\"\nRELEASE\n[gateway]\nGATEWAY\n[expect]\nEXPECT\n";

    /// Of two more halls a weak link joins one.
    const TRUNK_TO_ONE_OF_TWO: &str = "[[group]]\nname = \"b\"\nhall = \"b\"\n[[group]]\nname = \"c\"\nhall = \"c\"\n\
                                       [[trunk]]\nbetween = [\"site\", \"b\"]\nrate = \"1 Mbit/s\"";

    fn checked(place: &str, line: &str) -> Result<Vec<String>, String> {
        let mut text = SITE.replace(place, line);
        for other in ["NETWORK", "GROUP", "RELEASE", "GATEWAY", "EXPECT"] {
            text = text.replace(other, "");
        }
        let text = if place == "ROOT" { format!("{line}\n{text}") } else { text };
        let scenario = Scenario::parse(&text, Path::new("t.toml")).unwrap_or_else(|error| panic!("{error}"));
        check(&scenario).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_lab_cannot_do_is_refused_with_its_line() {
        for (place, line, number) in [
            ("ROOT", "layers = \"swarm\"", 1),
            ("NETWORK", "gossip_loss = \"1 %\"", 4),
            ("GROUP", "wifi = \"40 Mbit/s\"", 8),
            ("GROUP", "[[group]]\nname = \"more\"\ndevices = 100", 10),
            ("GROUP", TRUNK_TO_ONE_OF_TWO, 15),
            ("RELEASE", "frame = \"8 MiB\"", 11),
            ("GATEWAY", "origin = false", 13),
            ("EXPECT", "wasted = \"<= 1 MB\"", 15),
            ("EXPECT", "[[event]]\nat = \"1 s\"\nstop = \"hall\"\n[[event]]\nat = \"1 s\"\nlie = \"hall\"", 20),
        ] {
            let error = checked(place, line).expect_err(line);
            assert!(error.starts_with(&format!("t.toml:{number}: ")), "{line}: {error}");
        }
    }

    #[test]
    fn what_a_lab_cannot_do_is_refused_with_the_key() {
        for (place, line, key) in [
            ("ROOT", "layers = \"swarm\"", "`layers`"),
            ("GROUP", "lies = \"bytes\"", "`lies` in group hall"),
            ("GROUP", "wifi = \"40 Mbit/s\"", "`wifi`"),
            ("GROUP", "has = \"10 %\"", "`has`"),
            ("GROUP", "clock_behind = \"1 h\"", "`clock_behind`"),
            ("GROUP", "[[group]]\nname = \"more\"\ndevices = 100", "`devices`"),
            ("GATEWAY", "origin = false", "`origin` in [gateway]"),
            ("NETWORK", "gossip_loss = \"1 %\"", "`gossip_loss`"),
            ("NETWORK", "idle = \"10 s\"", "`idle`"),
            ("GROUP", TRUNK_TO_ONE_OF_TWO, "`between`"),
            ("RELEASE", "frame = \"8 MiB\"", "`frame`"),
            ("EXPECT", "wasted = \"<= 1 MB\"", "`wasted`"),
            ("EXPECT", "[[event]]\nat = \"1 s\"\nlie = \"hall\"", "`lie`"),
            ("EXPECT", "[[event]]\nat = \"1 s\"\ncancel = \"hall\"", "`cancel`"),
            ("RELEASE", "app = \"fails\"", "`app`"),
        ] {
            let error = checked(place, line).expect_err(line);
            assert!(error.contains(key) && error.contains("t.toml"), "{line}: {error}");
        }
    }

    #[test]
    fn latency_is_noted_whether_it_is_felt_or_not() {
        let felt = |place, line| {
            let notes = checked(place, line).unwrap().join("\n");
            ["of each Ethernet frame", "not applied"].map(|text| notes.contains(text))
        };
        assert_eq!(felt("NETWORK", "latency = \"1.8 ms\""), [false, true]);
        for line in ["latency = \"50 ms\"", "jitter = \"5 ms\"", "loss = \"1 %\""] {
            assert_eq!(felt("NETWORK", line), [true, false], "{line}");
        }
        let trunk = TRUNK_TO_ONE_OF_TWO.replace("hall = \"c\"", "hall = \"b\"") + "\nlatency = \"50 ms\"";
        assert_eq!(felt("GROUP", &trunk), [true, true]);
    }

    #[test]
    fn what_a_lab_does_otherwise_is_noted() {
        let notes = checked("EXPECT", "[[event]]\nat = \"1 s\"\npower_cut = \"hall\"").unwrap();
        for word in ["latency and jitter of at most 2 ms", "central_latency", "power_cut"] {
            assert!(notes.iter().any(|note| note.starts_with(word)), "no {word} in {notes:?}");
        }
    }
}
