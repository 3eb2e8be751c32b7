//! Roll back by hand: where it is refused, how it ends, and crashes at every step of it.

use super::world::*;
use crate::Digest;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;
use std::time::Duration;

const OLD: Behaviour = Behaviour::Healthy;

/// Release 1 and then 2 of two apps are proven; what will happen to `web` 1 when it comes back.
fn two_proven(comes_back: Behaviour) -> World {
    let mut world = World::new();
    for (action, version) in [(1, "1"), (2, "2")] {
        let script = Script::new(version, &[("web", OLD), ("db", Behaviour::Runs)]);
        let row = world.row(action, &script, Mode::Now);
        world.announce((1, action), Some(row));
        world.settle();
    }
    let mut script = Script::new("1", &[("web", comes_back)]);
    script.parts[0].health = true;
    world.scripts.insert(Digest::default(), script);
    assert_eq!(world.current[&name("web")], commit("2"));
    world
}

fn commit(version: &str) -> Digest {
    candidate("web", version, OLD).commit
}

fn comeback() -> Comeback {
    Comeback { name: name("web"), commit: commit("1"), release: None, probation: None, health: true }
}

/// The inventories that say why, by what they say.
fn told(world: &World) -> Vec<&str> {
    let by_hand = |o: &&Outgoing| o.state == ReportState::Inventory && !o.cause.reason.is_empty();
    world.spool.values().filter(by_hand).map(|o| o.cause.reason.as_str()).collect()
}

fn refusal(world: &mut World, comeback: Comeback) -> NoComeback {
    let before = world.machine.record().clone();
    let refused = world.machine.may_come_back(&comeback).unwrap_err();
    let handled = world.machine.handle(Input::ComeBack(comeback), world.now);
    assert_eq!(handled, Err(DeployError::NoComeback(refused.clone())));
    assert_eq!(*world.machine.record(), before);
    while let Some(effect) = world.machine.poll() {
        world.effects.push_back(effect);
    }
    refused
}

#[test]
fn the_previous_version_comes_back_is_watched_and_told_without_an_action() {
    let mut world = two_proven(OLD);
    world.set_local(Local { locked: true, inhibited: true });
    world.give(Input::ComeBack(comeback()));
    world.run();
    assert_eq!(world.machine.state(), State::Proving);
    assert_eq!(world.durable().deployment.unwrap().parts.len(), 1);
    world.settle();
    assert_eq!(world.current[&name("web")], commit("1"));
    assert_eq!(world.current[&name("db")], candidate("db", "2", Behaviour::Runs).commit);
    assert_eq!(told(&world), ["rolled back by hand: web 1 is in force again"]);
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Succeeded)], "no action ended again");
    let app = &world.durable().apps[&name("web")];
    assert_eq!((app.current.commit, app.previous.as_ref().unwrap().commit), (commit("1"), commit("2")));
}

#[test]
fn the_same_action_announced_again_does_not_bring_the_new_version_back() {
    let mut world = two_proven(OLD);
    let script = Script::new("2", &[("web", OLD), ("db", Behaviour::Runs)]);
    let row = world.row(2, &script, Mode::Now);
    world.give(Input::ComeBack(comeback()));
    world.run();
    // While it proves itself, and afterwards.
    world.announce((1, 3), Some(row));
    world.settle();
    world.announce((1, 4), Some(row));
    world.settle();
    assert_eq!(world.current[&name("web")], commit("1"));
    assert!(world.machine.record().next.is_none());
    let third = Script::new("3", &[("web", OLD)]);
    let row = world.row(3, &third, Mode::Now);
    world.announce((1, 5), Some(row));
    world.settle();
    assert_eq!(world.current[&name("web")], commit("3"), "a new action counts");
}

#[test]
fn a_previous_version_that_fails_now_gives_way_to_the_one_in_force() {
    let mut world = two_proven(Behaviour::Exits(4));
    world.give(Input::ComeBack(comeback()));
    world.settle();
    assert_eq!(world.current[&name("web")], commit("2"));
    let told = told(&world);
    assert!(told.len() == 1 && told[0].starts_with("a roll back by hand to web 1 failed: "), "{told:?}");
    assert!(told[0].contains("exit status 4"), "{told:?}");
    assert_eq!(world.machine.state(), State::Idle);
}

#[test]
fn a_wish_of_the_gateway_waits_until_it_has_ended() {
    let mut world = two_proven(OLD);
    world.give(Input::ComeBack(comeback()));
    world.run();
    let third = Script::new("3", &[("db", Behaviour::Runs)]);
    let row = world.row(3, &third, Mode::Now);
    world.announce((1, 3), Some(row));
    world.run();
    assert_eq!(world.machine.state(), State::Proving);
    world.settle();
    assert_eq!(world.ends().last(), Some(&(3, ReportState::Succeeded)));
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn what_cannot_come_back_is_refused_with_what_to_do_and_changes_nothing() {
    let mut world = two_proven(OLD);
    let of = |release, commit| Comeback { release, commit, ..comeback() };
    let unknown = refusal(&mut world, Comeback { name: name("wbe"), ..comeback() });
    assert!(matches!(unknown, NoComeback::Unknown { .. }));
    let other = refusal(&mut world, of(None, commit("0")));
    assert!(matches!(other, NoComeback::NoPrevious { .. }));

    let mut third = Script::new("3", &[("web", OLD)]);
    (third.parts[0].release, third.parts[0].floor) = (Some(3), Some(3));
    let row = world.row(3, &third, Mode::Stage);
    world.announce((1, 3), Some(row));
    world.settle();
    assert_eq!(refusal(&mut world, comeback()), NoComeback::UnderWay { action: 3 });
    world.announce((1, 4), Some(Row { mode: Mode::Now, ..row }));
    world.settle();
    let floor = refusal(&mut world, of(Some(2), commit("2")));
    assert!(
        matches!(floor, NoComeback::BelowFloor { release: 2, floor: 3, .. }) && floor.to_string().contains("deploy")
    );
    world.give(Input::ComeBack(of(Some(3), commit("2"))));
    world.run();
    assert_eq!(refusal(&mut world, of(Some(3), commit("2"))), NoComeback::ByHand);
}

/// Steps with crashes at the given boundaries; whether it was ever journalled.
fn with_crashes(world: &mut World, at: &[u32]) -> (u32, bool) {
    let (mut boundary, mut journalled) = (0, false);
    loop {
        let deployment = world.durable().deployment;
        journalled |= deployment.is_some_and(|d| d.by_hand && d.phase != Phase::Staging);
        let crash = at.contains(&boundary);
        boundary += 1;
        if crash {
            world.crash();
        } else if !world.step() {
            match world.machine.next_wakeup() {
                Some(wakeup) => world.pass(wakeup.since(world.now.steady).max(Duration::from_millis(1))),
                None => return (boundary, journalled),
            }
        }
    }
}

fn crash_everywhere(comes_back: Behaviour, expected: &str) {
    let begin = || {
        let mut world = two_proven(comes_back);
        world.give(Input::ComeBack(comeback()));
        world
    };
    let (boundaries, _) = with_crashes(&mut begin(), &[]);
    assert!(boundaries > 10);
    let pairs = (0..boundaries).flat_map(|at| [vec![at], vec![at, at + 3]]);
    for crashes in pairs {
        let mut world = begin();
        let (_, journalled) = with_crashes(&mut world, &crashes);
        let is = if journalled { expected } else { "2" };
        assert_eq!(world.current[&name("web")], commit(is), "crashes at {crashes:?}");
        assert_eq!(world.durable().apps[&name("web")].current.commit, commit(is), "crashes at {crashes:?}");
        assert_eq!(told(&world).len(), usize::from(journalled), "crashes at {crashes:?}: {:?}", told(&world));
        assert_eq!(world.machine.state(), State::Idle);
        assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Succeeded)]);
    }
}

#[test]
fn a_comeback_survives_a_crash_at_every_boundary() {
    crash_everywhere(OLD, "1");
}

#[test]
fn a_comeback_that_fails_is_undone_with_a_crash_at_every_boundary() {
    crash_everywhere(Behaviour::Exits(4), "2");
}
