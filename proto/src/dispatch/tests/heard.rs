//! What the gateway makes of reports that come late, early or out of order.

use super::*;

#[test]
fn reports_beyond_many_gaps_are_not_taken_before_the_gaps_are_filled() {
    let mut w = World::settled();
    for counter in (2..=1000).step_by(2) {
        w.send(report(0, counter, 0, 1, ReportState::Inventory));
    }
    assert!(w.feedback.len() <= 64 && w.receipts.is_empty());
    for counter in 1..=1000 {
        w.send(report(0, counter, 0, 1, ReportState::Inventory));
    }
    assert_eq!((w.feedback.len(), w.receipts[&device(0)]), (1000, 1000));
}

#[test]
fn a_device_that_starts_afresh_counts_from_its_clock_and_soon_gets_receipts() {
    let mut w = World::settled();
    let fresh = 1_795_528_440;
    let fresh_report = |counter| Report { oldest: fresh, ..report(0, counter, 0, 1, ReportState::Inventory) };
    w.send(fresh_report(fresh + 1));
    w.send(fresh_report(fresh));
    assert!(w.receipts.is_empty());
    w.advance(Duration::from_secs(6));
    assert_eq!(w.receipts[&device(0)], fresh + 1);
    w.send(fresh_report(fresh + 2));
    assert_eq!(w.receipts[&device(0)], fresh + 2, "from then on at once");
}

#[test]
fn a_device_was_heard_when_it_made_its_newest_report_but_not_in_the_future() {
    let mut w = World::settled();
    let at =
        |counter, secs| Report { at: Timestamp::from_secs(secs), ..report(0, counter, 0, 1, ReportState::Inventory) };
    let heard = |w: &World| w.core.state().devices[&device(0)].heard;
    w.send(at(2, 999_900));
    assert_eq!(heard(&w), Some(Timestamp::from_secs(999_900)));
    w.send(at(1, 999_000));
    assert_eq!(heard(&w), Some(Timestamp::from_secs(999_900)), "an older one that came late");
    w.send(at(3, 9_000_000));
    assert_eq!(heard(&w), Some(w.now));
}
