//! Many decisions of a deployment system that nobody waits for, one a device.

use super::*;

/// Between two decisions.
const STEP: Duration = Duration::from_millis(10);
/// The longest that a row may wait.
const WAIT_MAX: Duration = Duration::from_millis(1_200);

/// The deployment system's action for a device.
fn assign(w: &mut World, i: usize) {
    let wish = Wish { action: Some(100 + i as u64), ..wish(&[i], 1) };
    w.give(Input::Request { ticket: NOBODY, wish });
}

/// A world in which the fleet was told of action 100 for device 0 a while ago.
fn announced() -> World {
    let mut w = World::settled();
    assign(&mut w, 0);
    w.advance(config().gather);
    assert_eq!((w.row(0), w.newest.as_ref().unwrap().rank()), (Some((100, Mode::Now)), (1, 1)), "a single row waits");
    w.advance(Duration::from_secs(10));
    w
}

#[test]
fn a_thousand_first_rows_take_few_counters_and_few_snapshots_and_none_waits_long() {
    let mut w = World::settled();
    let (start, before) = (w.now, w.persisted);
    let mut told = 0;
    for i in 0..1000 {
        assign(&mut w, i);
        w.advance(STEP);
        while w.row(told).is_some() {
            told += 1;
        }
        let oldest = start.after(STEP * told as u32);
        assert!(w.now.since(oldest) <= WAIT_MAX, "row {told} waits since {:?}", w.now.since(oldest));
    }
    w.advance(WAIT_MAX);
    assert_eq!(w.newest.as_ref().unwrap().rows.len(), 1000);
    assert!(w.announced.len() <= 12, "{} announcements in 10 s", w.announced.len());
    assert!(w.persisted - before <= 24, "{} snapshots in 10 s", w.persisted - before);
    w.restart();
    w.advance(Duration::from_secs(10));
    assert_eq!(w.core.state().actions.len(), 1000);
}

#[test]
fn a_withdrawal_after_a_quiet_time_does_not_wait() {
    let mut w = announced();
    w.give(Input::Withdraw { ticket: NOBODY, action: 100 });
    w.advance(config().gather);
    assert_eq!(w.row(0), Some((100, Mode::Withdraw)));
}

#[test]
fn a_window_that_opens_after_a_quiet_time_does_not_wait() {
    let mut w = announced();
    let wish = |mode| Wish { action: Some(101), mode, ..wish(&[1], 1) };
    w.give(Input::Request { ticket: NOBODY, wish: wish(Mode::Stage) });
    w.advance(Duration::from_secs(10));
    w.give(Input::Request { ticket: NOBODY, wish: wish(Mode::Now) });
    w.advance(config().gather);
    assert_eq!(w.row(1), Some((101, Mode::Now)));
}

#[test]
fn amid_many_rows_a_withdrawal_waits_a_second_at_most_and_not_at_all_for_a_person() {
    for (ticket, most) in [(NOBODY, Duration::from_secs(1)), (7, config().gather)] {
        let mut w = announced();
        assign(&mut w, 1);
        w.advance(config().gather);
        assert!(w.row(1).is_some());
        w.give(Input::Withdraw { ticket, action: 100 });
        w.advance(most);
        assert_eq!(w.row(0), Some((100, Mode::Withdraw)), "ticket {ticket}");
        assert_eq!(w.answers.contains_key(&ticket), ticket != NOBODY);
    }
}

#[test]
fn a_thousand_withdrawals_take_few_counters() {
    let mut w = World::settled();
    (0..1000).for_each(|i| assign(&mut w, i));
    w.advance(Duration::from_secs(10));
    let (counters, before) = (w.announced.len(), w.persisted);
    for i in 0..1000 {
        w.give(Input::Withdraw { ticket: NOBODY, action: 100 + i });
        w.advance(STEP);
    }
    w.advance(WAIT_MAX);
    assert!((0..1000).all(|i| w.row(i).unwrap().1 == Mode::Withdraw));
    assert!(w.announced.len() - counters <= 12 && w.persisted - before <= 24, "{} {}", w.announced.len(), w.persisted);
}

#[test]
fn what_is_taken_back_before_any_device_was_told_and_what_is_refused_is_durable_at_once() {
    let mut w = World::settled();
    w.central = Err(("central is out of reach".into(), true));
    assign(&mut w, 0);
    w.advance(Duration::from_secs(10));
    assert!(matches!(w.disk.actions[&100].phase, Phase::Pending { .. }));
    w.give(Input::Withdraw { ticket: NOBODY, action: 100 });
    assert_eq!(w.disk.actions[&100].phase, Phase::Withdrawn);
    w.central = Err(("no such commit".into(), false));
    assign(&mut w, 1);
    assert!(matches!(w.disk.actions[&101].phase, Phase::Refused { .. }));
}
