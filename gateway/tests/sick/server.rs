//! A server that fails, hangs or lies, through the whole program.

use super::{faults, site};
use crate::steered::Device;
use fullmetal_proto::wire::{Mode, ReportState};
use fullmetal_sim::hawkbit::{Fault, Rule};

/// Nothing is announced while the server is sick, and the end of what it wants is told once.
fn survives(fault: Fault, words: &str) {
    let (site, hawkbit, commit, mut device) = site();
    hawkbit.until("a poll", || polled(&hawkbit, &device).then_some(()));
    faults(&hawkbit).add(Rule::new(fault, "/controller/"));
    let action = hawkbit.assign(hawkbit.release("sick", &commit), &device.name, "forced");
    hawkbit.until(words, || site.run(&["status"]).out.contains(words).then_some(()));
    assert!(site.run(&["status"]).out.contains("Hawkbit gives no usable answer since 2"), "{fault:?}");
    assert!(site.status()["hawkbit"]["silence"][1].as_str().unwrap().contains(words), "{fault:?}");
    assert!(site.peer.with(|s| s.announced.is_empty()), "{fault:?}");
    faults(&hawkbit).clear();
    device.told(&site, action, Mode::Now);
    assert!(site.status()["hawkbit"]["silence"].is_null(), "{fault:?}");
    faults(&hawkbit).add(Rule::new(fault, "/feedback").times(2));
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    assert_eq!(faults(&hawkbit).terminal_feedbacks(action), 1, "{fault:?}");
    assert!(faults(&hawkbit).rules().is_empty(), "{fault:?} did bite");
}

#[test]
fn a_server_that_answers_500_is_named_and_what_it_wants_is_done_once_it_is_well() {
    survives(Fault::Status(500), "HTTP status 500");
}

#[test]
fn a_server_that_resets_connections_is_named_and_what_it_wants_is_done_once_it_is_well() {
    survives(Fault::Reset, "cannot reach");
}

#[test]
fn a_server_that_answers_rubbish_is_named_and_what_it_wants_is_done_once_it_is_well() {
    survives(Fault::Garbage, "the answer cannot be read");
}

#[test]
fn a_server_that_answers_a_megabyte_is_named_and_what_it_wants_is_done_once_it_is_well() {
    survives(Fault::Megabyte, "over the limit");
}

#[test]
fn an_end_whose_answer_is_lost_is_told_again_and_counts_once() {
    let (site, hawkbit, commit, mut device) = site();
    let action = hawkbit.assign(hawkbit.release("lost", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    faults(&hawkbit).add(Rule::new(Fault::LoseAnswer, "/feedback").times(1));
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    let spool = || std::fs::read_dir(site.path("var/lib/fullmetal/gateway/spool")).unwrap().count();
    hawkbit.until("the end to count as told", || (spool() == 0).then_some(()));
    assert_eq!(faults(&hawkbit).terminal_feedbacks(action), 1);
}

#[test]
fn a_server_that_hangs_on_one_device_holds_no_other_up() {
    let (site, hawkbit, commit, stuck) = site();
    faults(&hawkbit).add(Rule::new(Fault::Hang, &format!("/controller/v1/{}", stuck.name)));
    let mut other = Device::heard(&site, &hawkbit, "press-2");
    let set = hawkbit.release("hangs", &commit);
    hawkbit.assign(set, &stuck.name, "forced");
    let action = hawkbit.assign(set, &other.name, "forced");
    other.told(&site, action, Mode::Now);
    other.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&other.name, action, "finished", &["succeeded"]);
    assert!(stuck.row(&site).is_none());
}

#[test]
fn the_action_of_another_device_is_announced_for_nobody_else() {
    let (site, hawkbit, commit, device) = site();
    let other = Device::heard(&site, &hawkbit, "press-2");
    let action = hawkbit.assign(hawkbit.release("mixed up", &commit), &other.name, "forced");
    other.told(&site, action, Mode::Now);
    faults(&hawkbit).add(Rule::new(Fault::OtherAction, &format!("/controller/v1/{}", device.name)).times(2));
    hawkbit.until("both wrong answers", || faults(&hawkbit).rules().is_empty().then_some(()));
    let own = hawkbit.assign(hawkbit.release("own", &commit), &device.name, "forced");
    device.told(&site, own, Mode::Now);
    let wrong = site.peer.with(|s| s.announced.iter().any(|a| has_row(a, &device.name, action)));
    assert!(!wrong, "the row of {} was announced for {}", other.name, device.name);
}

#[test]
fn an_answer_that_comes_late_counts_and_is_asked_for_once_at_a_time() {
    let (site, hawkbit, commit, device) = site();
    faults(&hawkbit).add(Rule::new(Fault::Late(1500), &format!("/controller/v1/{}", device.name)).times(3));
    let action = hawkbit.assign(hawkbit.release("late", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    let seen = faults(&hawkbit).requests().iter().filter(|r| r.path.contains(&device.name)).count();
    assert!(seen < 60, "{seen} requests in the time of three late answers");
}

fn has_row(announced: &[u8], device: &str, action: u64) -> bool {
    crate::steered::told(announced, device).is_some_and(|t| t.action == action)
}

fn polled(hawkbit: &crate::site::hawkbit::Hawkbit, device: &Device) -> bool {
    faults(hawkbit).requests().iter().any(|r| r.path.ends_with(&format!("/controller/v1/{}", device.name)))
}
