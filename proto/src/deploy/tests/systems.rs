//! Operating systems: what is refused, what holds a trial back, and what nobody deployed.

use super::os_world::commit;
use super::trial::{Change, Down, check_os, reason, update};
use super::world::*;
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;
use crate::{DeploymentId, Digest};
use std::collections::BTreeMap;
use std::time::Duration;

/// A device that runs version 1 of its system, of which version 2 is wished.
fn wished(action: u64, mode: Mode, behaves: Behaviour) -> World {
    let mut world = World::new();
    world.os = Some(OsWorld::new("1"));
    let script = Script::new("2", &[]).with_os("2", behaves);
    let row = world.row(action, &script, mode);
    world.announce((1, action), Some(row));
    world
}

/// The same in the midst of the probation of one that never proves itself.
fn on_probation() -> World {
    let mut world = wished(1, Mode::Now, Behaviour::NeverHealthy);
    while world.machine.state() != State::Proving {
        assert!(world.step());
    }
    world
}

#[test]
fn what_came_up_on_something_else_is_told_and_nothing_is_deployed_until_root_accepts_it() {
    let (mut world, ..) = update(&[], Down::Power, |_, _| {});
    let other = DeploymentId { commit: Digest::of(b"by hand"), serial: 0 };
    let os = world.os.as_mut().unwrap();
    (os.booted, os.entries[0]) = (other, other);
    os.trusted.insert(other.commit);
    let seen = |world: &World| Input::OsDone {
        ticket: Ticket(0),
        view: Some(world.os.as_ref().unwrap().view()),
        last_boot: None,
    };
    let input = seen(&world);
    world.give(input);
    world.run();
    let told = world.spool.values().next_back().unwrap();
    assert!(told.state == ReportState::Inventory && told.cause.reason.contains(&other.commit.to_string()));
    let third = Script::new("3", &[("web", Behaviour::Healthy)]);
    let row = world.row(3, &third, Mode::Now);
    world.announce((1, 3), Some(row));
    world.settle();
    assert_eq!(world.ends().last(), Some(&(3, ReportState::Failed)));
    assert!(reason(&world).contains("accept-os"), "{}", reason(&world));
    world.give(Input::AcceptOs);
    let row = world.row(4, &third, Mode::Now);
    world.announce((1, 4), Some(row));
    world.settle();
    assert_eq!(world.ends().last(), Some(&(4, ReportState::Succeeded)));
    check_os_is(&world, other);
}

fn check_os_is(world: &World, id: DeploymentId) {
    assert_eq!(world.os.as_ref().unwrap().booted, id);
    assert_eq!(world.durable().os.unwrap().app.current.commit, id.commit);
}

#[test]
fn a_trial_that_came_up_on_something_else_is_told_once() {
    let mut world = wished(2, Mode::Now, Behaviour::Healthy);
    while world.durable_phase() != Some(Phase::Arming) {
        assert!(world.step());
    }
    let os = world.os.as_mut().unwrap();
    let other = DeploymentId { commit: Digest::of(b"by hand"), serial: 0 };
    (os.booted, os.entries, os.boots) = (other, vec![other], os.boots + 1);
    world.crash();
    world.settle();
    assert_eq!(world.ends(), [(2, ReportState::Failed)]);
    assert!(reason(&world).contains("neither the old nor the new"), "{}", reason(&world));
    world.crash();
    world.settle();
    assert_eq!(world.ends().len(), 1);
}

#[test]
fn a_lock_holds_the_reboot_and_an_inhibitor_only_when_the_mode_lets_it() {
    let locked = Local { locked: true, inhibited: false };
    let inhibited = Local { locked: false, inhibited: true };
    for (mode, local, holds) in [
        (Mode::Now, locked, true),
        (Mode::WhenIdle, locked, true),
        (Mode::WhenIdle, inhibited, true),
        (Mode::Now, inhibited, false),
    ] {
        let mut world = wished(2, mode, Behaviour::Healthy);
        while world.machine.state() != State::Arming {
            assert!(world.step());
        }
        world.set_local(local);
        world.run();
        assert_eq!(world.os.as_ref().unwrap().boots == 1, holds, "{mode:?} {local:?}");
        assert!(!holds || world.machine.next_wakeup().is_none(), "what ends it is an input");
        world.set_local(Local::default());
        world.settle();
        assert_eq!(world.ends(), [(2, ReportState::Succeeded)]);
    }
}

#[test]
fn a_reboot_that_does_not_come_is_asked_for_again() {
    let mut world = wished(2, Mode::Now, Behaviour::Healthy);
    let is_reboot = |e: &Effect| matches!(e, Effect::Reboot { .. });
    while !world.effects.front().is_some_and(is_reboot) {
        assert!(world.step());
    }
    let Some(Effect::Reboot { ticket, .. }) = world.effects.pop_front() else { panic!() };
    world.run();
    assert_eq!(world.machine.next_wakeup(), Some(world.now.steady.after(REBOOT_MAX)));
    world.give(Input::Failed { ticket, retry: true, reason: "inhibited by cron".into() });
    world.run();
    assert!(world.machine.next_wakeup().is_some_and(|at| at <= world.now.steady.after(RETRY_MIN)));
    world.pass(RETRY_MIN);
    assert!(world.effects.iter().any(is_reboot));
}

#[test]
fn a_system_below_the_floor_is_refused_and_the_floor_itself_is_not() {
    let mut world = World::new();
    world.os = Some(OsWorld::new("1"));
    for (action, release, floor, expected) in
        [(1, 5, 4, ReportState::Succeeded), (2, 3, 0, ReportState::Failed), (3, 4, 0, ReportState::Succeeded)]
    {
        let mut script = Script::new("0", &[]).with_os(&release.to_string(), Behaviour::Healthy);
        (script.parts[0].release, script.parts[0].floor) = (Some(release), Some(floor));
        let row = world.row(action, &script, Mode::Now);
        world.announce((1, action), Some(row));
        world.settle();
        assert_eq!(world.ends().last(), Some(&(action, expected)), "{}", reason(&world));
    }
    check_os(&world, "4");
}

#[test]
fn the_system_that_runs_is_in_force_already() {
    let mut world = World::new();
    world.os = Some(OsWorld::new("1"));
    let script = Script::new("1", &[]).with_os("1", Behaviour::NeverHealthy);
    let row = world.row(1, &script, Mode::Now);
    world.announce((1, 1), Some(row));
    world.settle();
    assert_eq!((world.ends(), world.os.as_ref().unwrap().boots), (vec![(1, ReportState::Succeeded)], 1));
    assert_eq!(world.durable().os.unwrap().app.current.version, "1");
}

#[test]
fn a_device_without_ostree_or_with_an_obstacle_takes_no_system() {
    let script = Script::new("2", &[]).with_os("2", Behaviour::Healthy);
    let mut world = World::new();
    let row = world.row(1, &script, Mode::Now);
    world.announce((1, 1), Some(row));
    world.settle();
    assert!(reason(&world).contains("is no deployment of OSTree"), "{}", reason(&world));
    let mut world = World::new();
    let mut os = OsWorld::new("1");
    os.entries.insert(0, DeploymentId { commit: commit("by hand"), serial: 0 });
    world.os = Some(os);
    let row = world.row(1, &script, Mode::Now);
    world.announce((1, 1), Some(row));
    world.settle();
    assert!(reason(&world).contains("the next boot is of"), "{}", reason(&world));
}

#[test]
fn a_counter_that_was_left_behind_is_cleared_at_the_start_and_what_failed_is_taken_away() {
    let (mut world, ..) = update(&[], Down::Power, |_, _| {});
    let failed = DeploymentId { commit: commit("3"), serial: 0 };
    for left in [None, Some(failed)] {
        let os = world.os.as_mut().unwrap();
        os.entries.splice(..0, left);
        os.counted = Some((left.unwrap_or(os.booted), 0));
        let view = os.view();
        world.give(Input::OsDone { ticket: Ticket(0), view: Some(view), last_boot: None });
        world.settle();
        check_os(&world, "2");
    }
}

/// A device that is to reboot into the trial of action 1 and is held back by an inhibitor.
fn held_back() -> World {
    let mut world = wished(1, Mode::WhenIdle, Behaviour::Healthy);
    while world.machine.state() != State::Arming {
        assert!(world.step());
    }
    world.set_local(Local { locked: false, inhibited: true });
    world.run();
    assert_eq!(world.machine.state(), State::Rebooting);
    world
}

#[test]
fn a_system_is_withdrawn_until_its_reboot_is_asked_for() {
    for until in [State::Staged, State::Rebooting, State::Proving] {
        let mut world = match until {
            State::Rebooting => held_back(),
            _ => wished(1, if until == State::Staged { Mode::Stage } else { Mode::Now }, Behaviour::Healthy),
        };
        while world.machine.state() != until {
            assert!(world.step());
        }
        world.announce((1, 2), None);
        world.set_local(Local::default());
        world.settle();
        let late = until == State::Proving;
        let expected = if late { ReportState::Succeeded } else { ReportState::Withdrawn };
        assert_eq!(world.ends(), [(1, expected)], "{until}");
        assert_eq!(world.states(1).contains(&ReportState::TooLate), late, "{until}");
        check_os(&world, if late { "2" } else { "1" });
    }
}

#[test]
fn a_reboot_that_was_held_back_does_not_come_once_its_time_is_over() {
    let mut world = held_back();
    let script = Script::new("2", &[]).with_os("2", Behaviour::Healthy);
    let stage = world.row(1, &script, Mode::Stage);
    world.announce((1, 2), Some(stage));
    world.pass(REBOOT_MAX);
    world.set_local(Local::default());
    world.settle();
    assert_eq!((world.machine.state(), world.os.as_ref().unwrap().boots), (State::Rebooting, 1));
    let again = world.row(1, &script, Mode::WhenIdle);
    world.announce((1, 3), Some(again));
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
}

#[test]
fn a_trial_that_cannot_be_written_down_is_left_after_a_while() {
    let mut world = on_probation();
    world.full = true;
    world.pass(POLICY.probation);
    world.run();
    assert_eq!((world.machine.state(), world.os.as_ref().unwrap().boots), (State::RollingBack, 2));
    world.set_local(Local { locked: true, inhibited: false });
    world.pass(UNWRITTEN_MAX);
    world.run();
    assert_eq!(world.os.as_ref().unwrap().booted.commit, commit("2"), "a lock holds");
    world.set_local(Local::default());
    world.pass(UNWRITTEN_MAX);
    world.run();
    assert_eq!(world.os.as_ref().unwrap().booted.commit, commit("1"), "it is left without a word");
    world.full = false;
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Failed)]);
    check_os(&world, "1");
}

#[test]
fn a_full_disk_below_a_version_before_that_does_not_load_has_a_device_reboot_once_and_then_once_an_hour() {
    let mut world = on_probation();
    world.full = true;
    world.os.as_mut().unwrap().unloadable.insert(commit("1"));
    world.pass(POLICY.probation);
    for _ in 0..6 {
        world.run();
        world.pass(UNWRITTEN_MAX);
    }
    assert_eq!(world.os.as_ref().unwrap().boots, 3, "it leaves once");
    world.pass(UNWRITTEN_MAX);
    world.run();
    assert_eq!(world.os.as_ref().unwrap().boots, 4);
    world.full = false;
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Failed)]);
}

#[test]
fn what_of_a_release_does_not_come_into_force_in_etc_is_told() {
    let long = format!("/etc/{}", "l".repeat(120));
    for (kept, told) in [
        (vec!["/etc/a", "/etc/b"], "/etc/a /etc/b".to_owned()),
        (vec![&long, "/etc/b", "/etc/c"], format!("{long} and 2 more")),
    ] {
        let kept: Vec<String> = kept.into_iter().map(str::to_owned).collect();
        let mut world = wished(1, Mode::Now, Behaviour::Healthy);
        world.os.as_mut().unwrap().etc_kept = kept;
        world.settle();
        assert_eq!(world.ends(), [(1, ReportState::Succeeded)]);
        let told = format!("stays as here: {told}");
        let said = world.spool.values().filter(|report| report.cause.reason.ends_with(&told));
        assert_eq!(said.map(|report| report.state).collect::<Vec<_>>(), [ReportState::Staged]);
    }
}

#[test]
fn a_system_whose_boot_loader_is_out_of_reach_is_not_proven() {
    let change: Change = |w, _| w.os.as_mut().unwrap().hidden.extend([commit("2")]);
    let (world, ..) = update(&[], Down::Power, change);
    check_os(&world, "1");
    assert!(reason(&world).contains("out of its reach"), "{}", reason(&world));
    let change: Change = |w, _| w.os.as_mut().unwrap().broken.extend(["clear"]);
    let (world, ..) = update(&[], Down::Power, change);
    check_os(&world, "1");
    assert!(reason(&world).contains("could not be made to boot for good"), "{}", reason(&world));
}

#[test]
fn a_device_that_cannot_go_back_says_so_and_reboots_no_more() {
    let change: Change = |w, s| {
        *s.behaviours.last_mut().unwrap() = Behaviour::NeverHealthy;
        w.os.as_mut().unwrap().unloadable.extend([commit("1")]);
    };
    let (world, ..) = update(&[], Down::Power, change);
    assert_eq!(world.ends().last(), Some(&(2, ReportState::Failed)));
    assert_eq!(reason(&world).matches("does not come up").count(), 1, "{}", reason(&world));
    assert_eq!(world.machine.state(), State::Idle);
    assert_eq!(world.os.unwrap().boots, 2 + 5, "five reboots to leave it");
}

#[test]
fn an_agent_that_starts_again_and_again_under_a_lock_still_goes_back() {
    let mut world = on_probation();
    world.set_local(Local { locked: true, inhibited: false });
    world.pass(POLICY.probation);
    world.run();
    for _ in 0..10 {
        assert_eq!((world.machine.state(), world.os.as_ref().unwrap().boots), (State::Rebooting, 2));
        world.crash();
        world.run();
    }
    world.set_local(Local::default());
    world.settle();
    assert_eq!(world.ends(), [(1, ReportState::Failed)]);
    check_os(&world, "1");
}

#[test]
fn what_is_counted_and_was_never_proven_is_not_made_to_boot_for_good() {
    let (mut world, ..) = update(&[], Down::Power, |_, _| {});
    let other = DeploymentId { commit: Digest::of(b"by hand"), serial: 0 };
    let os = world.os.as_mut().unwrap();
    (os.booted, os.entries[0], os.counted) = (other, other, Some((other, 2)));
    let view = os.view();
    world.give(Input::OsDone { ticket: Ticket(0), view: Some(view), last_boot: None });
    world.settle();
    assert_eq!(world.os.unwrap().counted, Some((other, 2)));
}

#[test]
fn apps_are_the_old_ones_at_boot_while_the_old_system_runs() {
    let mut world = World::new();
    world.os = Some(OsWorld::new("1"));
    let apps = |version| Script::new(version, &[("web", Behaviour::Healthy)]);
    let mut second = apps("2").with_os("2", Behaviour::Healthy);
    second.parts.push(candidate("tool", "2", Behaviour::Runs));
    second.behaviours.push(Behaviour::Runs);
    for (action, script) in [(1, apps("1")), (2, second)] {
        let row = world.row(action, &script, Mode::Now);
        world.announce((1, action), Some(row));
        if action == 1 {
            world.settle();
        }
    }
    while !matches!(world.durable_phase(), Some(Phase::Proving { .. })) {
        assert!(world.step());
    }
    let (record, os) = (world.durable(), world.os.as_ref().unwrap());
    assert_eq!(record.at_boot(Some(&os.booted)), BTreeMap::new(), "what is in force on the disk");
    let old = record.at_boot(os.entries.get(1));
    let commits: Vec<_> = old.iter().map(|(n, v)| (n.as_str(), v.as_ref().map(|v| v.commit))).collect();
    assert_eq!(commits, [("tool", None), ("web", Some(Digest::of(b"web 1")))]);
    world.pass(Duration::from_secs(40));
    world.settle();
    check_os(&world, "2");
}
