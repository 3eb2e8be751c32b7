//! A start from each phase of the record.

use super::world::*;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;

/// A world whose web app is at version 1 and goes to version 2, stopped as soon as it is in `state`.
fn stopped_in(state: State, behaviour: Behaviour) -> (World, Script, Script) {
    let first = Script::new("1", &[("web", Behaviour::Runs)]);
    let second = Script::new("2", &[("web", behaviour)]);
    let mut world = World::new();
    for (action, script) in [(1, &first), (2, &second)] {
        world.settle();
        let row = world.row(action, script, Mode::Now);
        world.announce((1, action), Some(row));
    }
    while world.machine.state() != state {
        if !world.step() {
            let wakeup = world.machine.next_wakeup().expect("never came to this state");
            world.pass(wakeup.since(world.now.steady));
        }
    }
    while world.is_writing() {
        assert!(world.step());
    }
    (world, first, second)
}

#[test]
fn before_the_switch_everything_is_done_again_and_nothing_is_reported_twice() {
    for state in [State::Judging, State::Measuring, State::Fetching, State::CheckingOut] {
        let (mut world, _, second) = stopped_in(state, Behaviour::Runs);
        world.crash();
        assert_eq!(world.machine.state(), State::Judging);
        world.settle();
        use ReportState::*;
        assert_eq!(world.states(2), [Accepted, Staged, Switching, Proving, Succeeded]);
        assert_eq!(world.current[&name("web")], second.parts[0].commit);
    }
}

#[test]
fn an_interrupted_switch_goes_forward() {
    let (mut world, _, second) = stopped_in(State::Switching, Behaviour::Runs);
    world.crash();
    assert_eq!(world.machine.state(), State::Switching);
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Succeeded)]);
    assert_eq!(world.current[&name("web")], second.parts[0].commit);
}

#[test]
fn an_interrupted_switch_whose_checkout_is_gone_is_reverted() {
    let (mut world, first, second) = stopped_in(State::Switching, Behaviour::Runs);
    world.scripts.get_mut(&second.digest()).unwrap().switch = Luck::Bad;
    world.crash();
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Failed)]);
    assert_eq!(world.current[&name("web")], first.parts[0].commit);
}

#[test]
fn an_interrupted_probation_starts_again_twice_and_then_rolls_back() {
    let (mut world, first, _) = stopped_in(State::Proving, Behaviour::Runs);
    for _ in 0..RESTARTS_MAX {
        world.crash();
        assert_eq!(world.machine.state(), State::Switching);
        world.run();
        assert_eq!(world.machine.state(), State::Proving);
        assert_eq!(world.machine.next_wakeup(), Some(world.now.steady.after(POLICY.probation)));
    }
    world.crash();
    assert_eq!(world.machine.state(), State::RollingBack);
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Failed)]);
    assert_eq!(world.current[&name("web")], first.parts[0].commit);
    let reason = &world.spool.values().rfind(|o| o.action == 2).unwrap().cause.reason;
    assert_eq!(reason, "the device or its agent went down 3 times during the probation");
}

#[test]
fn a_restart_that_never_gets_as_far_as_the_switch_counts_too() {
    let (mut world, _, _) = stopped_in(State::Proving, Behaviour::Runs);
    for _ in 0..=RESTARTS_MAX {
        let before = world.durable();
        world.crash();
        while world.durable() == before {
            assert!(world.step());
        }
    }
    assert_eq!(world.machine.state(), State::RollingBack);
}

#[test]
fn an_interrupted_roll_back_goes_on_and_keeps_its_cause() {
    let (mut world, first, _) = stopped_in(State::RollingBack, Behaviour::Exits(9));
    for _ in 0..10 {
        world.crash();
        assert_eq!(world.machine.state(), State::RollingBack);
    }
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Failed)]);
    let end = world.spool.values().rfind(|o| o.action == 2).unwrap();
    assert!(end.cause.reason.contains("exit status 9") && end.cause.log == ["last words"]);
    assert_eq!(world.current[&name("web")], first.parts[0].commit);
}

#[test]
fn a_full_disk_does_not_keep_the_old_version_from_coming_back() {
    let (mut world, first, second) = stopped_in(State::RollingBack, Behaviour::Exits(9));
    assert_eq!(world.current[&name("web")], second.parts[0].commit);
    world.full = true;
    world.crash();
    while world.current[&name("web")] != first.parts[0].commit {
        assert!(world.full && world.step());
    }
    world.full = false;
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Failed)]);
}

#[test]
fn an_end_that_did_not_reach_the_spool_is_given_out_again_unchanged() {
    let (mut world, _, _) = stopped_in(State::Reporting, Behaviour::Exits(9));
    while world.spool.values().all(|o| o.action != 2 || !o.state.is_terminal()) {
        assert!(world.step());
    }
    let before = world.spool.values().last().unwrap().clone();
    world.crash();
    assert_eq!(world.machine.state(), State::Reporting);
    assert!(world.durable().outbox.contains(&before));
    world.spool.remove(&before.counter);
    world.settle();
    assert_eq!(world.spool[&before.counter], before);
    assert_eq!(world.ends().len(), 2);
}

#[test]
fn every_start_reports_what_is_in_force() {
    let (mut world, _, _) = stopped_in(State::Reporting, Behaviour::Runs);
    world.settle();
    world.spool.clear();
    world.crash();
    world.settle();
    assert_eq!(world.durable().parts()[0].version, "2");
    let states: Vec<_> = world.spool.values().map(|o| o.state).collect();
    assert_eq!(states, [ReportState::Inventory]);
}
