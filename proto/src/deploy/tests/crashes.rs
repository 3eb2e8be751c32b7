//! Crashes at every boundary between two effects or inputs, and at random ones.

use super::os_world::commit as os_commit;
use super::world::*;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::bundle::PartKind;
use crate::wire::report::{ExitStatus, ReportState};
use crate::{AppName, Digest};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is in force must be what the successful bundles brought, in their order; each action that a durable
/// record named has exactly one end.
pub fn check_end(world: &World, bundles: &BTreeMap<u64, Script>) {
    let mut expected: BTreeMap<AppName, Digest> = BTreeMap::new();
    let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
    for (action, state) in world.ends() {
        *ends.entry(action).or_default() += 1;
        if state == ReportState::Succeeded {
            let apps = bundles[&action].parts.iter().filter(|p| p.kind == PartKind::App);
            expected.extend(apps.map(|p| (p.name.clone(), p.commit)));
            expected.retain(|name, _| !bundles[&action].removed.contains(name));
        }
    }
    for (name, _) in world.durable().apps.iter().filter(|(_, app)| app.lost) {
        let fails = |b: &Script| matches!(b.revert, Luck::Bad | Luck::Full);
        let touches = |b: &Script| b.parts.iter().any(|p| p.name == *name) || b.removed.contains(name);
        assert!(bundles.values().any(|b| fails(b) && touches(b)));
        expected.remove(name);
    }
    assert_eq!(world.current, expected, "neither old nor new");
    let apps = world.durable().parts().into_iter().filter(|p| p.kind == PartKind::App);
    let recorded: BTreeMap<_, _> = apps.map(|p| (p.name, p.commit)).collect();
    assert_eq!(recorded, expected, "the record does not say what is in force");
    for action in &world.noted {
        assert_eq!(ends.get(action), Some(&1), "ends of action {action}: {:?}", world.ends());
    }
    let counters = world.spool.keys().zip(*world.spool.keys().next().unwrap()..);
    assert!(counters.into_iter().all(|(counter, i)| *counter == i), "a counter was left out");
}

/// The operating system of the last bundle that succeeded and had one runs, and is all that could boot next.
fn check_os_end(world: &World, bundles: &BTreeMap<u64, Script>) {
    let mut expected = os_commit("1");
    for (action, _) in world.ends().iter().filter(|(_, state)| *state == ReportState::Succeeded) {
        let os = bundles[action].parts.iter().find(|p| p.kind == PartKind::Os);
        expected = os.map_or(expected, |os| os.commit);
    }
    let os = world.os.as_ref().unwrap();
    assert_eq!((os.booted.commit, os.entries[0], os.counted), (expected, os.booted, None), "{os:?}");
}

/// Release 1 of two apps, then release 2 with `change`, then an end. `at` counts down to the crashes.
fn two_releases(at: &[u32], change: fn(&mut World, &mut Script)) -> (World, BTreeMap<u64, Script>, u32) {
    let mut world = World::new();
    let mut second = Script::new("2", &[("web", Behaviour::Healthy), ("db", Behaviour::Runs)]);
    change(&mut world, &mut second);
    let first = Script::new("1", &[("web", Behaviour::Healthy), ("db", Behaviour::Runs)]);
    let bundles = BTreeMap::from([(1, first), (2, second)]);
    let mut boundary = 0;
    for (action, script) in &bundles {
        let row = world.row(*action, script, Mode::Now);
        world.announce((1, *action), Some(row));
        settle_with_crashes(&mut world, at, &mut boundary);
    }
    (world, bundles, boundary)
}

fn settle_with_crashes(world: &mut World, at: &[u32], boundary: &mut u32) {
    loop {
        let crash = at.contains(boundary);
        *boundary += 1;
        if crash {
            world.crash();
        } else if !world.step() {
            match world.machine.next_wakeup() {
                Some(wakeup) => world.pass(wakeup.since(world.now.steady)),
                None => return,
            }
        }
    }
}

fn crash_everywhere(change: fn(&mut World, &mut Script), expected: ReportState) {
    let (world, bundles, boundaries) = two_releases(&[], change);
    check_end(&world, &bundles);
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, expected)]);
    for at in 0..boundaries {
        let (world, bundles, _) = two_releases(&[at], change);
        assert_eq!(world.crashes, 1);
        check_end(&world, &bundles);
        assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, expected)], "crash at {at}");
    }
    for at in 0..boundaries {
        let (world, bundles, _) = two_releases(&[at, at + 3], change);
        check_end(&world, &bundles);
        assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, expected)], "crashes at {at} and {}", at + 3);
    }
}

#[test]
fn a_good_release_survives_a_crash_at_every_boundary() {
    crash_everywhere(|_, _| {}, ReportState::Succeeded);
}

#[test]
fn a_bad_release_is_rolled_back_with_a_crash_at_every_boundary() {
    crash_everywhere(|_, s| s.behaviours[1] = Behaviour::Exits(1), ReportState::Failed);
}

#[test]
fn a_release_whose_switch_fails_is_rolled_back_with_a_crash_at_every_boundary() {
    crash_everywhere(|_, s| (s.switch, s.revert) = (Luck::Bad, Luck::Once), ReportState::Failed);
}

#[test]
fn a_roll_back_that_never_succeeds_is_given_up_with_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| (s.behaviours[1], s.revert) = (Behaviour::Exits(1), Luck::Bad);
    crash_everywhere(change, ReportState::Failed);
    let (world, ..) = two_releases(&[], change);
    assert!(world.durable().apps[&name("db")].lost, "the fault did bite");
}

#[test]
fn a_roll_back_that_finds_the_disk_full_is_reported_once_with_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| (s.switch, s.revert) = (Luck::Bad, Luck::Full);
    crash_everywhere(change, ReportState::Failed);
    let (world, ..) = two_releases(&[], change);
    assert!(world.filled > 0 && !world.full, "the fault did bite");
    assert!(world.durable().apps[&name("db")].lost, "tried and given up although no record could be written");
}

#[test]
fn a_roll_back_that_finds_the_disk_full_succeeds_once_there_is_space() {
    let (mut world, mut second) = (World::new(), Script::new("2", &[("db", Behaviour::Runs)]));
    (second.switch, second.revert) = (Luck::Bad, Luck::Full);
    for (action, script) in [(1, &Script::new("1", &[("db", Behaviour::Runs)])), (2, &second)] {
        let row = world.row(action, script, Mode::Now);
        world.announce((1, action), Some(row));
        world.run();
        world.full &= action == 1;
        world.settle();
    }
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Failed)]);
    assert!(world.filled > 0 && !world.durable().apps[&name("db")].lost);
}

#[test]
fn a_release_that_fills_the_disk_is_removed_and_reported_with_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| s.checkout = Luck::Full;
    crash_everywhere(change, ReportState::Failed);
    let (world, ..) = two_releases(&[], change);
    assert!(world.filled > 0 && !world.full, "the fault did bite");
}

/// Release 2 brings web and takes db away.
fn without_db(script: &mut Script) {
    let more = Script::new("2", &[("web", Behaviour::Healthy)]);
    *script = Script { parts: more.parts, behaviours: more.behaviours, ..script.clone() }.without(&["db"]);
}

#[test]
fn a_release_that_removes_an_app_survives_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| without_db(s);
    crash_everywhere(change, ReportState::Succeeded);
    let (world, ..) = two_releases(&[], change);
    assert_eq!(world.current.keys().collect::<Vec<_>>(), [&name("web")]);
    assert!(!world.imported.contains(&Digest::of(b"db 1")), "its objects are pruned");
}

#[test]
fn a_release_that_only_removes_survives_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| {
        without_db(s);
        (s.parts, s.behaviours) = (vec![], vec![]);
        s.removed.push(name("never-there"));
    };
    crash_everywhere(change, ReportState::Succeeded);
}

#[test]
fn a_bad_release_that_removes_an_app_brings_it_back_with_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| {
        without_db(s);
        s.behaviours[0] = Behaviour::Exits(1);
    };
    crash_everywhere(change, ReportState::Failed);
    let (world, ..) = two_releases(&[], change);
    assert!(world.imported.contains(&world.current[&name("db")]));
}

#[test]
fn a_removed_app_that_cannot_be_brought_back_is_given_up_with_a_crash_at_every_boundary() {
    let change: fn(&mut World, &mut Script) = |_, s| {
        without_db(s);
        (s.behaviours[0], s.revert) = (Behaviour::Exits(1), Luck::Bad);
    };
    crash_everywhere(change, ReportState::Failed);
    let (world, ..) = two_releases(&[], change);
    assert!(world.durable().apps[&name("db")].lost, "the fault did bite");
}

/// The disk is full when the probation ends well, so that the record of it stays on the way; what leaves is still needed.
#[test]
fn what_leaves_stays_in_the_store_until_the_end_is_durable() {
    let mut world = World::new();
    let first = Script::new("1", &[("web", Behaviour::Runs), ("db", Behaviour::Runs)]);
    let row = world.row(1, &first, Mode::Now);
    world.announce((1, 1), Some(row));
    world.settle();
    let mut second = Script::new("2", &[("web", Behaviour::Runs)]).without(&["db"]);
    second.revert = Luck::Good;
    let row = world.row(2, &second, Mode::Now);
    world.announce((1, 2), Some(row));
    world.run();
    assert_eq!(world.machine.state(), State::Proving);
    world.full = true;
    world.pass(POLICY.probation);
    world.run();
    assert_eq!(world.machine.state(), State::Reporting);
    assert!(world.imported.contains(&Digest::of(b"db 1")), "the record on the disk brings it back");
    world.crash();
    world.full = false;
    world.run();
    let died = AppEvent::Exited { status: ExitStatus::Code(1), log: vec![] };
    world.give(Input::App { name: name("web"), commit: Digest::of(b"web 2"), event: died });
    world.settle();
    assert_eq!(world.ends().last(), Some(&(2, ReportState::Failed)));
    assert_eq!(world.current.len(), 2, "web 1 and db are back");
}

#[test]
fn a_refused_release_is_reported_once_with_a_crash_at_every_boundary() {
    crash_everywhere(|_, s| s.space = Luck::Bad, ReportState::Failed);
}

#[derive(Clone, Debug)]
enum Act {
    Steps(u8),
    Crash,
    CutPower,
    Announce { action: u64, mode: Mode, back: u64, life: u64, window: Option<u64> },
    NoRow,
    Pass(u64),
    Local(Local),
}

fn act() -> impl Strategy<Value = Act> {
    let mode = prop_oneof![Just(Mode::Stage), Just(Mode::WhenIdle), Just(Mode::Now), Just(Mode::Withdraw)];
    let mode = prop_oneof![4 => Just(Mode::Now), 3 => mode];
    let announce = (1u64..6, mode, prop_oneof![8 => Just(0u64), 1 => 1u64..4], 0u64..4000, option(1u64..400));
    prop_oneof![
        10 => (0u8..30).prop_map(Act::Steps),
        4 => Just(Act::Crash),
        2 => Just(Act::CutPower),
        5 => announce.prop_map(|(action, mode, back, life, window)| Act::Announce { action, mode, back, life, window }),
        1 => Just(Act::NoRow),
        3 => (0u64..60_000).prop_map(Act::Pass),
        2 => any::<(bool, bool)>().prop_map(|(locked, inhibited)| Act::Local(Local { locked, inhibited })),
    ]
}

fn option(range: std::ops::Range<u64>) -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => range.prop_map(Some)]
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![8 => Just(Luck::Good), 2 => Just(Luck::Once), 1 => Just(Luck::Bad), 1 => Just(Luck::Full)]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::Runs),
        4 => Just(Behaviour::Healthy),
        1 => Just(Behaviour::NeverHealthy),
        1 => Just(Behaviour::LosesHealth),
        1 => (0i32..3).prop_map(Behaviour::Exits),
        1 => Just(Behaviour::JobDone),
        1 => Just(Behaviour::JobFails),
        1 => Just(Behaviour::NotStarted),
        1 => (0i32..2).prop_map(Behaviour::UnitEnds),
        1 => Just(Behaviour::UnitStays),
        1 => Just(Behaviour::Says),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let all = ["web", "db", "tool"];
    let apps = proptest::sample::subsequence(all.to_vec(), 1..=3);
    let lucks = (luck(), luck(), luck(), luck(), luck(), luck());
    let os = prop_oneof![4 => Just(Behaviour::Healthy), 1 => Just(Behaviour::NeverHealthy), 1 => Just(Behaviour::LosesHealth)];
    let os = prop_oneof![2 => Just(None), 1 => os.prop_map(Some)];
    let more = (1u8..4, prop_oneof![3 => Just(false), 1 => Just(true)], os);
    (apps, proptest::collection::vec(behaviour(), 3), more, lucks).prop_map(move |(apps, behaviours, more, l)| {
        let (version, removes, os) = more;
        let apps: Vec<_> = apps.into_iter().zip(behaviours).collect();
        let others: Vec<&str> = all.into_iter().filter(|app| removes && apps.iter().all(|(a, _)| a != app)).collect();
        let mut script = Script::new(&version.to_string(), &apps).without(&others);
        (script.judge, script.space, script.fetch) = (l.0, l.1, l.2);
        (script.checkout, script.switch) = (l.3, l.4);
        script.revert = l.5;
        match os {
            Some(os) => script.with_os(&version.to_string(), os),
            None => script,
        }
    })
}

fn play(world: &mut World, act: Act, counter: &mut u64, bundles: &BTreeMap<u64, Script>) {
    match act {
        Act::Steps(n) => {
            for _ in 0..n {
                world.step();
            }
        }
        Act::Crash => world.crash(),
        Act::CutPower => world.cut_power(),
        Act::Announce { action, mode, back, life, window } => {
            *counter += u64::from(back == 0);
            let until = window.map(|w| world.now.trusted.after(Duration::from_secs(w)));
            let row = Row { valid_until: until, ..world.row(action, &bundles[&action], mode) };
            let expires = world.now.trusted.after(Duration::from_secs(life));
            world.announce_until((1, counter.saturating_sub(back)), Some(row), expires);
        }
        Act::NoRow => {
            *counter += 1;
            world.announce((1, *counter), None);
        }
        Act::Pass(ms) => world.pass(Duration::from_millis(ms)),
        Act::Local(local) => world.set_local(local),
    }
}

/// Settles; whenever the disk is full, somebody makes space.
fn settle_with_space(world: &mut World) {
    world.settle();
    while world.full {
        world.full = false;
        world.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_action_ends_once_and_all_parts_are_old_or_new(
        scripts in proptest::collection::vec(script(), 5),
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let bundles: BTreeMap<u64, Script> = (1..).zip(scripts).collect();
        let mut world = World::new();
        let mut os = OsWorld::new("1");
        os.dead.insert(os_commit("2"));
        world.os = Some(os);
        let mut counter = 0;
        for act in acts {
            play(&mut world, act, &mut counter, &bundles);
        }
        world.set_local(Local::default());
        settle_with_space(&mut world);
        counter += 1;
        world.announce((1, counter), None);
        settle_with_space(&mut world);
        prop_assert_eq!(world.machine.state(), State::Idle);
        check_end(&world, &bundles);
        check_os_end(&world, &bundles);
    }
}
