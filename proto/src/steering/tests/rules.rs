//! One rule a test.

use super::*;
use crate::wire::ReportState as S;

pub(super) fn world(devices: usize) -> World {
    let mut world = World::new(Confirm::Ask);
    world.hear(devices);
    world
}

/// A world in which the fleet was told of action 8 for device 0.
pub(super) fn announced(mode: Mode) -> World {
    let mut world = world(1);
    world.assign(8, 0, 1, mode);
    world.run(POLL);
    assert_eq!(world.rows[&device(0)].0, 8);
    world
}

#[test]
fn a_deployment_is_announced_told_of_and_closed_only_after_its_proof() {
    let mut world = announced(Mode::Now);
    for state in [S::Accepted, S::Fetching, S::Staged, S::Switching, S::Proving] {
        world.report(0, 8, 1, state);
        assert_eq!(world.ends(8), [], "{state:?}");
    }
    assert_eq!(world.job(8).words.len(), 5);
    world.report(0, 8, 1, S::Succeeded);
    assert_eq!(world.ends(8), [Stage::Succeeded]);
    world.run(POLL * 3);
    assert_eq!((world.job(8).words.len(), world.core.spooled_count()), (6, 0));
}

#[test]
fn a_failure_says_why() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Failed);
    let last = world.job(8).words.last().cloned();
    let Some(Message::Progress { stage: Stage::Failed, details, .. }) = last else { panic!("{last:?}") };
    assert_eq!(details, ["failed: the app exited"]);
}

#[test]
fn only_devices_that_the_fleet_hears_are_polled() {
    let mut world = world(1);
    world.run(POLL * 5);
    let polls = world.polls[&device(0)];
    assert!((5..=7).contains(&polls), "{polls}");
    world.heard.clear();
    world.run(Duration::from_secs(600));
    let at_last = world.polls[&device(0)];
    world.run(Duration::from_secs(1200));
    assert_eq!(world.polls[&device(0)], at_last, "polled although nobody hears it");
    assert!(!world.polls.contains_key(&device(1)));
}

#[test]
fn the_last_word_is_told_even_when_the_device_is_silent_afterwards_and_the_server_comes_back_after_days() {
    let mut world = announced(Mode::Now);
    world.trouble = Some(Reply::Later(Duration::from_secs(300)));
    world.report(0, 8, 1, S::Succeeded);
    world.heard.clear();
    world.run(Duration::from_secs(20_000));
    assert_eq!((world.ends(8), world.core.spooled_count()), (vec![], 1));
    world.trouble = None;
    world.run(Duration::from_secs(301));
    assert_eq!((world.ends(8), world.core.spooled_count()), (vec![Stage::Succeeded], 0));
}

#[test]
fn a_final_word_waits_for_room_and_others_do_not() {
    let mut world = announced(Mode::Now);
    world.trouble = Some(Reply::Quota);
    world.report(0, 8, 1, S::Fetching);
    assert_eq!(world.core.spooled_count(), 0);
    world.report(0, 8, 1, S::Succeeded);
    assert_eq!(world.core.spooled_count(), 1);
    world.trouble = None;
    world.run(Duration::from_secs(700));
    assert_eq!((world.ends(8), world.core.spooled_count()), (vec![Stage::Succeeded], 0));
}

#[test]
fn a_cancel_is_accepted_when_the_device_has_dropped_the_action() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Fetching);
    world.job(8).cancelling = true;
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)].1, Mode::Withdraw);
    assert!(!world.job(8).over, "answered for a device that has not reported");
    world.report(0, 8, 1, S::Withdrawn);
    assert_eq!(world.job(8).words.last(), Some(&Message::CancelAccepted { cancel: 1008 }));
    world.run(POLL * 2);
    assert_eq!((world.core.spooled_count(), world.job(8).words.len()), (0, 2));
}

#[test]
fn a_cancel_that_comes_too_late_is_rejected_and_the_result_follows() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Switching);
    world.job(8).cancelling = true;
    world.run(POLL * 2);
    world.report(0, 8, 1, S::TooLate);
    assert!(matches!(world.job(8).words.last(), Some(Message::CancelRejected { cancel: 1008, .. })));
    world.report(0, 8, 1, S::Succeeded);
    assert_eq!((world.ends(8), world.core.spooled_count()), (vec![Stage::Succeeded], 0));
}

#[test]
fn a_cancel_of_what_no_device_was_told_is_accepted_at_once() {
    let mut world = world(1);
    world.central = Err("central is out of reach".into());
    world.assign(8, 0, 1, Mode::Now);
    world.run(POLL);
    world.job(8).cancelling = true;
    world.run(POLL * 2);
    assert_eq!(world.job(8).words.last(), Some(&Message::CancelAccepted { cancel: 1008 }));
    world.central = Ok(());
    world.run(POLL);
    assert!(world.rows.is_empty(), "announced after it was cancelled");
}

#[test]
fn an_action_waits_with_its_reason_while_central_is_out_of_reach() {
    let mut world = world(1);
    world.central = Err("central is out of reach".into());
    world.assign(8, 0, 1, Mode::Now);
    world.run(POLL * 3);
    let words = world.job(8).words.clone();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(
        matches!(&words[0], Message::Progress { stage: Stage::Proceeding, details, .. } if details[0].contains("central"))
    );
    world.central = Ok(());
    world.run(Duration::from_secs(20));
    assert_eq!(world.rows[&device(0)].0, 8);
}

#[test]
fn what_can_never_be_done_fails_once_with_the_reason() {
    let mut world = world(1);
    world.assign(8, 0, 1, Mode::Now);
    world.job(8).order = Err("software module \"x\" names no commit".into());
    world.run(POLL * 3);
    assert_eq!(world.ends(8), [Stage::Failed]);
    assert!(world.rows.is_empty());
}

#[test]
fn an_action_that_vanished_is_withdrawn() {
    let mut world = announced(Mode::Now);
    world.job(8).over = true;
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)].1, Mode::Withdraw);
    world.report(0, 8, 1, S::Withdrawn);
    assert_eq!((world.job(8).words.len(), world.core.spooled_count()), (0, 0));
}

#[test]
fn a_soft_action_that_becomes_forced_is_announced_as_such() {
    let mut world = announced(Mode::WhenIdle);
    assert_eq!(world.rows[&device(0)].1, Mode::WhenIdle);
    world.job(8).order.as_mut().unwrap().wish.mode = Mode::Now;
    world.revision += 1;
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)], (8, Mode::Now, None));
}

#[test]
fn an_open_window_is_believed_for_its_time_and_renewed_while_polls_go_on() {
    let mut world = world(1);
    world.assign(8, 0, 1, Mode::Now);
    let until = world.now.after(POLL * 4);
    world.job(8).order.as_mut().unwrap().wish.valid_until = Some(until);
    world.run(POLL * 20);
    let until = world.rows[&device(0)].2.unwrap();
    assert!(until > world.now && until <= world.now.after(POLL * 4), "{until} at {}", world.now);
    world.trouble = Some(Reply::Later(Duration::from_secs(60)));
    world.run(POLL * 20);
    assert_eq!(world.rows[&device(0)].2, Some(until), "believed without asking");
}

#[test]
fn staging_is_the_end_only_where_nothing_else_was_asked_for() {
    let mut world = announced(Mode::Stage);
    world.report(0, 8, 1, S::Staged);
    assert_eq!(world.ends(8), []);
    let mut world = rules::world(1);
    world.assign(8, 0, 1, Mode::Stage);
    world.job(8).order.as_mut().unwrap().final_when_staged = true;
    world.run(POLL);
    world.report(0, 8, 1, S::Staged);
    assert_eq!(world.ends(8), [Stage::Downloaded]);
    world.run(POLL * 3);
    assert_eq!(world.rows[&device(0)].1, Mode::Stage, "what is staged stays");
}

#[test]
fn what_waits_for_confirmation_is_announced_after_the_operators_word_only() {
    let mut world = world(2);
    for i in 0..2 {
        world.assign(8 + i as u64, i, 1, Mode::Now);
        world.job(8 + i as u64).waits = true;
    }
    world.run(POLL * 2);
    assert_eq!(world.steering.unconfirmed().map(|(_, a)| a).collect::<Vec<_>>(), [8, 9]);
    assert!(world.rows.is_empty());
    world.steer(Input::Confirm { action: 8, yes: true });
    world.steer(Input::Confirm { action: 9, yes: false });
    world.run(POLL * 3);
    assert_eq!(world.rows.keys().collect::<Vec<_>>(), [&device(0)]);
    assert_eq!(world.job(9).words, [Message::Confirmation { action: 9, yes: false }], "denied once");
    assert_eq!(world.steering.unconfirmed().count(), 0);
}

#[test]
fn a_gateway_that_confirms_by_itself_does_so_at_once() {
    let mut world = World::new(Confirm::Auto);
    world.hear(1);
    world.assign(8, 0, 1, Mode::Now);
    world.job(8).waits = true;
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)].0, 8);
}

#[test]
fn the_rest_of_a_fleet_is_asked_soon_after_the_first_device_and_shares_its_bundle() {
    // Each is polled at another second.
    let mut world = world(1);
    (2..=50).for_each(|count| world.hear(count));
    world.run(POLL / 2);
    for i in 0..50 {
        world.assign(100 + i as u64, i, 1, Mode::Now);
    }
    while world.rows.is_empty() {
        world.run(Duration::ZERO);
    }
    let first = world.now;
    while world.rows.len() < 50 {
        world.run(Duration::ZERO);
        assert!(world.now.since(first) <= Duration::from_secs(3), "{} rows", world.rows.len());
    }
    assert_eq!(world.resolved, 1, "the same parts were made into a bundle more than once");
    assert_eq!(world.core.state().bundles.len(), 1);
}

#[test]
fn a_fleet_that_is_heard_at_once_is_polled_one_device_after_the_other() {
    let mut world = world(300);
    for second in 1..=3 {
        assert!(world.polls.len() <= 100 * second, "{} polls in {second} s", world.polls.len());
        world.run(Duration::ZERO);
    }
    assert_eq!(world.polls.len(), 300);
    world.heard.clear();
    world.run(Duration::from_secs(1200));
    let before: u32 = world.polls.values().sum();
    world.hear(300);
    assert!(world.polls.values().sum::<u32>() <= before + 100, "polled at once when they are heard again");
}

#[test]
fn a_deployment_to_many_devices_takes_few_snapshots() {
    let mut world = world(300);
    world.run(POLL);
    for i in 0..300 {
        world.assign(100 + i as u64, i, 1, Mode::Now);
    }
    let persisted = world.persisted;
    world.run(POLL + GATHER);
    assert_eq!(world.rows.len(), 300);
    assert!(world.persisted - persisted <= 24, "{} snapshots", world.persisted - persisted);
}

#[test]
fn a_newer_action_takes_the_place_of_an_older_one() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Fetching);
    world.job(8).cancelling = true;
    world.run(POLL * 2);
    world.report(0, 8, 1, S::Withdrawn);
    world.assign(9, 0, 2, Mode::Now);
    world.run(POLL);
    assert_eq!(world.rows[&device(0)].0, 9);
    world.report(0, 9, 2, S::Succeeded);
    assert_eq!((world.ends(8), world.ends(9)), (vec![], vec![Stage::Succeeded]));
}

#[test]
fn what_was_decided_from_a_file_is_none_of_the_servers_business() {
    let mut world = world(1);
    let wish = Wish {
        action: None,
        targets: Targets::Named(BTreeSet::from([device(0)])),
        mode: Mode::Now,
        valid_until: None,
        parts: vec![part_wish(1)],
        removed: vec![],
    };
    world.dispatch(dispatch::Input::Request { ticket: 1, wish });
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)].1, Mode::Now, "withdrawn since the server does not name it");
    let action = world.rows[&device(0)].0;
    world.report(0, action, 1, S::Succeeded);
    assert_eq!(world.core.spooled_count(), 0);
}

#[test]
fn a_new_gateway_takes_over_what_the_old_one_announced_and_goes_on_with_it() {
    let mut world = announced(Mode::WhenIdle);
    let (old, announcement) = (world.core.state().announced.clone().unwrap(), world.announcement.clone().unwrap());
    world.disk = State::default();
    world.restart();
    let newest = dispatch::Newest { content: old.content, announcement };
    world.dispatch(dispatch::Input::Highest(newest));
    world.job(8).order.as_mut().unwrap().wish.mode = Mode::Now;
    world.run(POLL * 2);
    assert_eq!(world.rows[&device(0)], (8, Mode::Now, None));
    assert_eq!(world.job(8).words, []);
    world.report(0, 8, 1, S::Succeeded);
    assert_eq!(world.ends(8), [Stage::Succeeded]);
}

#[test]
fn a_number_that_comes_again_for_something_else_is_told_and_not_announced() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Succeeded);
    world.run(POLL * 2);
    world.assign(8, 0, 2, Mode::Now);
    world.run(POLL * 2);
    let words = world.job(8).words.clone();
    let [Message::Progress { stage: Stage::Proceeding, details, .. }] = &words[..] else { panic!("{words:?}") };
    assert!(details[0].contains("database made anew"), "{details:?}");
}

#[test]
fn the_server_sees_what_runs_on_a_device() {
    let mut world = announced(Mode::Now);
    world.report(0, 8, 1, S::Failed);
    world.run(POLL * 2);
    assert_eq!(world.attributes[&device(0)]["last_error"], "the app exited");
}

#[test]
fn a_word_that_something_on_the_way_does_not_know_is_told_again_while_its_action_is_open() {
    let mut world = World::new(Confirm::Ask);
    world.hear(1);
    world.assign(7, 0, 1, Mode::Now);
    world.run(POLL);
    world.cut_off = true;
    world.report(0, 7, 1, S::Succeeded);
    world.run(Duration::from_secs(300));
    assert!(world.ends(7).is_empty() && world.spool.len() == 1, "{:?}", world.ends(7));
    world.cut_off = false;
    world.run(Duration::from_secs(30));
    assert_eq!((world.ends(7), world.spool.len()), (vec![Stage::Succeeded], 0));
}

#[test]
fn a_word_that_nobody_knows_is_let_go_once_the_server_has_its_action_open_no_more() {
    let mut world = World::new(Confirm::Ask);
    world.hear(1);
    world.assign(7, 0, 1, Mode::Now);
    world.run(POLL);
    (world.cut_off, world.job(7).over) = (true, true);
    world.report(0, 7, 1, S::Succeeded);
    assert_eq!(world.spool.len(), 1);
    world.run(Duration::from_secs(30));
    assert!(world.ends(7).is_empty() && world.spool.is_empty());
}
