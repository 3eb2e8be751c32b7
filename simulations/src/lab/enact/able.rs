//! What of a scenario a lab can do. What it cannot is refused by name; what it does otherwise is told with the result.

use crate::lab::Impairment;
use crate::sim::scenario::{
    Action, Group, Kind, Layers, Manner, Measure, Network, Scenario, ScenarioError, Sizes, Targets, Trunk,
};
use std::collections::BTreeSet;
use std::path::Path;

/// The most devices of a lab: each is two programs, and all share one machine.
pub const DEVICES_MAX: usize = 64;
/// The least release in bytes: a program that runs is in it.
pub const SIZE_MIN: u64 = 3 << 20;
/// Frames as `fullmetal publish` cuts them.
const FRAME: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;
/// After which an idle connection is given up in production, in microseconds (`IDLE_MS_MAX` of a peer's endpoint).
const IDLE: u64 = 120_000_000;

/// Refuses what a lab cannot do; gives notes on what it does otherwise.
pub fn check(scenario: &Scenario, file: &Path) -> Result<Vec<String>, ScenarioError> {
    let refuse = |section: &str, key: &'static str, reason: &str| {
        Err(ScenarioError::Lab { file: file.to_owned(), section: section.to_owned(), key, reason: reason.to_owned() })
    };
    if scenario.layers != Layers::Deployment {
        return refuse("the file", "layers", "real programs do the whole way, which is \"deployment\"");
    }
    if scenario.devices() > DEVICES_MAX {
        let reason = format!("{} devices, and one machine holds {DEVICES_MAX} at most", scenario.devices());
        return refuse("[[group]]", "devices", &reason);
    }
    for group in scenario.groups.iter().chain([&scenario.gateway]) {
        if let Some((key, reason)) = unable(group) {
            return refuse(&format!("group {}", group.name), key, reason);
        }
    }
    if !scenario.gateway.origin {
        return refuse("[gateway]", "origin", "a gateway reads at central what it decides on");
    }
    let found = [
        ("[network]", network(scenario)),
        ("[release]", release(scenario)),
        ("[[event]]", events(scenario)),
        ("[expect]", expectations(scenario)),
    ];
    for (section, unable) in found {
        if let Some((key, reason)) = unable {
            return refuse(section, key, reason);
        }
    }
    Ok(notes(scenario))
}

/// What frames suffer between two devices of one hall.
pub fn impairment(network: &Network) -> Impairment {
    Impairment { latency: network.latency, jitter: network.jitter, loss: network.loss }
}

/// What they suffer on a trunk besides.
pub fn weak(trunk: &Trunk) -> Impairment {
    Impairment { latency: trunk.latency, ..Impairment::default() }
}

fn unable(group: &Group) -> Option<(&'static str, &'static str)> {
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

fn network(scenario: &Scenario) -> Option<(&'static str, &'static str)> {
    let network = &scenario.network;
    if network.gossip_loss > 0 {
        return Some(("gossip_loss", "gossip is on streams here, which lose nothing; `loss` loses packets"));
    }
    if !is_tree(scenario) {
        return Some(("between", "switches must form a tree: trunks join all halls, and no two ways lead between two"));
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

fn release(scenario: &Scenario) -> Option<(&'static str, &'static str)> {
    if !scenario.later.is_empty() {
        return Some(("changed", "one release can be had"));
    }
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

fn events(scenario: &Scenario) -> Option<(&'static str, &'static str)> {
    let halls: BTreeSet<&str> = scenario.groups.iter().map(|group| group.hall.as_str()).collect();
    for happening in &scenario.happenings {
        match &happening.action {
            Action::Lie(..) => return Some(("lie", "the real programs do not lie")),
            Action::Cancel(_) => return Some(("cancel", "nothing is taken back")),
            Action::Partition(targets) if !scenario.network.trunks.is_empty() => {
                let of_one_hall = halls.len() == 1 || matches!(targets, Targets::Group { .. });
                if !of_one_hall {
                    return Some(("partition", "over weak links only devices of one group are divided from others"));
                }
            }
            _ => {}
        }
    }
    None
}

fn expectations(scenario: &Scenario) -> Option<(&'static str, &'static str)> {
    let wasted = scenario.expectations.iter().any(|e| e.measure == Measure::Wasted);
    wasted.then_some(("wasted", "real peers do not count it"))
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
        let file = Path::new("t.toml");
        let text = if place == "ROOT" { format!("{line}\n{text}") } else { text };
        let scenario = Scenario::parse(&text, file).unwrap_or_else(|error| panic!("{error}"));
        check(&scenario, file).map_err(|error| error.to_string())
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
