//! Several releases, and actions that are taken back.

use super::{converges, run, site};

/// A small site with a second release 60 s after the first, when that is in force, or 14 s, when it still spreads.
fn second(at: &str, extra: &str) -> String {
    let later = format!("\n[[release]]\nannounced = \"{at}\"\nchanged = \"25 %\"\n{extra}");
    site("deployment", &later).replacen("[release]", "[[release]]", 1)
}

fn cancel(at: &str, whom: &str) -> String {
    format!("[[event]]\nat = \"{at}\"\ncancel = \"{whom}\"\n")
}

#[test]
fn a_second_release_costs_only_what_is_new_in_it() {
    let (one, two) = (converges(&site("deployment", "")), converges(&second("60 s", "")));
    let more = two.bytes[0] - one.bytes[0];
    assert!((4_400_000..5_600_000).contains(&more), "{more} bytes for five of 20 pieces");
    assert!(two.releases[0].at[2] < Some(60_000_000) && two.releases[1].at[2] > Some(60_000_000));
    assert_eq!((one.ends, two.ends), ([12, 0, 0], [24, 0, 0]));
}

#[test]
fn a_second_release_takes_the_place_of_one_that_still_spreads() {
    let outcome = converges(&second("14 s", ""));
    assert_eq!((outcome.ends, outcome.releases[0].had, outcome.releases[1].had), ([12, 0, 12], 0, 12));
    assert!(outcome.reported(), "{}", outcome.summary());
}

#[test]
fn a_release_for_some_leaves_the_others_what_they_have() {
    let outcome = converges(&second("60 s", "devices = \"hall 0-3\"\n"));
    assert_eq!((outcome.counted, outcome.releases[1].counted, outcome.ends), (12, 4, [16, 0, 0]));
}

#[test]
fn a_release_whose_app_fails_is_rolled_back_and_reported() {
    let (works, fails) = (converges(&second("60 s", "")), converges(&second("60 s", "app = \"fails\"\n")));
    assert_eq!((works.ends, fails.ends), ([24, 0, 0], [12, 12, 0]));
    assert!(fails.reported(), "{}", fails.summary());
}

#[test]
fn what_is_cancelled_before_its_switch_is_withdrawn_and_told_so() {
    let (calm, cancelled) =
        (converges(&site("deployment", "")), converges(&site("deployment", &cancel("9 s", "hall 3"))));
    assert_eq!((calm.counted, calm.ends), (12, [12, 0, 0]));
    assert_eq!((cancelled.counted, cancelled.ends), (11, [11, 0, 1]));
    assert!(cancelled.reported(), "{}", cancelled.summary());
}

#[test]
fn what_is_cancelled_too_late_stays_a_success() {
    let outcome = converges(&site("deployment", &cancel("50 s", "hall 3-4")));
    assert_eq!((outcome.ends, outcome.reported()), ([12, 0, 0], true), "{}", outcome.summary());
}

#[test]
fn a_gateway_that_was_away_hears_of_a_cancel_when_it_is_back() {
    let away = "[[event]]\nat = \"8 s\"\npower_cut = \"gateway\"\nfor = \"4 s\"\n";
    let outcome = run(&site("deployment", &format!("{away}{}", cancel("9 s", "hall 3"))), 1);
    assert_eq!((outcome.violation.clone(), outcome.reported()), (None, true), "{}", outcome.summary());
    assert_eq!(outcome.ends, [11, 0, 1]);
}

#[test]
fn a_cancel_of_a_second_release_leaves_the_first() {
    let outcome = converges(&second("60 s", &cancel("61 s", "hall 0-1")));
    assert_eq!((outcome.counted, outcome.ends), (10, [22, 0, 2]), "{}", outcome.summary());
}
