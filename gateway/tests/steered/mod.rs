//! The gateway program between a Hawkbit server and a peer played by a thread: what operators decide and see.
//!
//! Without `HAWKBIT=http://host:port` the server is the stand-in.

use super::site::hawkbit::Hawkbit;
use super::site::{Site, report, sealed};
use fullmetal::identity::Usage;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{Announcement, ExitStatus, Mode, ReportState, SigningKey, open};

/// A device of the fleet that reports what the test says.
struct Device {
    name: String,
    key: SigningKey,
    certificate: Vec<u8>,
    counter: u64,
}

impl Device {
    /// One that the server knows and the fleet hears.
    fn heard(site: &Site, hawkbit: &Hawkbit, name: &str) -> Self {
        let name = hawkbit.device(name);
        hawkbit.target(&name);
        let (key, certificate) = site.agent(&name, Usage::Agent);
        site.peer.say(&FromPeer::Heard(vec![(name.parse().unwrap(), 0)]), None);
        Device { name, key, certificate, counter: 0 }
    }

    fn report(&mut self, site: &Site, action: u64, state: ReportState) {
        self.counter += 1;
        let (_, bundle) = row(site, &self.name).unwrap();
        let mut report = report(&self.name, self.counter, action, Some(bundle), &self.certificate);
        report.state = state;
        if state == ReportState::Failed {
            report.reason = "web 2 was never healthy".into();
            report.exit = Some(ExitStatus::Code(3));
            report.log = vec!["recipe is missing".into()];
        }
        site.peer.report(sealed(&report, &self.key));
    }

    /// Waits until the newest announcement has the device's row for `action`; gives its mode.
    fn told(&self, site: &Site, action: u64, wanted: Mode) {
        site.peer.wait(&format!("action {action} as {wanted:?}"), |shared| {
            let newest = open::<Announcement>(shared.announced.last()?).unwrap().document;
            let row = newest.row(&self.name.parse().unwrap())?;
            (row.2 == action && row.3 == wanted).then_some(())
        });
    }
}

/// The device's action and bundle in the newest announcement.
fn row(site: &Site, device: &str) -> Option<(u64, Digest)> {
    let newest = site.peer.with(|s| s.announced.last().cloned())?;
    let newest = open::<Announcement>(&newest).unwrap().document;
    let row = newest.row(&device.parse().unwrap())?;
    Some((row.2, Digest::of(&newest.bundles[usize::from(row.1)])))
}

/// A site with a server whose gateway runs, a release and a device.
fn site(confirm: &str) -> (Site, Hawkbit, Digest, Device) {
    let mut site = Site::new();
    let commit = site.publish("2");
    let hawkbit = Hawkbit::at(&site, confirm);
    site.start();
    let device = Device::heard(&site, &hawkbit, "press-1");
    (site, hawkbit, commit, device)
}

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
    let kinds: Vec<String> = hawkbit.history(&device.name, action).into_iter().map(|(kind, _)| kind).collect();
    assert!(!kinds.iter().any(|k| k == "finished"), "closed before the proof: {kinds:?}");
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
fn what_cannot_be_installed_fails_with_what_to_do() {
    let (site, hawkbit, _, device) = site("ask");
    let action = hawkbit.assign(hawkbit.set("empty", &[]), &device.name, "forced");
    hawkbit.wait(&device.name, action, "error", &["names no commit", "fullmetal.commit"]);
    let nowhere = Digest::of(b"nowhere");
    let action = hawkbit.assign(hawkbit.release("nowhere", &nowhere), &device.name, "forced");
    hawkbit.wait(&device.name, action, "error", &["central has no commit"]);
    assert!(row(&site, &device.name).is_none(), "nothing was announced");
    site.deploy_web("[\"a\"]").expect(1, &["decisions come from Hawkbit"]);
}

#[test]
fn a_gateway_that_was_killed_tells_the_end_once() {
    let (mut site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("killed", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Switching);
    hawkbit.wait(&device.name, action, "running", &["switching"]);
    device.report(&site, action, ReportState::Succeeded);
    site.peer.wait("the receipt", |s| s.receipts.iter().any(|r| r.counter == 2).then_some(()));
    site.kill();
    site.start();
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    let ends = hawkbit.history(&device.name, action).into_iter().filter(|(kind, _)| kind == "finished").count();
    assert_eq!(ends, 1);
}

#[test]
fn what_waits_for_confirmation_is_announced_after_the_operators_word() {
    let (site, hawkbit, commit, device) = site("ask");
    if hawkbit.standin.is_none() {
        // 0.3.0M7 has no confirmations; this test is the stand-in's.
        return;
    }
    let key = "/rest/v1/system/configs/user.confirmation.flow.enabled";
    hawkbit.operate("PUT", key, &serde_json::json!({ "value": true }));
    let action = hawkbit.assign(hawkbit.release("asked", &commit), &device.name, "forced");
    hawkbit.wait(&device.name, action, "wait_for_confirmation", &[]);
    let shown = || site.run(&["status"]).out.contains(&format!("fullmetal-gateway confirm {action}"));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !shown() {
        assert!(std::time::Instant::now() < end, "{}", site.run(&["status"]).out);
    }
    assert!(row(&site, &device.name).is_none());
    site.run(&["confirm", &action.to_string()]).expect(0, &[]);
    device.told(&site, action, Mode::Now);
    site.run(&["confirm", "999999"]).expect(1, &["does not wait for a confirmation"]);
}
