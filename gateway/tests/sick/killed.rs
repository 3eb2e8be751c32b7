//! The gateway is killed between a feedback and its record.

use super::faults;
use super::proxy::{Moment, Proxy};
use crate::site::Site;
use crate::site::hawkbit::Hawkbit;
use crate::steered::Device;
use fullmetal_proto::wire::{Mode, ReportState as S};

/// Feedbacks of a whole deployment.
const STEPS: [S; 6] = [S::Accepted, S::Fetching, S::Staged, S::Switching, S::Proving, S::Succeeded];

/// A deployment whose feedback number `at` meets a kill; the server takes one end.
fn killed_at(at: u32, moment: Moment) {
    let mut site = Site::new();
    let commit = site.publish("2");
    let (hawkbit, proxy) = behind(&site, at, moment);
    site.start();
    let mut device = Device::heard(&site, &hawkbit, "press-1");
    let action = hawkbit.assign(hawkbit.release("killed", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    for state in STEPS {
        device.report(&site, action, state);
    }
    // All are durable; the kill is between a feedback and its record only.
    device.receipt(&site);
    let held = proxy.stopped();
    site.kill();
    drop(held);
    site.start();
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    hawkbit.until("the spool to be empty", || (spool(&site) == 0).then_some(()));
    let ends = (proxy.taken(&format!("/deploymentBase/{action}/")), faults(&hawkbit).terminal_feedbacks(action));
    assert_eq!(ends, (1, 1), "feedback {at}, {moment:?}");
    assert_eq!(hawkbit.count(&device.name, action, "finished"), 1, "feedback {at}, {moment:?}");
}

fn behind(site: &Site, at: u32, moment: Moment) -> (Hawkbit, Proxy) {
    let hawkbit = Hawkbit::stand_in(site, "ask");
    let proxy = Proxy::before(hawkbit.url(), (at, moment));
    let config = site.path("etc/fullmetal/fullmetal.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, text.replace(hawkbit.url(), &proxy.url)).unwrap();
    (hawkbit, proxy)
}

/// Reports that wait for the server.
fn spool(site: &Site) -> usize {
    std::fs::read_dir(site.path("var/lib/fullmetal/gateway/spool")).map_or(0, Iterator::count)
}

fn at_each_feedback(moment: Moment) {
    std::thread::scope(|scope| {
        let runs: Vec<_> = (1..=STEPS.len() as u32).map(|at| scope.spawn(move || killed_at(at, moment))).collect();
        for run in runs {
            run.join().unwrap();
        }
    });
}

#[test]
fn a_gateway_killed_before_a_feedback_reaches_the_server_tells_one_end() {
    at_each_feedback(Moment::Asked);
}

#[test]
fn a_gateway_killed_before_the_answer_to_a_feedback_reaches_it_tells_one_end() {
    at_each_feedback(Moment::Taken);
}

#[test]
fn a_gateway_killed_before_it_notes_the_answer_to_a_feedback_tells_one_end() {
    at_each_feedback(Moment::Answered);
}

#[test]
fn a_gateway_killed_around_the_answer_to_a_cancel_answers_it_once() {
    for moment in [Moment::Asked, Moment::Taken, Moment::Answered] {
        let mut site = Site::new();
        let commit = site.publish("2");
        let (hawkbit, proxy) = behind(&site, 1, moment);
        site.start();
        let mut device = Device::heard(&site, &hawkbit, "press-1");
        let action = hawkbit.assign(hawkbit.release("cancelled", &commit), &device.name, "forced");
        device.told(&site, action, Mode::Now);
        hawkbit.cancel(&device.name, action, false);
        device.told(&site, action, Mode::Withdraw);
        device.report(&site, action, S::Withdrawn);
        device.receipt(&site);
        let held = proxy.stopped();
        site.kill();
        drop(held);
        site.start();
        hawkbit.wait(&device.name, action, "canceled", &["dropped before the switch"]);
        hawkbit.until("the spool to be empty", || (spool(&site) == 0).then_some(()));
        assert_eq!(proxy.taken("/cancelAction/"), 1, "{moment:?}");
        let dropped = hawkbit.history(&device.name, action);
        let dropped = dropped.iter().filter(|(_, text)| text.contains("dropped before the switch")).count();
        assert_eq!(dropped, 1, "{moment:?}");
    }
}
