//! Answers that something between gateway and server gives.

use super::{faults, site};
use fullmetal_proto::wire::{Mode, ReportState};
use fullmetal_sim::hawkbit::{Fault, Rule};

#[test]
fn a_web_servers_404_in_answer_to_the_end_of_an_action_loses_nothing() {
    let (site, hawkbit, commit, mut device) = site();
    let action = hawkbit.assign(hawkbit.release("cut off", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    faults(&hawkbit).add(Rule::new(Fault::Status(404), "/feedback").times(1));
    device.report(&site, action, ReportState::Succeeded);
    let trouble = || site.run(&["status"]).out;
    let said = hawkbit.until("the trouble", || Some(trouble()).filter(|t| t.contains("without a word of Hawkbit's")));
    assert!(said.contains("/feedback does not exist"), "{said}");
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    assert_eq!(faults(&hawkbit).terminal_feedbacks(action), 1);
    assert!(faults(&hawkbit).rules().is_empty(), "the fault did bite");
}

#[test]
fn a_web_servers_404_in_answer_to_a_question_is_named_and_the_question_asked_again() {
    let (site, hawkbit, commit, device) = site();
    faults(&hawkbit).add(Rule::new(Fault::Status(404), "/deploymentBase/").times(1));
    let action = hawkbit.assign(hawkbit.release("asked", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    let said = site.run(&["status"]).out;
    assert!(said.contains("does not exist") && said.contains("is [hawkbit] url its root"), "{said}");
}
