//! Decisions that change with the server's clock.

use super::super::site::now;
use super::site;
use fullmetal_proto::wire::{Mode, ReportState};
use serde_json::{Value, json};
use std::time::Duration;

/// How far off the change is: longer than a poll takes at a busy server.
const SOON: Duration = Duration::from_secs(20);
/// How long a window is open.
const OPEN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// A forced assignment with a window that opens every day at this time of the server's clock.
fn window(opens_ms: u64, length: Duration) -> Value {
    let second = opens_ms / 1000 % 86_400;
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let length = length.as_secs();
    let length = format!("{:02}:{:02}:{:02}", length / 3600, length / 60 % 60, length % 60);
    let schedule = format!("{s} {m} {h} * * ? *");
    json!({ "type": "forced", "maintenanceWindow": { "schedule": schedule, "duration": length, "timezone": "+00:00" } })
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[test]
fn a_closed_window_stages_an_open_one_switches_and_its_end_takes_that_back() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let how = window(hawkbit.clock_ms() + ms(SOON), OPEN);
    let action = hawkbit.assign_as(hawkbit.release("night", &commit), &device.name, how);
    let closed = device.told(&site, action, Mode::Stage);
    assert_eq!(closed.until, None);
    device.report(&site, action, ReportState::Staged);
    hawkbit.wait(&device.name, action, "running", &["staged"]);
    hawkbit.pass(SOON);
    let open = device.told(&site, action, Mode::Now);
    let left = open.until.unwrap().since(now());
    assert!(left <= Duration::from_secs(4), "a device that is off for {left:?} could switch after closing time");
    assert!(open.bundle == closed.bundle && open.counter > closed.counter);
    hawkbit.pass(OPEN);
    let shut = device.told(&site, action, Mode::Stage);
    assert_eq!((shut.until, shut.bundle), (None, open.bundle));
    assert_eq!(hawkbit.count(&device.name, action, "downloaded"), 0, "staged in a closed window is not the end");
}

#[test]
fn the_permission_of_an_open_window_is_renewed_until_the_action_ends() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let how = window(hawkbit.clock_ms() - 60_000, HOUR);
    let action = hawkbit.assign_as(hawkbit.release("day", &commit), &device.name, how);
    let open = device.told(&site, action, Mode::Now);
    assert!(open.until.is_some());
    site.peer.wait("a longer permission while the window is open", |s| {
        let row = super::told(s.announced.last()?, &device.name)?;
        (row.action == action && row.mode == Mode::Now && row.until > open.until).then_some(())
    });
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn a_time_forced_deployment_waits_for_the_device_until_its_time() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let time = hawkbit.clock_ms() + ms(SOON);
    let how = json!({ "type": "timeforced", "forcetime": time });
    let action = hawkbit.assign_as(hawkbit.release("until", &commit), &device.name, how);
    let before = device.told(&site, action, Mode::WhenIdle);
    hawkbit.pass(SOON);
    let after = device.told(&site, action, Mode::Now);
    assert!(hawkbit.clock_ms() >= time, "it was forced after its time");
    assert!(after.bundle == before.bundle && after.counter > before.counter);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);

    let how = json!({ "type": "timeforced", "forcetime": time - ms(HOUR) });
    let action = hawkbit.assign_as(hawkbit.release("past", &site.publish("3")), &device.name, how);
    device.told(&site, action, Mode::Now);
    let modes = site.peer.with(|s| s.announced.iter().filter_map(|a| super::told(a, &device.name)).collect::<Vec<_>>());
    let soft = modes.iter().any(|t| t.action == action && t.mode != Mode::Now);
    assert!(!soft, "its time had passed from the beginning");
}
