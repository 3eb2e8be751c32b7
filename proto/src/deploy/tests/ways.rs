//! Single ways through the machine, without crashes.

use super::world::*;
use crate::Digest;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::report::{ExitStatus, ReportState};
use std::time::Duration;

fn deployed(script: &Script) -> World {
    let mut world = World::new();
    let row = world.row(1, script, Mode::Now);
    world.announce((1, 1), Some(row));
    world.settle();
    world
}

#[test]
fn a_good_release_is_staged_switched_proven_and_kept() {
    let script = Script::new("1", &[("web", Behaviour::Healthy), ("db", Behaviour::Runs)]);
    let world = deployed(&script);
    use ReportState::*;
    assert_eq!(world.states(1), [Accepted, Staged, Switching, Proving, Succeeded]);
    assert_eq!(world.machine.state(), State::Idle);
    assert_eq!(world.current[&name("web")], script.parts[0].commit);
    let end = world.spool.values().last().unwrap();
    assert_eq!((end.bytes_from_peers, end.bytes_from_central, end.elapsed_ms), (7, 5, 30_000));
    assert!(world.durable().deployment.is_none() && world.durable().outbox.is_empty());
    let work: Vec<_> = world.trace.iter().filter(|t| !matches!(**t, "persist" | "report")).collect();
    assert_eq!(work, [&"prune", &"judge", &"space", &"fetch", &"checkout", &"switch", &"prune"]);
}

#[test]
fn the_switch_comes_right_after_its_record_and_its_report() {
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    let world = deployed(&script);
    let at = world.trace.iter().position(|t| *t == "switch").unwrap();
    assert!(world.trace[..at].ends_with(&["persist", "report", "report"]), "{:?}", &world.trace[..at]);
}

#[test]
fn a_failing_app_takes_all_parts_back_and_the_report_has_its_last_words() {
    let first = Script::new("1", &[("web", Behaviour::Runs), ("db", Behaviour::Runs)]);
    let mut world = deployed(&first);
    let second = Script::new("2", &[("db", Behaviour::Runs), ("web", Behaviour::Exits(7))]);
    let row = world.row(2, &second, Mode::Now);
    world.announce((1, 2), Some(row));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded), (2, ReportState::Failed)]);
    for part in &first.parts {
        assert_eq!(world.current[&part.name], part.commit);
    }
    let end = world.spool.values().last().unwrap();
    assert_eq!(end.cause.reason, "web 2 ended with exit status 7 during its probation: last words");
    assert_eq!(end.cause.exit, Some(ExitStatus::Code(7)));
    assert_eq!(end.cause.log, ["last words"]);
    assert!(!world.imported.contains(&second.parts[0].commit), "the failed version was not pruned");
}

#[test]
fn a_first_install_that_fails_leaves_no_app_behind() {
    let world = deployed(&Script::new("1", &[("web", Behaviour::Exits(0))]));
    assert_eq!(world.ends(), [(1, ReportState::Failed)]);
    assert!(world.current.is_empty() && world.machine.record().apps.is_empty());
}

#[test]
fn an_app_whose_own_unit_asks_for_no_restart_may_end_well_or_stay() {
    for (behaviour, end) in [
        (Behaviour::UnitEnds(0), ReportState::Succeeded),
        (Behaviour::UnitStays, ReportState::Succeeded),
        (Behaviour::UnitEnds(3), ReportState::Failed),
    ] {
        let script = Script::new("1", &[("hello", behaviour)]);
        let mut world = deployed(&script);
        assert_eq!(world.ends(), [(1, end)], "{behaviour:?}");
        let jobs: Vec<bool> = world.durable().apps.values().map(|app| app.current.start.job).collect();
        assert_eq!(jobs, vec![true; usize::from(end == ReportState::Succeeded)]);
        // The same again, as the agent judges it once it is checked out, is in force.
        let mut again = script.clone();
        again.parts[0].start.job = true;
        let row = world.row(2, &again, Mode::Now);
        world.announce((1, 2), Some(row));
        world.settle();
        let switches = world.trace.iter().filter(|t| **t == "switch").count();
        assert_eq!(switches, if end == ReportState::Succeeded { 1 } else { 2 }, "{behaviour:?}");
    }
}

#[test]
fn a_switch_that_fails_half_way_is_reverted() {
    let mut script = Script::new("1", &[("web", Behaviour::Runs), ("db", Behaviour::Runs)]);
    script.switch = Luck::Bad;
    script.revert = Luck::Once;
    let world = deployed(&script);
    assert_eq!(world.ends(), [(1, ReportState::Failed)]);
    assert_eq!(world.spool.values().last().unwrap().cause.reason, "switch failed");
    assert!(world.current.is_empty());
    let stuck = world.spool.values().find(|o| o.cause.reason.starts_with("rolling back"));
    assert_eq!(stuck.unwrap().cause.reason, "rolling back, does not succeed yet: revert not yet");
}

#[test]
fn a_roll_back_that_is_given_up_ends_the_action_and_the_next_deployment_repairs_what_is_lost() {
    let first = Script::new("1", &[("web", Behaviour::Runs), ("db", Behaviour::Runs)]);
    let mut world = deployed(&first);
    let mut second = Script::new("2", &[("db", Behaviour::Runs), ("web", Behaviour::Exits(7))]);
    second.revert = Luck::Bad;
    let row = world.row(2, &second, Mode::Now);
    world.announce((1, 2), Some(row));
    world.settle();
    let end = world.spool.values().last().unwrap().clone();
    assert_eq!((end.action, end.state, end.cause.exit), (2, ReportState::Failed, Some(ExitStatus::Code(7))));
    let reason = "web 2 ended with exit status 7 during its probation: last words; and was not rolled back, tried 5 \
                  times: revert not yet";
    assert_eq!((end.cause.reason.as_str(), end.cause.log.len()), (reason, 1));
    assert_eq!(world.machine.state(), State::Idle);
    let parts: Vec<_> = world.durable().parts().into_iter().map(|p| p.name).collect();
    assert_eq!(parts, [name("db")], "the lost one is not told as in force");
    assert_eq!(world.durable().apps[&name("web")].current.version, "1");

    // The very version that was lost is no less work than another.
    let row = world.row(3, &first, Mode::Now);
    world.announce((1, 3), Some(row));
    world.settle();
    assert_eq!(world.ends().last(), Some(&(3, ReportState::Succeeded)));
    assert_eq!(world.current[&name("web")], first.parts[0].commit);
    assert_eq!(world.durable().parts().len(), 2);
}

#[test]
fn a_lost_app_that_runs_again_is_in_force_again() {
    let first = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = deployed(&first);
    let second = Script { revert: Luck::Bad, ..Script::new("2", &[("web", Behaviour::Exits(7))]) };
    let row = world.row(2, &second, Mode::Now);
    world.announce((1, 2), Some(row));
    world.settle();
    let running = |commit| Input::App { name: name("web"), commit, event: AppEvent::Running };
    world.give(running(second.parts[0].commit));
    world.run();
    assert!(world.durable().parts().is_empty());
    world.give(running(first.parts[0].commit));
    world.run();
    assert_eq!(world.durable().parts()[0].version, "1");
    assert_eq!(world.spool.values().last().unwrap().state, ReportState::Inventory);
}

#[test]
fn leftovers_go_before_the_first_record_of_a_start() {
    let mut world = World::new();
    assert!(matches!(world.effects[0], Effect::Prune { .. }), "{:?}", world.effects);
    world.run();
    world.imported.insert(Digest::of(b"left by a crash"));
    world.full = true;
    world.crash();
    world.settle();
    assert!(!world.full && !world.is_writing());
    assert_eq!(world.machine.state(), State::Idle);
}

#[test]
fn leftovers_go_at_a_start_whose_last_report_finds_no_space() {
    let mut world = World::new();
    let row = world.row(1, &Script::new("1", &[("web", Behaviour::Exits(1))]), Mode::Now);
    world.announce((1, 1), Some(row));
    while world.machine.state() != State::Reporting || world.is_writing() {
        if !world.step() {
            world.pass(Duration::from_secs(1));
        }
    }
    assert!(!world.imported.is_empty());
    world.full = true;
    world.crash();
    world.settle();
    assert_eq!((world.full, world.ends()), (false, vec![(1, ReportState::Failed)]));
}

#[test]
fn jobs_and_apps_that_are_only_installed_are_proven_at_once() {
    let script = Script::new("1", &[("setup", Behaviour::JobDone), ("tool", Behaviour::NotStarted)]);
    let mut world = World::new();
    let row = world.row(1, &script, Mode::Now);
    world.announce((1, 1), Some(row));
    world.run();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
    assert_eq!(deployed(&Script::new("1", &[("j", Behaviour::JobFails)])).ends(), [(1, ReportState::Failed)]);
}

#[test]
fn parts_in_force_are_not_touched_and_a_bundle_of_them_succeeds_at_once() {
    let first = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = deployed(&first);
    let row = world.row(2, &first, Mode::Now);
    world.announce((1, 2), Some(row));
    world.run();
    assert_eq!(world.states(2), [ReportState::Succeeded]);
    assert_eq!(world.trace.iter().filter(|t| **t == "switch").count(), 1);

    let mut more = Script::new("1", &[("web", Behaviour::Runs), ("db", Behaviour::Runs)]);
    more.behaviours[0] = Behaviour::Exits(1);
    let row = world.row(3, &more, Mode::Now);
    world.announce((1, 3), Some(row));
    world.settle();
    assert_eq!(world.states(3).last(), Some(&ReportState::Succeeded), "web is none of its business");
}

#[test]
fn what_is_to_leave_and_is_not_there_is_no_work() {
    let mut world = deployed(&Script::new("1", &[("web", Behaviour::Runs)]));
    let row = world.row(2, &Script::new("", &[]).without(&["db"]), Mode::Now);
    world.announce((1, 2), Some(row));
    world.run();
    assert_eq!(world.states(2), [ReportState::Succeeded]);
    assert_eq!(world.trace.iter().filter(|t| **t == "switch").count(), 1);
}

#[test]
fn work_that_may_succeed_later_is_tried_again_with_growing_waits() {
    let mut script = Script::new("1", &[("web", Behaviour::Runs)]);
    (script.judge, script.space, script.fetch, script.checkout) = (Luck::Once, Luck::Once, Luck::Once, Luck::Once);
    let world = deployed(&script);
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
    assert_eq!(world.trace.iter().filter(|t| **t == "fetch").count(), 2);
    assert_eq!(world.spool.values().last().unwrap().elapsed_ms, 4 * 5_000 + 30_000);
}

#[test]
fn progress_is_reported_once_a_quarter_and_not_too_often() {
    let script = Script::new("1", &[("web", Behaviour::Runs)]);
    let mut world = World::new();
    let row = world.row(1, &script, Mode::Now);
    world.announce((1, 1), Some(row));
    while world.machine.state() != State::Fetching {
        assert!(world.step());
    }
    while !matches!(world.effects.front(), Some(Effect::Fetch { .. })) {
        assert!(world.step());
    }
    let Some(Effect::Fetch { ticket, .. }) = world.effects.pop_front() else { panic!() };
    for second in 0..35 {
        world.give(Input::FetchProgress { ticket, bytes_from_peers: second, bytes_from_central: 0 });
        world.run();
        world.pass(Duration::from_secs(1));
    }
    let fetching = world.spool.values().filter(|o| o.state == ReportState::Fetching);
    let bytes: Vec<_> = fetching.map(|o| o.bytes_from_peers).collect();
    assert_eq!(bytes, [10, 20, 30]);
}

#[test]
fn answers_that_do_not_fit_are_errors_and_late_answers_are_ignored() {
    let mut world = World::new();
    let row = world.row(1, &Script::new("1", &[("web", Behaviour::Runs)]), Mode::Now);
    assert_eq!(Deploy::new(POLICY).handle(Input::Wakeup, world.now), Err(DeployError::NotStarted));
    let start = Input::Start { record: None, local: Local::default() };
    assert_eq!(world.machine.handle(start, world.now), Err(DeployError::StartedTwice));
    world.run();
    world.announce((1, 1), Some(row));
    while !matches!(world.effects.front(), Some(Effect::Judge { .. })) {
        assert!(world.step());
    }
    let Some(Effect::Judge { ticket, .. }) = world.effects.front().cloned() else { panic!() };
    let illegal = Illegal { state: State::Judging, event: Event::Switched };
    assert_eq!(world.machine.handle(Input::Switched { ticket }, world.now), Err(illegal.into()));
    assert_eq!(world.machine.handle(Input::Switched { ticket: Ticket(0) }, world.now), Ok(()));
    let seq = 99;
    assert!(matches!(
        world.machine.handle(Input::Persisted { seq }, world.now),
        Err(DeployError::NeverPersisted { seq: 99, .. })
    ));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn before_it_is_known_what_a_deployment_takes_nothing_is_told_of_what_the_one_before_took() {
    let mut world = deployed(&Script::new("1", &[("web", Behaviour::Runs)]));
    let second = Script { judge: Luck::Once, ..Script::new("2", &[("web", Behaviour::Runs)]) };
    world.now.steady = world.now.steady.after(Duration::from_secs(60));
    let row = world.row(2, &second, Mode::Now);
    world.announce((1, 2), Some(row));
    world.settle();
    let waits = world.spool.values().find(|o| o.action == 2 && o.state == ReportState::Fetching);
    assert_eq!(waits.map(|o| o.bytes_total), Some(0), "{:?}", world.states(2));
    assert_eq!(world.ends().last(), Some(&(2, ReportState::Succeeded)));
}
