//! What is refused before anything that runs is touched.

use super::world::*;
use crate::wire::announcement::Mode;
use crate::wire::bundle::PartKind;
use crate::wire::report::ReportState;

fn reason_of(world: &mut World, action: u64, script: &Script) -> String {
    let row = world.row(action, script, Mode::Now);
    world.announce((1, action), Some(row));
    world.settle();
    let end = world.spool.values().rfind(|o| o.action == action).unwrap();
    assert_eq!(end.state, ReportState::Failed);
    end.cause.reason.clone()
}

#[test]
fn an_operating_system_in_a_bundle_refuses_it_whole() {
    let mut script = Script::new("2026.1", &[("web", Behaviour::Runs), ("floor-os", Behaviour::Runs)]);
    script.parts[1].kind = PartKind::Os;
    let reason = reason_of(&mut World::new(), 1, &script);
    assert!(reason.starts_with("floor-os 2026.1 is an operating system"), "{reason}");
}

#[test]
fn a_release_below_the_floor_is_refused_and_the_floor_rises_only_by_proof() {
    let mut world = World::new();
    let release = |version: &str, release, floor, behaviour| {
        let mut script = Script::new(version, &[("web", behaviour)]);
        (script.parts[0].release, script.parts[0].floor) = (Some(release), Some(floor));
        script
    };
    let failing = release("9", 9, 9, Behaviour::Exits(1));
    assert!(reason_of(&mut world, 1, &failing).contains("exit status 1"));
    for (action, script) in [(2, release("5", 5, 3, Behaviour::Runs)), (3, release("3", 3, 1, Behaviour::Runs))] {
        let row = world.row(action, &script, Mode::Now);
        world.announce((1, action), Some(row));
        world.settle();
        assert_eq!(world.ends().last(), Some(&(action, ReportState::Succeeded)));
    }
    let reason = reason_of(&mut world, 4, &release("2", 2, 0, Behaviour::Runs));
    assert!(reason.starts_with("web 2 is release 2, below 3"), "{reason}");
    assert_eq!(world.durable().apps[&name("web")].floor, 3);
}

fn succeeds(world: &mut World, action: u64, script: &Script) {
    let row = world.row(action, script, Mode::Now);
    world.announce((1, action), Some(row));
    world.settle();
    assert_eq!(world.ends().last(), Some(&(action, ReportState::Succeeded)));
}

#[test]
fn a_floor_outlives_the_app_and_so_many_are_remembered() {
    let mut world = World::new();
    let release = |app: &str, release, floor| {
        let mut script = Script::new(&format!("{release}"), &[(app, Behaviour::Runs)]);
        (script.parts[0].release, script.parts[0].floor) = (Some(release), Some(floor));
        script
    };
    let gone = |app: &str| Script::new("", &[]).without(&[app]);
    succeeds(&mut world, 1, &release("web", 5, 5));
    succeeds(&mut world, 2, &gone("web"));
    assert!(world.durable().apps.is_empty());
    let reason = reason_of(&mut world, 3, &release("web", 4, 0));
    assert!(reason.starts_with("web 4 is release 4, below 5"), "{reason}");
    succeeds(&mut world, 4, &release("web", 6, 2));
    assert_eq!((world.durable().apps[&name("web")].floor, world.durable().floors), (5, vec![]));
    for n in 0..33 {
        succeeds(&mut world, 10 + 2 * n, &release(&format!("a{n}"), 1, 1));
        succeeds(&mut world, 11 + 2 * n, &gone(&format!("a{n}")));
    }
    let floors = world.durable().floors;
    assert_eq!((floors.len(), &floors[0].0), (32, &name("a1")));
}

#[test]
fn refusals_of_the_adapter_come_back_as_they_are() {
    let good = Script::new("1", &[("web", Behaviour::Runs)]);
    type Choose = fn(&mut Script) -> &mut Luck;
    let cases: [(Choose, &str); 4] = [
        (|s| &mut s.judge, "judge failed"),
        (|s| &mut s.space, "space failed"),
        (|s| &mut s.fetch, "fetch failed"),
        (|s| &mut s.checkout, "checkout failed"),
    ];
    for (luck, expected) in cases {
        let mut script = good.clone();
        *luck(&mut script) = Luck::Bad;
        let mut world = World::new();
        assert_eq!(reason_of(&mut world, 1, &script), expected);
        assert!(!world.trace.contains(&"switch"));
    }
}

#[test]
fn a_bundle_that_the_journal_could_not_hold_is_refused_and_a_large_one_is_not() {
    let apps = |len: usize| -> Vec<String> { (0..32).map(|i| format!("{i:02}{}", "x".repeat(len))).collect() };
    let script = |names: &[String], version: &str| {
        let parts: Vec<_> = names.iter().map(|n| (n.as_str(), Behaviour::Runs)).collect();
        Script::new(version, &parts)
    };
    let reason = reason_of(&mut World::new(), 1, &script(&apps(60), &"v".repeat(120)));
    assert!(reason.starts_with("the journal cannot hold 32 apps"), "{reason}");

    let mut world = World::new();
    for (action, version) in [(1, "1.0.0"), (2, "1.0.1"), (3, "1.0.2")] {
        let row = world.row(action, &script(&apps(8)[..24], version), Mode::Now);
        world.announce((1, action), Some(row));
        world.settle();
        assert_eq!(world.ends().last(), Some(&(action, ReportState::Succeeded)));
    }
}
