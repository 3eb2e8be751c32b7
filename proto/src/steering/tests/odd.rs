//! Words that do not fit together: of a server, of a device, from before a restart.

use super::rules::{announced, world};
use super::*;
use crate::wire::ReportState as S;

/// A world in which action 8 for device 0 waits for central.
fn pending() -> World {
    let mut world = world(1);
    world.central = Err("no route".into());
    world.assign(8, 0, 1, Mode::Now);
    world.run(POLL);
    world
}

#[test]
fn an_action_of_one_device_cannot_be_changed_or_ended_in_the_name_of_another() {
    let mut world = world(2);
    world.assign(8, 0, 1, Mode::Stage);
    world.run(POLL);
    assert_eq!(world.rows[&device(0)], (8, Mode::Stage, None));
    // The server offers the very action to the other device, more urgently, then cancels it there.
    world.job(8).over = true;
    let mut foreign = world.job(8).clone();
    (foreign.device, foreign.over) = (device(1), false);
    foreign.order.as_mut().unwrap().wish.mode = Mode::Now;
    foreign.order.as_mut().unwrap().wish.targets = Targets::Named(BTreeSet::from([device(1)]));
    world.jobs.insert(8, foreign);
    // It does not ask for the first one any more, which its server would have to answer.
    world.heard.remove(&device(0));
    world.restart();
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)], (8, Mode::Stage, None));
    assert!(!world.rows.contains_key(&device(1)));
    let said = format!("{:?}", world.job(8).words);
    assert!(said.contains("for other devices"), "{said}");
    world.job(8).cancelling = true;
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)], (8, Mode::Stage, None));
    world.jobs.remove(&8);
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)], (8, Mode::Stage, None));
}

#[test]
fn a_report_with_absurd_figures_is_told_like_any_other() {
    let mut world = announced(Mode::Now);
    let mut absurd = report(0, 1, 8, 1, S::Accepted);
    (absurd.oldest, absurd.at) = (0, world.now);
    (absurd.bytes_from_peers, absurd.bytes_from_central, absurd.elapsed_ms) = (u64::MAX, u64::MAX, u64::MAX);
    world.dispatch(dispatch::Input::Report { report: Box::new(absurd), envelope: vec![] });
    world.run(Duration::from_secs(3));
    assert_eq!(world.job(8).words.len(), 1);
}

#[test]
fn what_vanished_while_the_gateway_was_off_is_not_announced_once_central_is_back() {
    let mut world = pending();
    assert!(world.core.state().actions.contains_key(&8));
    world.job(8).over = true;
    world.restart();
    world.run(POLL);
    world.central = Ok(());
    world.run(POLL * 30);
    assert!(!world.rows.contains_key(&device(0)), "the device was told of what was cancelled");
}

#[test]
fn what_a_device_was_told_is_not_called_failed_when_its_description_becomes_unusable() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Switching);
    world.job(8).order = Err("fullmetal.job = yes".into());
    world.restart();
    world.run(POLL * 2);
    assert_eq!(world.ends(8), []);
    world.report(0, 8, 1, S::Succeeded);
    assert_eq!(world.ends(8), [Stage::Succeeded]);
}

#[test]
fn what_an_operator_withdraws_before_any_device_was_told_ends_at_the_server() {
    let mut world = pending();
    world.dispatch(dispatch::Input::Withdraw { ticket: 1, action: 8 });
    world.run(POLL * 2);
    assert_eq!(world.ends(8), [Stage::Failed]);
    let said = format!("{:?}", world.job(8).words.last());
    assert!(said.contains("withdrawn at the gateway by its operator"), "{said}");
    world.central = Ok(());
    world.run(POLL * 30);
    assert!(!world.rows.contains_key(&device(0)));
}
