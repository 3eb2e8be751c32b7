//! One rule of the gateway's core each.

use super::*;
use crate::wire::{Announcement, Row, cbor, seal};

/// A verified announcement of somebody else with one row.
fn foreign(rank: (u64, u64), action: u64) -> Newest {
    let bundles = vec![ByteBuf::from(seal(&bundle(&[part_wish(9)]), &[]).unwrap())];
    let announcement = Announcement {
        fleet: "plant".parse().unwrap(),
        epoch: rank.0,
        counter: rank.1,
        issued: Timestamp::from_secs(900_000),
        expires: Timestamp::from_secs(9_000_000),
        bundles,
        rows: vec![Row(device(0), 0, action, Mode::Now, None)],
    };
    Newest { content: Digest::of(&cbor::to_vec(&announcement)), announcement: Box::new(announcement) }
}

#[test]
fn a_decision_reaches_its_devices_under_a_new_counter() {
    let mut w = World::settled();
    assert_eq!(w.ask(1, wish(&[0, 1], 1)), 1);
    assert_eq!(w.answers[&1].1, Outcome::Announced { rank: (1, 1), unheard: vec![device(0), device(1)] });
    let a = w.newest.as_ref().unwrap();
    assert_eq!((a.rank(), a.rows.len(), a.bundles.len()), ((1, 1), 2, 1));
    assert_eq!(w.helped, 1);
    assert_eq!(a.expires.since(a.issued), Duration::from_secs(30 * 86_400));
}

#[test]
fn actions_of_the_same_bundle_share_its_entry_and_one_announcement() {
    let mut w = World::settled();
    for i in 0..4 {
        w.push(Input::Request { ticket: i as u64, wish: wish(&[i], (i % 2) as u8) });
    }
    w.acknowledge(usize::MAX);
    w.advance(Duration::from_secs(1));
    let a = w.newest.as_ref().unwrap();
    assert_eq!((a.rank(), a.rows.len(), a.bundles.len()), ((1, 1), 4, 2));
}

#[test]
fn the_newest_decision_of_a_device_takes_its_row() {
    let mut w = World::settled();
    w.ask(1, wish(&[0, 1], 1));
    w.ask(2, wish(&[1], 2));
    assert_eq!((w.row(0).unwrap().0, w.row(1).unwrap().0), (1, 2));
    assert_eq!(w.core.state().actions[&1].devices[&device(1)].replaced_by, Some(2));
    w.send(report(0, 1, 1, 1, ReportState::Succeeded));
    w.ask(3, wish(&[1], 3));
    assert_eq!(w.row(0).unwrap().0, 1, "a finished device keeps its row, to catch up when it is reinstalled");
    assert_eq!(w.newest.as_ref().unwrap().bundles.len(), 2, "a bundle without rows goes");
}

#[test]
fn an_older_decision_that_is_made_late_does_not_take_the_row_back() {
    let mut w = World::settled();
    w.central = Err(("central is out of reach".into(), true));
    w.ask(1, wish(&[0, 1], 1));
    assert_eq!(w.answers[&1].1, Outcome::Pending { reason: "central is out of reach".into() });
    assert!(w.newest.is_none(), "nothing is announced");
    w.central = Ok(());
    w.ask(2, wish(&[0], 2));
    w.advance(Duration::from_secs(20));
    assert_eq!((w.row(0).unwrap().0, w.row(1).unwrap().0), (2, 1));
}

#[test]
fn what_can_never_be_made_is_refused_with_the_reason() {
    let mut w = World::settled();
    w.central = Err(("central has no ref apps/web/x86_64".into(), false));
    w.ask(1, wish(&[0], 1));
    assert_eq!(w.answers[&1].1, Outcome::Refused { reason: "central has no ref apps/web/x86_64".into() });
    w.central = Ok(());
    w.advance(Duration::from_secs(100));
    assert!(w.newest.is_none());
}

#[test]
fn without_its_peer_a_decision_waits_and_goes_on_at_connect() {
    let mut w = World::settled();
    w.give(Input::Disconnected);
    w.ask(1, wish(&[0], 1));
    assert!(matches!(&w.answers[&1].1, Outcome::Pending { reason } if reason.contains("no connection")));
    w.advance(Duration::from_secs(100));
    assert!(w.newest.is_none());
    w.give(Input::Connected);
    w.advance(Duration::from_secs(1));
    assert_eq!(w.row(0), Some((1, Mode::Now)));
}

#[test]
fn all_means_every_device_that_is_known() {
    let mut w = World::settled();
    let all = Wish { targets: Targets::All, ..wish(&[], 1) };
    w.give(Input::Request { ticket: 1, wish: all.clone() });
    assert!(matches!(&w.answers[&1].1, Outcome::Refused { reason } if reason.contains("no device is known")));
    w.give(Input::Heard(vec![(device(3), 5), (device(4), 0)]));
    w.ask(2, all);
    assert_eq!(w.answers[&2].1, Outcome::Announced { rank: (1, 1), unheard: vec![] });
    assert_eq!(w.core.state().devices[&device(3)].heard, Some(Timestamp::from_secs(1_000_001)));
}

#[test]
fn a_withdrawal_keeps_its_row_until_the_device_has_answered() {
    let mut w = World::settled();
    w.ask(1, wish(&[0, 1], 1));
    w.send(report(0, 1, 1, 1, ReportState::Succeeded));
    w.give(Input::Withdraw { ticket: 2, action: 1 });
    w.advance(Duration::from_secs(1));
    assert_eq!(w.answers[&2].1, Outcome::Withdrawn { devices: 1 });
    assert_eq!((w.row(0), w.row(1)), (None, Some((1, Mode::Withdraw))));
    w.send(report(1, 1, 1, 1, ReportState::Withdrawn));
    w.ask(3, wish(&[2], 2));
    assert_eq!((w.row(1), w.row(2).unwrap().0), (None, 2));
    w.give(Input::Withdraw { ticket: 4, action: 77 });
    assert!(matches!(&w.answers[&4].1, Outcome::Refused { reason } if reason.contains("no action 77")));
}

#[test]
fn an_action_that_waits_for_central_is_withdrawn_without_a_word_to_the_fleet() {
    let mut w = World::settled();
    w.central = Err(("out of reach".into(), true));
    w.ask(1, wish(&[0], 1));
    w.give(Input::Withdraw { ticket: 2, action: 1 });
    w.central = Ok(());
    w.advance(Duration::from_secs(100));
    assert_eq!(w.answers[&2].1, Outcome::Withdrawn { devices: 0 });
    assert!(w.newest.is_none());
}

#[test]
fn a_deployment_systems_own_number_is_renewed_not_doubled() {
    let mut w = World::settled();
    let mut own = Wish { action: Some(40), valid_until: Some(Timestamp::from_secs(1_000_100)), ..wish(&[0], 1) };
    assert_eq!(w.ask(1, own.clone()), 40);
    own.valid_until = Some(Timestamp::from_secs(1_000_200));
    assert_eq!(w.ask(2, own.clone()), 40);
    w.advance(Duration::from_secs(10));
    let newest = w.newest.as_ref().unwrap();
    assert_eq!((newest.counter, newest.rows[0].4), (2, own.valid_until));
    w.ask(3, own.clone());
    assert_eq!(w.newest.as_ref().unwrap().counter, 2, "no change, no announcement");
    own.parts = vec![part_wish(7)];
    w.ask(4, own);
    assert!(matches!(&w.answers[&4].1, Outcome::Refused { reason } if reason.contains("other parts")));
    assert_eq!(w.ask(5, wish(&[1], 1)), 41);
}

#[test]
fn an_announcement_is_renewed_at_half_of_its_life() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.advance(Duration::from_secs(15 * 86_400 - 60));
    assert_eq!(w.newest.as_ref().unwrap().counter, 1);
    w.advance(Duration::from_secs(120));
    let a = w.newest.as_ref().unwrap();
    assert_eq!(a.counter, 2);
    assert!(a.expires > w.now.after(Duration::from_secs(29 * 86_400)));
}

#[test]
fn a_new_gateway_learns_first_and_goes_on_where_the_old_one_stopped() {
    let mut w = World::new();
    w.give(Input::Request { ticket: 1, wish: wish(&[1], 1) });
    w.advance(Duration::from_secs(15));
    assert!(w.answers.is_empty() && w.newest.is_none(), "no number before it has listened");
    w.give(Input::Connected);
    w.advance(Duration::from_secs(1));
    w.give(Input::Highest(foreign((1, 41), 12)));
    w.advance(Duration::from_secs(6));
    assert_eq!(w.answers[&1].0, Some(13));
    assert_eq!(w.newest.as_ref().unwrap().rank(), (1, 42));
    assert_eq!((w.row(0), w.row(1)), (Some((12, Mode::Now)), Some((13, Mode::Now))));
    w.send(report(0, 1, 12, 9, ReportState::Succeeded));
    assert_eq!(w.core.state().actions[&12].devices[&device(0)].state, Some(ReportState::Succeeded));
}

#[test]
fn a_new_gateway_without_a_peer_gives_no_numbers() {
    let mut w = World::new();
    w.give(Input::Request { ticket: 1, wish: wish(&[1], 1) });
    w.advance(Duration::from_secs(30));
    assert!(matches!(&w.answers[&1], (None, Outcome::Refused { reason }) if reason.contains("cannot reach its peer")));
    w.give(Input::Connected);
    w.advance(Duration::from_secs(30));
    assert!(w.newest.is_none(), "what was refused is not done later");
}

#[test]
fn a_restarted_gateway_announces_the_same_again_and_nothing_new() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.restart();
    w.advance(Duration::from_secs(10));
    assert_eq!(w.announced.len(), 2);
    assert_eq!(w.announced[0], w.announced[1]);
    w.give(Input::Connected);
    assert_eq!(w.announced.len(), 3, "and again whenever its peer comes back");
}

#[test]
fn an_equal_counter_with_other_content_stops_the_gateway_until_a_person_resumes_it() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.give(Input::Highest(foreign((1, 1), 5)));
    assert_eq!(w.alarms, [Alarm::Conflict { rank: (1, 1) }]);
    w.give(Input::Request { ticket: 2, wish: wish(&[1], 2) });
    assert!(matches!(&w.answers[&2].1, Outcome::Refused { reason } if reason.contains("another gateway acts")));
    w.restart();
    w.advance(Duration::from_secs(40 * 86_400));
    assert_eq!(w.newest.as_ref().unwrap().counter, 1, "not even a renewal");
    w.give(Input::Resume { ticket: 3 });
    w.give(Input::Highest(foreign((1, 1), 5)));
    w.advance(Duration::from_secs(10));
    assert_eq!((w.alarms.len(), w.newest.as_ref().unwrap().counter), (1, 2));
    assert_eq!(w.row(0), Some((1, Mode::Now)));
}

#[test]
fn its_own_announcement_coming_back_is_no_alarm() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    let own = w.newest.clone().unwrap();
    let content = Digest::of(&cbor::to_vec(&own));
    w.give(Input::Highest(Newest { content, announcement: Box::new(own) }));
    assert!(w.alarms.is_empty());
}

#[test]
fn a_newer_announcement_of_somebody_else_stops_it_and_is_taken_over() {
    let mut w = World::settled();
    w.ask(1, wish(&[0, 1], 1));
    w.give(Input::Highest(foreign((1, 8), 5)));
    assert_eq!(w.alarms, [Alarm::Superseded { rank: (1, 8) }]);
    w.give(Input::Resume { ticket: 2 });
    w.advance(Duration::from_secs(10));
    w.ask(3, wish(&[2], 2));
    assert_eq!(w.newest.as_ref().unwrap().rank(), (1, 9));
    assert_eq!((w.row(0).unwrap().0, w.row(1)), (5, None));
}

#[test]
fn a_newer_role_than_our_trust_file_knows_stops_it() {
    let mut w = World::settled();
    w.give(Input::Highest(foreign((2, 1), 5)));
    assert_eq!(w.alarms, [Alarm::OldTrust { rank: (2, 1) }]);
    assert!(w.alarms[0].to_string().contains("newest trust file"));
}

#[test]
fn a_newer_trust_file_has_the_same_wishes_announced_in_its_epoch_at_once() {
    let mut w = World::settled();
    w.give(Input::Epoch(2));
    assert!(w.newest.is_none(), "there is nothing to say");
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.give(Input::Epoch(2));
    assert_eq!((w.newest.as_ref().unwrap().rank(), w.row(0)), ((2, 1), Some((1, Mode::Now))));
    w.give(Input::Epoch(2));
    w.give(Input::Epoch(1));
    w.ask(2, wish(&[1], 1));
    assert_eq!(w.newest.as_ref().unwrap().rank(), (2, 2));
}

#[test]
fn a_new_epoch_starts_its_counter_anew_even_after_the_last_number() {
    let mut w = World::new();
    w.give(Input::Connected);
    w.give(Input::Highest(foreign((1, u64::MAX), 5)));
    w.advance(Duration::from_secs(6));
    w.ask(1, wish(&[0], 1));
    assert_eq!(w.alarms, [Alarm::Exhausted]);
    let newer = Config { epoch: 2, ..config() };
    let mut core = Dispatch::new(newer, w.disk.clone(), vec![], w.now);
    core.handle(Input::Connected, w.now);
    core.handle(Input::Wakeup, w.now.after(Duration::from_secs(6)));
    assert_eq!(core.state().rank, (2, 1));
}

#[test]
fn a_report_is_on_disk_before_its_receipt_and_counts_once() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.send_later(report(0, 1, 1, 1, ReportState::Accepted));
    assert!(w.receipts.is_empty());
    w.acknowledge(usize::MAX);
    assert_eq!(w.receipts[&device(0)], 1);
    w.send(report(0, 1, 1, 1, ReportState::Accepted));
    w.advance(Duration::from_secs(5));
    assert_eq!(w.feedback[&(device(0), 1)], 1);
    assert!(w.spool.is_empty(), "delivered reports leave the disk");
}

#[test]
fn a_receipt_that_the_peer_was_not_there_for_is_given_when_it_is_back() {
    let mut w = World::settled();
    w.send_later(report(0, 1, 0, 1, ReportState::Inventory));
    w.restart();
    assert_eq!(w.receipts[&device(0)], 1, "found on disk, acknowledged at connect");
    w.give(Input::Disconnected);
    w.send(report(0, 2, 0, 1, ReportState::Inventory));
    assert_eq!(w.receipts[&device(0)], 1);
    w.give(Input::Connected);
    assert_eq!(w.receipts[&device(0)], 2);
}

#[test]
fn reports_out_of_order_count_by_their_counter_and_their_receipt_has_no_gap() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.send(report(0, 3, 1, 1, ReportState::Succeeded));
    w.send(report(0, 1, 1, 1, ReportState::Accepted));
    assert_eq!(w.receipts[&device(0)], 1);
    assert_eq!(w.core.state().actions[&1].devices[&device(0)].state, Some(ReportState::Succeeded));
    w.send(report(0, 2, 1, 1, ReportState::Staged));
    assert_eq!(w.receipts[&device(0)], 3);
}

#[test]
fn a_missing_report_is_waited_for_until_its_device_says_that_it_has_it_no_more() {
    let mut w = World::settled();
    w.send(report(0, 1, 0, 1, ReportState::Inventory));
    w.send(report(0, 3, 0, 1, ReportState::Inventory));
    for _ in 0..48 {
        w.advance(Duration::from_secs(3600));
        w.send(report(0, 3, 0, 1, ReportState::Inventory));
        assert_eq!(w.receipts[&device(0)], 1, "a receipt would make the device delete report 2");
        w.restart();
    }
    w.send(Report { oldest: 2, ..report(0, 4, 0, 1, ReportState::Inventory) });
    w.advance(Duration::from_secs(3600));
    assert_eq!(w.receipts[&device(0)], 1);
    w.send(Report { oldest: 3, ..report(0, 5, 0, 1, ReportState::Inventory) });
    assert_eq!(w.receipts[&device(0)], 1, "a neighbour may still carry it");
    w.advance(Duration::from_secs(6));
    assert_eq!(w.receipts[&device(0)], 5);
    w.send(report(0, 2, 0, 1, ReportState::Inventory));
    assert_eq!(w.feedback[&(device(0), 2)], 1, "late, and taken all the same");
}

#[test]
fn a_report_of_another_bundle_or_device_changes_no_action() {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    w.send(report(0, 1, 1, 2, ReportState::Succeeded));
    w.send(report(5, 1, 1, 1, ReportState::Succeeded));
    let devices = &w.core.state().actions[&1].devices;
    assert_eq!((devices.len(), devices[&device(0)].state), (1, None));
    assert_eq!(w.feedback.len(), 2, "they are kept all the same");
}

#[test]
fn an_announcement_without_room_is_refused_with_figures() {
    let mut w = World::settled();
    let many: Vec<usize> = (0..10_000).collect();
    w.ask(1, wish(&many, 1));
    assert!(matches!(w.answers[&1].1, Outcome::Announced { .. }));
    w.ask(2, wish(&[10_001], 2));
    assert!(matches!(&w.answers[&2].1, Outcome::Refused { reason } if reason.contains("10001 rows (of 10000)")));
    assert!(seal(w.newest.as_ref().unwrap(), &[]).is_ok());
}
