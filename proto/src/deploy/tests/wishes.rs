//! Announcements: the newest counts, what vanished is withdrawn, nothing starts late.

use super::world::*;
use crate::Timestamp;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;
use std::time::Duration;

fn staged(mode: Mode) -> (World, Script, Row) {
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = World::new();
    let row = world.row(1, &script, mode);
    world.announce((1, 1), Some(row));
    world.run();
    (world, script, row)
}

#[test]
fn known_and_older_announcements_are_ignored_also_after_a_restart() {
    let (mut world, script, row) = staged(Mode::Now);
    world.settle();
    world.crash();
    world.run();
    world.ignored.clear();
    world.announce((1, 1), Some(row));
    let other = world.row(2, &script, Mode::Now);
    world.announce((1, 0), Some(other));
    world.announce((0, 9), Some(other));
    world.settle();
    let older = Ignored::Older { highest: (1, 1) };
    assert_eq!(world.ignored, [Ignored::Known, older, older]);
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn the_same_action_under_a_higher_counter_is_no_new_work() {
    let (mut world, _, row) = staged(Mode::Stage);
    let judged = |w: &World| w.trace.iter().filter(|t| **t == "judge").count();
    world.announce((1, 2), Some(row));
    world.run();
    world.announce((1, 3), Some(Row { mode: Mode::Now, ..row }));
    world.settle();
    world.announce((1, 4), Some(row));
    world.announce((1, 5), Some(Row { mode: Mode::Withdraw, ..row }));
    world.settle();
    assert_eq!(judged(&world), 1);
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn stage_stops_before_the_switch_until_it_is_released() {
    let (mut world, _, row) = staged(Mode::Stage);
    assert_eq!(world.states(1), [ReportState::Accepted, ReportState::Staged]);
    assert_eq!(world.machine.obstacle(world.now), Some(Obstacle::StageOnly));
    world.announce((1, 2), Some(Row { mode: Mode::WhenIdle, ..row }));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn inhibitors_hold_when_idle_back_and_a_lock_holds_everything_back() {
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = World::new();
    world.set_local(Local { locked: false, inhibited: true });
    let row = world.row(1, &script, Mode::WhenIdle);
    world.announce((1, 1), Some(row));
    world.run();
    assert_eq!(world.machine.obstacle(world.now), Some(Obstacle::Inhibited));
    world.set_local(Local { locked: true, inhibited: true });
    world.announce((1, 2), Some(Row { mode: Mode::Now, ..row }));
    world.run();
    assert_eq!(world.machine.obstacle(world.now), Some(Obstacle::Locked));
    world.set_local(Local { locked: false, inhibited: true });
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)], "`now` overrides inhibitors");
}

#[test]
fn a_switch_does_not_begin_after_its_time_and_a_renewed_row_opens_it_again() {
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = World::new();
    world.set_local(Local { locked: true, inhibited: false });
    let until = |w: &World| Some(w.now.trusted.after(Duration::from_secs(60)));
    let row = Row { valid_until: until(&world), ..world.row(1, &script, Mode::Now) };
    world.announce((1, 1), Some(row));
    world.run();
    world.pass(Duration::from_secs(60));
    world.set_local(Local::default());
    world.run();
    assert_eq!(world.machine.obstacle(world.now), Some(Obstacle::Closed));
    world.crash();
    world.settle();
    assert_eq!(world.machine.state(), State::Staged, "a device that was off cannot install after closing time");
    world.announce((1, 2), Some(Row { valid_until: until(&world), ..row }));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn nothing_new_starts_on_an_expired_announcement() {
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = World::new();
    world.run();
    let row = world.row(1, &script, Mode::Now);
    let now = world.now.trusted;
    world.announce_until((1, 1), Some(row), now);
    world.settle();
    assert_eq!((world.ignored.clone(), world.machine.state()), (vec![Ignored::Expired], State::Idle));
    world.announce_until((1, 2), Some(row), Timestamp::MAX);
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn a_withdrawal_before_the_switch_drops_the_deployment() {
    for row_of in [|r: Row| Some(Row { mode: Mode::Withdraw, ..r }), |_| None] {
        let (mut world, script, row) = staged(Mode::Stage);
        world.announce((1, 2), row_of(row));
        world.settle();
        assert_eq!(world.ends(), [(1, ReportState::Withdrawn)]);
        assert!(world.current.is_empty() && !world.imported.contains(&script.parts[0].commit));
    }
}

#[test]
fn a_withdrawal_after_the_switch_is_too_late_and_the_result_follows() {
    let (mut world, _, row) = staged(Mode::Now);
    assert_eq!(world.machine.state(), State::Proving);
    world.announce((1, 2), None);
    world.announce((1, 3), Some(Row { mode: Mode::Withdraw, ..row }));
    world.settle();
    use ReportState::*;
    assert_eq!(world.states(1), [Accepted, Staged, Switching, Proving, TooLate, Succeeded]);
}

#[test]
fn a_withdrawal_of_what_was_never_seen_is_answered() {
    let (mut world, _, row) = staged(Mode::Withdraw);
    assert_eq!(world.ends(), [(1, ReportState::Withdrawn)]);
    world.announce((1, 2), Some(Row { mode: Mode::Now, ..row }));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Withdrawn)], "no second end");
}

#[test]
fn a_new_bundle_supersedes_one_that_does_not_switch_yet() {
    let (mut world, _, _) = staged(Mode::Stage);
    let second = Script::new("2", &[("web", Behaviour::Runs)]);
    let row = world.row(2, &second, Mode::Now);
    world.announce((1, 2), Some(row));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Withdrawn), (2, ReportState::Succeeded)]);
    assert_eq!(world.current[&name("web")], second.parts[0].commit);
}

#[test]
fn a_new_bundle_waits_while_another_proves_itself_and_only_the_newest_counts() {
    let (mut world, _, _) = staged(Mode::Now);
    for (action, version) in [(2, "2"), (3, "3")] {
        let row = world.row(action, &Script::new(version, &[("web", Behaviour::Runs)]), Mode::Now);
        world.announce((1, action), Some(row));
        world.run();
    }
    assert_eq!(world.trace.iter().filter(|t| **t == "judge").count(), 1);
    world.settle();
    use ReportState::*;
    assert_eq!(world.ends(), [(2, Withdrawn), (1, Succeeded), (3, Succeeded)]);
}

#[test]
fn announcements_wait_while_the_spool_takes_no_reports() {
    let mut world = World::new();
    world.run();
    world.stuck = Some(Vec::new());
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    for action in 1..40 {
        let row = world.row(action, &script, Mode::Withdraw);
        world.announce((1, action), Some(row));
        world.run();
    }
    assert_eq!(world.durable().rank, Some((1, 8)));
    assert_eq!(world.ignored.last(), Some(&Ignored::SpoolStuck));
    for report in world.stuck.take().unwrap() {
        world.spool(report);
    }
    world.settle();
    assert_eq!(world.durable().rank, Some((1, 39)));
    assert_eq!(world.ends().len(), 9);
}
