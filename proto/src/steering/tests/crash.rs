//! The gateway dies at every effect of a deployment: the server takes exactly one final word.

use super::*;
use crate::wire::ReportState as S;

/// One whole deployment; gives how many effects it had.
fn deployment(cut: Option<usize>, end: S) -> usize {
    let mut world = World::new(Confirm::Ask);
    world.cut = cut;
    world.hear(1);
    world.assign(8, 0, 1, Mode::Now);
    world.run(POLL * 2);
    assert_eq!(world.rows.get(&device(0)).map(|r| r.0), Some(8), "cut {cut:?}");
    for state in [S::Accepted, S::Fetching, S::Staged, S::Switching, S::Proving, end] {
        world.report(0, 8, 1, state);
        // A device sends a report again until it has the receipt for it.
        let again = *world.counters.get(&device(0)).unwrap() - 1;
        world.counters.insert(device(0), again);
        world.report(0, 8, 1, state);
    }
    world.run(POLL * 5);
    let expected = if end == S::Succeeded { Stage::Succeeded } else { Stage::Failed };
    assert_eq!(world.ends(8), [expected], "cut {cut:?}");
    assert_eq!(world.core.spooled_count(), 0, "cut {cut:?}");
    assert_eq!(world.rows[&device(0)].0, 8, "cut {cut:?}");
    world.effects
}

#[test]
fn a_gateway_that_dies_at_any_effect_neither_loses_nor_repeats_the_final_word() {
    for end in [S::Succeeded, S::Failed] {
        let effects = deployment(None, end);
        assert!(effects > 40, "{effects}");
        for cut in 1..=effects {
            deployment(Some(cut), end);
        }
    }
}

/// A cancel before the switch; gives how many effects it had.
fn cancelled(cut: Option<usize>) -> usize {
    let mut world = World::new(Confirm::Ask);
    world.cut = cut;
    world.hear(1);
    world.assign(8, 0, 1, Mode::Now);
    world.run(POLL * 2);
    world.report(0, 8, 1, S::Fetching);
    world.job(8).cancelling = true;
    world.run(POLL * 3);
    assert_eq!(world.rows[&device(0)].1, Mode::Withdraw, "cut {cut:?}");
    for _ in 0..2 {
        let counter = world.counters.get(&device(0)).copied().unwrap();
        world.report(0, 8, 1, S::Withdrawn);
        world.counters.insert(device(0), counter);
    }
    world.run(POLL * 5);
    let accepted = world.jobs[&8].words.iter().filter(|m| matches!(m, Message::CancelAccepted { .. })).count();
    assert_eq!((accepted, world.ends(8)), (1, vec![]), "cut {cut:?}");
    assert_eq!(world.core.spooled_count(), 0, "cut {cut:?}");
    world.effects
}

#[test]
fn a_gateway_that_dies_at_any_effect_answers_a_cancel_once() {
    for cut in 1..=cancelled(None) {
        cancelled(Some(cut));
    }
}
