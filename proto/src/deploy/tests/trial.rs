//! Operating systems: put on trial, proven, or back.

use super::crashes::check_end;
use super::os_world::commit;
use super::world::*;
use crate::Digest;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::bundle::PartKind;
use crate::wire::report::ReportState;
use std::collections::BTreeMap;

/// How a device goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    Agent,
    Power,
}

pub type Change = fn(&mut World, &mut Script);

/// A device on version 1 of its system and of two apps, on its way to version 2 with `change`.
pub fn update(at: &[u32], down: Down, change: Change) -> (World, BTreeMap<u64, Script>, u32) {
    let mut world = World::new();
    world.os = Some(OsWorld::new("1"));
    let first = Script::new("1", &[("web", Behaviour::Healthy), ("db", Behaviour::Runs)]);
    let mut second =
        Script::new("2", &[("web", Behaviour::Healthy), ("db", Behaviour::Runs)]).with_os("2", Behaviour::Healthy);
    change(&mut world, &mut second);
    let bundles = BTreeMap::from([(1, first), (2, second)]);
    let mut boundary = 0;
    for (action, script) in &bundles {
        let row = world.row(*action, script, Mode::Now);
        world.announce((1, *action), Some(row));
        let crashes = if *action == 2 { at } else { &[] };
        settle(&mut world, crashes, down, &mut boundary);
        boundary = if *action == 1 { 0 } else { boundary };
    }
    (world, bundles, boundary)
}

pub fn settle(world: &mut World, at: &[u32], down: Down, boundary: &mut u32) {
    loop {
        let goes_down = at.contains(boundary);
        *boundary += 1;
        assert!(*boundary < 5_000, "no end: {:?}", &world.trace[world.trace.len() - 30..]);
        match down {
            Down::Agent if goes_down => world.crash(),
            Down::Power if goes_down => world.cut_power(),
            _ => {
                if !world.step() {
                    match world.machine.next_wakeup() {
                        Some(wakeup) => world.pass(wakeup.since(world.now.steady)),
                        None => return,
                    }
                }
            }
        }
    }
}

/// Which version runs, as the only one that could boot next, with nothing counted, and as the record says.
pub fn check_os(world: &World, version: &str) {
    let os = world.os.as_ref().unwrap();
    assert_eq!((os.booted.commit, os.entries[0]), (commit(version), os.booted), "{os:?}");
    assert_eq!((os.counted, os.staged), (None, None), "{os:?}");
    if let Some(system) = &world.durable().os {
        assert_eq!(system.app.current.commit, os.booted.commit);
    }
}

fn down_everywhere(change: Change, expected: ReportState) {
    let version = if expected == ReportState::Succeeded { "2" } else { "1" };
    let (world, bundles, boundaries) = update(&[], Down::Power, change);
    check_end(&world, &bundles);
    check_os(&world, version);
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, expected)], "{:?}", world.trace);
    for down in [Down::Agent, Down::Power] {
        for at in 0..boundaries {
            let twice = (down == Down::Power).then(|| vec![at, at + 5]);
            for crashes in [vec![at]].into_iter().chain(twice) {
                let (world, bundles, _) = update(&crashes, down, change);
                check_end(&world, &bundles);
                assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, expected)], "{down:?} at {crashes:?}");
                check_os(&world, version);
            }
        }
    }
}

pub fn reason(world: &World) -> String {
    let end = world.spool.values().rfind(|o| o.state == ReportState::Failed);
    end.map(|o| format!("{} [{}]", o.cause.reason, o.cause.log.join("|"))).unwrap_or_default()
}

#[test]
fn a_good_system_is_proven_although_the_device_goes_down_anywhere() {
    down_everywhere(|_, _| {}, ReportState::Succeeded);
    let (world, ..) = update(&[], Down::Power, |_, _| {});
    let parts = world.durable().parts();
    let os = parts.iter().find(|p| p.kind == PartKind::Os).unwrap();
    assert_eq!((os.version.as_str(), os.commit), ("2", commit("2")));
    assert_eq!(world.os.unwrap().entries.len(), 2, "the one before it is kept");
}

#[test]
fn a_system_alone_is_proven_although_the_device_goes_down_anywhere() {
    let alone: Change = |_, s| *s = Script::new("2", &[]).with_os("2", Behaviour::Healthy);
    down_everywhere(alone, ReportState::Succeeded);
}

#[test]
fn a_system_that_does_not_come_up_is_rolled_back_by_the_boot_loader() {
    let dead: Change = |w, _| w.os.as_mut().unwrap().dead.extend([commit("2")]);
    down_everywhere(dead, ReportState::Failed);
    let (world, ..) = update(&[], Down::Power, dead);
    assert_eq!(
        reason(&world),
        "os 2 was rolled back by the boot loader, since it did not come up; its last boot was 4 [the last line]"
    );
    assert_eq!(world.os.unwrap().boots, 5, "three boots of the new one, and the one that fell back");
}

#[test]
fn a_system_that_cannot_be_loaded_is_rolled_back_by_the_boot_loader() {
    let unloadable: Change = |w, _| w.os.as_mut().unwrap().unloadable.extend([commit("2")]);
    down_everywhere(unloadable, ReportState::Failed);
    let (world, ..) = update(&[], Down::Power, unloadable);
    assert!(reason(&world).starts_with("os 2 was rolled back by the boot loader, which could not load it"));
}

#[test]
fn a_system_whose_checks_fail_is_rolled_back_by_the_agent() {
    let change: Change = |_, s| *s.behaviours.last_mut().unwrap() = Behaviour::NeverHealthy;
    down_everywhere(change, ReportState::Failed);
    let (world, ..) = update(&[], Down::Power, change);
    assert_eq!(reason(&world), "os 2 was never healthy: no answer []");
    let (world, ..) = update(&[], Down::Power, |_, s| *s.behaviours.last_mut().unwrap() = Behaviour::LosesHealth);
    assert_eq!(reason(&world), "os 2 became unhealthy: no answer []");
}

#[test]
fn a_system_goes_back_when_one_of_its_apps_fails() {
    let change: Change = |_, s| s.behaviours[1] = Behaviour::Exits(1);
    down_everywhere(change, ReportState::Failed);
    let change: Change = |_, s| (s.switch, s.revert) = (Luck::Bad, Luck::Once);
    down_everywhere(change, ReportState::Failed);
}

#[test]
fn a_system_that_cannot_be_armed_leaves_everything_as_it_was() {
    let change: Change = |w, _| w.os.as_mut().unwrap().broken.extend(["arm"]);
    down_everywhere(change, ReportState::Failed);
    let (world, ..) = update(&[], Down::Power, change);
    assert_eq!((reason(&world), world.os.unwrap().boots), ("arm failed []".into(), 1));
}

#[test]
fn a_boot_loader_that_cannot_be_set_right_is_told() {
    let change: Change = |w, _| w.os.as_mut().unwrap().broken.extend(["arm", "clean"]);
    let (world, ..) = update(&[], Down::Power, change);
    assert_eq!(reason(&world), "arm failed; and the boot loader could not be set right: clean failed []");
}

#[test]
fn a_boot_loader_that_cannot_give_up_falls_back_by_itself() {
    let change: Change = |w, s| {
        *s.behaviours.last_mut().unwrap() = Behaviour::NeverHealthy;
        w.os.as_mut().unwrap().broken.insert("give up");
    };
    let (world, ..) = update(&[], Down::Power, change);
    check_os(&world, "1");
    assert_eq!(reason(&world), "os 2 was never healthy: no answer []");
}

#[test]
fn the_system_before_comes_back_by_hand_although_the_device_goes_down_anywhere() {
    let again = |at: &[u32]| {
        let (mut world, ..) = update(&[], Down::Power, |_, _| {});
        world.set_local(Local { locked: true, inhibited: false });
        world.scripts.insert(Digest::default(), Script::new("1", &[]).with_os("1", Behaviour::Healthy));
        assert_eq!(world.machine.os_to_come_back().unwrap().version, "0");
        world.give(Input::OsComeBack { release: None });
        let mut boundary = 0;
        settle(&mut world, at, Down::Power, &mut boundary);
        (world, boundary)
    };
    let (world, boundaries) = again(&[]);
    check_os(&world, "1");
    let told = world.spool.values().next_back().unwrap();
    assert_eq!(
        (told.state, told.cause.reason.as_str()),
        (ReportState::Inventory, "rolled back by hand: os 0 is in force again")
    );
    let versions: Vec<bool> = (0..boundaries)
        .map(|at| {
            let (world, _) = again(&[at]);
            let back = world.os.as_ref().unwrap().booted.commit == commit("1");
            check_os(&world, if back { "1" } else { "2" });
            back
        })
        .collect();
    let forgotten = versions.iter().filter(|back| !**back).count();
    assert!(versions.is_sorted() && forgotten > 0 && forgotten < versions.len(), "{versions:?}");
}
