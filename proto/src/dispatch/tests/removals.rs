//! Apps that leave devices: with which bundle, and for whom there is none.

use super::*;
use crate::wire::{Document as _, Envelope, open};

fn removal(devices: &[usize], parts: bool, apps: &[&str]) -> Wish {
    let wish = wish(devices, 1);
    let parts = if parts { wish.parts } else { vec![] };
    Wish { parts, removed: apps.iter().map(|app| app.parse().unwrap()).collect(), ..wish }
}

/// What a device said of itself last.
fn says(w: &mut World, i: usize, counter: u64, agent: &str, bundle_major: u16) {
    let inventory = report(i, counter, 0, 1, ReportState::Inventory);
    w.send(Report { agent: agent.into(), bundle_major, ..inventory });
}

fn refusal(w: &World, ticket: u64) -> &str {
    match &w.answers[&ticket].1 {
        Outcome::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_removed_is_in_the_bundle_and_in_its_format_also_when_nothing_is_brought() {
    for parts in [true, false] {
        let mut w = World::settled();
        says(&mut w, 0, 1, "0.2.0", 2);
        let wish = removal(&[0, 1], parts, &["old"]);
        let action = w.ask(1, wish.clone());
        assert!(matches!(w.answers[&1].1, Outcome::Announced { .. }), "{:?}", w.answers[&1]);
        let bytes = &w.newest.as_ref().unwrap().bundles[0];
        let bundle = open::<Bundle>(bytes).unwrap().document;
        assert_eq!((bundle.removed, bundle.parts.len()), (wish.removed, usize::from(parts)));
        assert_eq!(Envelope::decode(bytes, Bundle::LEN_MAX).unwrap().major, 2);
        w.restart();
        assert_eq!(w.core.state().actions[&action].removed.len(), 1);
    }
    let mut w = World::settled();
    w.ask(1, wish(&[0], 1));
    let bytes = &w.newest.as_ref().unwrap().bundles[0];
    assert_eq!(Envelope::decode(bytes, Bundle::LEN_MAX).unwrap().major, 1, "what brings only is for all devices");
}

#[test]
fn a_removal_is_refused_for_devices_that_said_that_they_cannot() {
    let mut w = World::settled();
    for i in 0..7 {
        says(&mut w, i, 1, "0.1.0", 0);
    }
    w.ask(1, removal(&[0, 1, 2, 3, 4, 5, 6, 7], true, &["old"]));
    let told = refusal(&w, 1);
    let expected = format!("too old to remove apps: {} (agent 0.1.0), ", device(0));
    assert!(told.starts_with(&expected) && told.contains(" and 2 more; update Fullmetal there first"), "{told}");
    assert!(w.newest.is_none(), "nothing is announced");
    w.ask(2, wish(&[0], 1));
    assert!(matches!(w.answers[&2].1, Outcome::Announced { .. }), "it takes everything else");
    says(&mut w, 0, 2, "0.2.0", 2);
    w.ask(3, removal(&[0], true, &["old"]));
    assert!(matches!(w.answers[&3].1, Outcome::Announced { .. }), "{:?}", w.answers[&3]);
}

#[test]
fn an_app_cannot_come_and_go_at_once() {
    let mut w = World::settled();
    let name = bundle(&[part_wish(1)]).parts[0].name.clone();
    w.ask(1, Wish { removed: vec![name], ..wish(&[0], 1) });
    assert!(refusal(&w, 1).contains("twice, or among the parts too"), "{}", refusal(&w, 1));
}

#[test]
fn a_number_that_comes_again_with_another_removal_is_another_wish() {
    let mut w = World::settled();
    let own = Wish { action: Some(40), ..removal(&[0], false, &["old"]) };
    w.ask(1, own.clone());
    w.ask(2, own.clone());
    assert!(matches!(w.answers[&2].1, Outcome::Announced { .. }));
    w.ask(3, Wish { removed: vec!["other".parse().unwrap()], ..own.clone() });
    assert!(refusal(&w, 3).contains("exists with other parts"));
    // A gateway that took the action over knows its bundle only.
    let mut other = took_over(&w);
    other.ask(4, own.clone());
    assert!(!matches!(other.answers[&4].1, Outcome::Refused { .. }), "{:?}", other.answers[&4]);
    other.ask(5, Wish { removed: vec!["other".parse().unwrap()], ..own });
    assert!(matches!(other.answers[&5].1, Outcome::Refused { .. }));
}

/// Another gateway, which knows what the first one announced.
fn took_over(w: &World) -> World {
    let newest = w.newest.clone().unwrap();
    let mut other = World::new();
    other.give(Input::Connected);
    let content = Digest::of(&crate::wire::cbor::to_vec(&newest));
    other.give(Input::Highest(Newest { content, announcement: Box::new(newest) }));
    other.advance(Duration::from_secs(10));
    other
}

#[test]
fn what_only_removes_gets_no_bundle_that_was_taken_over_and_brings_something() {
    let mut w = World::settled();
    w.ask(1, Wish { action: Some(40), ..removal(&[0], true, &["old"]) });
    let mut other = took_over(&w);
    other.ask(2, Wish { action: Some(41), ..removal(&[1], false, &["old"]) });
    let newest = other.newest.as_ref().unwrap();
    let row = newest.rows.iter().find(|row| row.0 == device(1)).unwrap();
    assert_eq!(open::<Bundle>(&newest.bundles[usize::from(row.1)]).unwrap().document.parts, []);
}
