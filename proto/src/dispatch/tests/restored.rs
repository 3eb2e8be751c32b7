//! A state from a backup: older than what the fleet follows.

use super::*;

/// A gateway that announced twice, and one whose state is from before the second; what the fleet had by then.
fn restored() -> (World, Newest) {
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    let old = w.disk.clone();
    w.ask(2, wish(&[0], 2));
    let newest = w.newest.clone().unwrap();
    let content = Digest::of(&crate::wire::cbor::to_vec(&newest));
    // The audit log is no part of a back-up: its lines go on behind what is in it.
    w.disk = State { alarm: Some(Alarm::Restored), next_entry: w.disk.next_entry, ..old };
    w.restart();
    (w, Newest { content, announcement: Box::new(newest) })
}

#[test]
fn it_announces_nothing_until_the_fleet_has_told_the_newest() {
    let (mut w, newest) = restored();
    w.advance(Duration::from_secs(40 * 86_400));
    assert_eq!(w.announced.len(), 2, "neither the old one again nor a renewal");
    w.give(Input::Request { ticket: 3, wish: wish(&[1], 1) });
    assert!(matches!(&w.answers[&3].1, Outcome::Refused { reason } if reason.contains("backup")));
    w.give(Input::Highest(newest));
    assert!(!w.core.is_settled(), "a neighbour may know a newer one");
    w.advance(Duration::from_secs(6));
    w.ask(4, wish(&[1], 1));
    let counters: Vec<u64> = w.announced.iter().map(|(rank, _)| rank.1).collect();
    assert!(counters.is_sorted() && counters.last() >= Some(&3), "{counters:?}");
    assert_eq!((w.row(0).unwrap().0, &w.alarms), (2, &vec![]), "the newer wish stands, and nobody is alarmed");
}

#[test]
fn where_nobody_can_tell_a_person_has_it_pass_over_all_counters_that_may_be_used() {
    let (mut w, _) = restored();
    w.give(Input::Resume { ticket: 3 });
    w.advance(Duration::from_secs(6));
    assert!(w.newest.as_ref().unwrap().counter > 1 << 32);
    assert_eq!(w.row(0), Some((1, Mode::Now)));
}

#[test]
fn a_generation_of_the_gateway_role_from_after_the_backup_has_used_counters_too() {
    let (mut w, newest) = restored();
    w.give(Input::Epoch(2));
    w.give(Input::Highest(newest));
    w.advance(Duration::from_secs(6));
    assert_eq!(w.announced.len(), 2, "what is of the old generation says nothing of the new one's counters");
    w.give(Input::Resume { ticket: 3 });
    w.advance(Duration::from_secs(6));
    let newest = w.newest.as_ref().unwrap();
    assert!(newest.epoch == 2 && newest.counter > 1 << 32, "{}.{}", newest.epoch, newest.counter);
}
