//! Decisions that are taken back.

use super::site;
use fullmetal_proto::wire::{Mode, ReportState};
use serde_json::Value;

#[test]
fn a_cancel_is_answered_by_the_device() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("first", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    hawkbit.cancel(&device.name, action, false);
    device.told(&site, action, Mode::Withdraw);
    device.report(&site, action, ReportState::Withdrawn);
    hawkbit.wait(&device.name, action, "canceled", &["dropped before the switch"]);

    let action = hawkbit.assign(hawkbit.release("second", &site.publish("3")), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Switching);
    hawkbit.cancel(&device.name, action, false);
    device.told(&site, action, Mode::Withdraw);
    device.report(&site, action, ReportState::TooLate);
    hawkbit.wait(&device.name, action, "cancel_rejected", &["begun to switch"]);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn an_action_that_was_force_cancelled_is_withdrawn() {
    let (site, hawkbit, commit, device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("gone", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    hawkbit.cancel(&device.name, action, false);
    hawkbit.cancel(&device.name, action, true);
    device.told(&site, action, Mode::Withdraw);
}

#[test]
fn a_newer_assignment_comes_after_the_device_dropped_the_older() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let older = hawkbit.assign(hawkbit.release("older", &commit), &device.name, "forced");
    let first = device.told(&site, older, Mode::Now);
    device.report(&site, older, ReportState::Fetching);
    hawkbit.wait(&device.name, older, "download", &["fetching"]);
    let newer = hawkbit.assign(hawkbit.release("newer", &site.publish("3")), &device.name, "forced");
    device.told(&site, older, Mode::Withdraw);
    device.report(&site, older, ReportState::Withdrawn);
    hawkbit.wait(&device.name, older, "canceled", &["dropped before the switch"]);
    let second = device.told(&site, newer, Mode::Now);
    assert!(second.bundle != first.bundle && second.counter > first.counter);
    device.report(&site, newer, ReportState::Succeeded);
    hawkbit.wait(&device.name, newer, "finished", &["succeeded"]);
    assert_eq!(hawkbit.count(&device.name, older, "finished"), 0);
}

#[test]
fn what_was_begun_before_a_newer_assignment_ends_before_it() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let older = hawkbit.assign(hawkbit.release("begun", &commit), &device.name, "forced");
    device.told(&site, older, Mode::Now);
    device.report(&site, older, ReportState::Switching);
    hawkbit.wait(&device.name, older, "running", &["switching"]);
    let newer = hawkbit.assign(hawkbit.release("next", &site.publish("3")), &device.name, "forced");
    device.told(&site, older, Mode::Withdraw);
    device.report(&site, older, ReportState::TooLate);
    hawkbit.wait(&device.name, older, "cancel_rejected", &["begun to switch"]);
    device.report(&site, older, ReportState::Succeeded);
    hawkbit.wait(&device.name, older, "finished", &["succeeded"]);
    device.told(&site, newer, Mode::Now);
}

#[test]
fn what_a_deleted_target_was_told_is_withdrawn_and_it_can_be_told_anew() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("deleted", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    hawkbit.operate("DELETE", &format!("/rest/v1/targets/{}", device.name), &Value::Null);
    device.told(&site, action, Mode::Withdraw);
    // The fleet still hears it, and whom the server does not know it takes in when asked.
    hawkbit.until("the target anew", || hawkbit.has_target(&device.name).then_some(()));
    device.report(&site, action, ReportState::Withdrawn);
    device.receipt(&site);
    let action = hawkbit.assign(hawkbit.release("anew", &site.publish("3")), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn the_result_of_what_a_deleted_target_had_begun_holds_nothing_up() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("orphan", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Switching);
    hawkbit.wait(&device.name, action, "running", &["switching"]);
    hawkbit.operate("DELETE", &format!("/rest/v1/targets/{}", device.name), &Value::Null);
    device.report(&site, action, ReportState::Succeeded);
    device.receipt(&site);
    hawkbit.until("the target anew", || hawkbit.has_target(&device.name).then_some(()));
    let action = hawkbit.assign(hawkbit.release("after", &site.publish("3")), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    let spool = site.path("var/lib/fullmetal/gateway/spool");
    let empty = || std::fs::read_dir(&spool).unwrap().next().is_none().then_some(());
    hawkbit.until("an empty spool", empty);
}
