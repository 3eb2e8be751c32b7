//! Decisions as they are taken, done and told.

use super::{Device, site};
use fullmetal_proto::wire::{Mode, ReportState};
use serde_json::json;

#[test]
fn a_forced_deployment_is_told_step_by_step_and_closed_after_its_proof() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("good", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    for state in [ReportState::Accepted, ReportState::Fetching, ReportState::Staged, ReportState::Switching] {
        device.report(&site, action, state);
    }
    hawkbit.wait(&device.name, action, "running", &["switching"]);
    device.report(&site, action, ReportState::Proving);
    hawkbit.wait(&device.name, action, "running", &["proving"]);
    assert_eq!(hawkbit.count(&device.name, action, "finished"), 0, "closed before the proof");
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded", "700 bytes from peers"]);
    if let Some(standin) = &hawkbit.standin {
        assert_eq!(standin.faults().terminal_feedbacks(action), 1);
    }
}

#[test]
fn a_failure_shows_the_reason_the_exit_status_and_the_last_lines() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("bad", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Failed);
    let words = ["failed: web 2 was never healthy", "the app exited with status 3", "recipe is missing"];
    hawkbit.wait(&device.name, action, "error", &words);
}

#[test]
fn soft_and_download_only_deployments_wait_for_their_time() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("soft", &commit), &device.name, "soft");
    device.told(&site, action, Mode::WhenIdle);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    let action = hawkbit.assign(hawkbit.release("stage", &site.publish("3")), &device.name, "downloadonly");
    device.told(&site, action, Mode::Stage);
    device.report(&site, action, ReportState::Staged);
    hawkbit.wait(&device.name, action, "downloaded", &["staged"]);
    device.told(&site, action, Mode::Stage);
}

#[test]
fn a_gateway_that_was_killed_tells_the_end_once() {
    let (mut site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("killed", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Switching);
    hawkbit.wait(&device.name, action, "running", &["switching"]);
    device.report(&site, action, ReportState::Succeeded);
    device.receipt(&site);
    site.kill();
    site.start();
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    assert_eq!(hawkbit.count(&device.name, action, "finished"), 1);
}

#[test]
fn what_waits_for_confirmation_is_announced_after_the_operators_word() {
    let (site, hawkbit, commit, device) = site("ask");
    let key = "user.confirmation.flow.enabled";
    let Some(before) = hawkbit.configured(key, "confirmations") else { return };
    hawkbit.configure(key, &true.into());
    let how = json!({ "type": "forced", "confirmationRequired": true });
    let set = hawkbit.release("asked", &commit);
    let action = hawkbit.assign_as(set, &device.name, how.clone());
    hawkbit.wait(&device.name, action, "wait_for_confirmation", &[]);
    let word = format!("fullmetal-gateway confirm {action}");
    hawkbit.until(&word, || site.run(&["status"]).out.contains(&word).then_some(()));
    assert!(device.row(&site).is_none());
    site.run(&["confirm", &action.to_string()]).expect(0, &[]);
    device.told(&site, action, Mode::Now);
    let word = serde_json::json!({ "action": action, "yes": true });
    assert!(site.audit().iter().any(|line| line["confirmation"] == word), "who may go ahead is not in the audit log");
    site.run(&["confirm", "999999"]).expect(1, &["does not wait for a confirmation"]);

    let other = Device::heard(&site, &hawkbit, "press-2");
    let action = hawkbit.assign_as(set, &other.name, how);
    let waits = || site.run(&["confirm", &action.to_string(), "--deny"]).code == 0;
    hawkbit.until("the denial", || waits().then_some(()));
    hawkbit.wait(&other.name, action, "wait_for_confirmation", &["denied at the gateway"]);
    assert!(other.row(&site).is_none());
    hawkbit.configure(key, &before);
}
