//! The graph of the states, as text.

use crate::deploy::state::{Event, Illegal, State, TABLE};

fn graph() -> String {
    let mut out = String::new();
    let mut last = None;
    for (from, event, to) in TABLE {
        let head = if last == Some(*from) { String::new() } else { from.to_string() };
        out += &format!("{head:<13}{:<14}-> {to}\n", format!("{event:?}"));
        last = Some(*from);
    }
    out
}

#[test]
fn the_graph_is_this() {
    let expected = "\
off          FoundNothing  -> pruning
             FoundEnd      -> reporting
             FoundStaging  -> judging
             FoundSwitch   -> switching
             FoundWornOut  -> rolling-back
             FoundRollBack -> rolling-back
             FoundTrial    -> looking
looking      FoundArming   -> arming
             FoundCut      -> cleaning
             FoundSwitch   -> switching
             FoundWornOut  -> rolling-back
             FoundRollBack -> rolling-back
             FoundProven   -> clearing
idle         TakenUp       -> judging
             ByHand        -> checking-out
             Withdrawn     -> reporting
judging      Accepted      -> measuring
             InForce       -> reporting
             Refused       -> reporting
             Withdrawn     -> reporting
measuring    Fits          -> fetching
             Refused       -> reporting
             Withdrawn     -> reporting
fetching     Imported      -> checking-out
             Refused       -> reporting
             Withdrawn     -> reporting
checking-out CheckedOut    -> staged
             Refused       -> reporting
             Withdrawn     -> reporting
staged       Begun         -> switching
             TrialBegun    -> arming
             Withdrawn     -> reporting
arming       Armed         -> rebooting
             Broken        -> cleaning
rebooting    Withdrawn     -> cleaning
switching    Switched      -> proving
             Broken        -> rolling-back
proving      Proven        -> reporting
             TrialProven   -> clearing
             Broken        -> rolling-back
clearing     Cleared       -> reporting
             Broken        -> rolling-back
rolling-back Reverted      -> reporting
             GivenUp       -> reporting
             LeavesTrial   -> giving-up
             IsBack        -> cleaning
giving-up    GaveUp        -> rebooting
cleaning     Cleared       -> reporting
             GivenUp       -> reporting
             TakenBack     -> judging
reporting    Spooled       -> pruning
pruning      Pruned        -> idle
";
    assert_eq!(graph(), expected);
}

#[test]
fn every_move_occurs_once_and_everything_else_is_an_error() {
    for (from, event, to) in TABLE {
        assert_eq!(TABLE.iter().filter(|(f, e, _)| f == from && e == event).count(), 1);
        assert_eq!(from.on(*event), Ok(*to));
    }
    let illegal = State::Idle.on(Event::Switched);
    assert_eq!(illegal, Err(Illegal { state: State::Idle, event: Event::Switched }));
}

#[test]
fn once_the_switch_is_journalled_the_only_ends_are_proof_and_revert_or_that_revert_is_given_up() {
    let ends = TABLE.iter().filter(|(from, _, to)| from.is_after_switch() && *to == State::Reporting);
    let events: Vec<_> = ends.map(|(_, event, _)| *event).collect();
    use Event::{Cleared, GivenUp, Proven, Reverted};
    assert_eq!(events, [Proven, Cleared, Reverted, GivenUp, Cleared, GivenUp]);
}
