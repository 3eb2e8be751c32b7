//! Whole runs: the same seed gives the same, faults bite, expectations decide.

#![allow(clippy::unwrap_used, reason = "a test")]

use fullmetal_sim::sim::command::outcome;
use fullmetal_sim::sim::outcome::Outcome;
use fullmetal_sim::sim::scenario::Scenario;
use std::path::{Path, PathBuf};

#[path = "simulator/felt.rs"]
mod felt;
#[path = "simulator/releases.rs"]
mod releases;
#[path = "simulator/seeds.rs"]
mod seeds;

/// A small site; `extra` is added to its file.
fn site(layers: &str, extra: &str) -> String {
    format!("layers = \"{layers}\"\n{}{extra}\n", include_str!("small.toml"))
}

fn run(text: &str, seed: u64) -> Outcome {
    let file = Path::new("test.toml");
    let scenario = Scenario::parse(text, file).unwrap();
    outcome(&scenario, seed, None, file, |_| {}).unwrap()
}

#[track_caller]
fn converges(text: &str) -> Outcome {
    let outcome = run(text, 1);
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.converged, outcome.counted, "{}", outcome.summary());
    outcome
}

#[test]
fn a_seed_gives_the_same_run_again_and_another_seed_another() {
    let text = site("deployment", "[[event]]\nat = \"10 s\"\npower_cut = \"20 % of hall\"\nfor = \"5 s\"\n");
    let (first, second, other) = (run(&text, 7), run(&text, 7), run(&text, 8));
    assert_eq!(first.hash, second.hash);
    assert_eq!(first.json(), second.json());
    assert_ne!(first.hash, other.hash);
}

/// Names one run for all machines. It changes with every change of a core or of the simulator; one that was not meant
/// to change what happens must leave it as it is.
#[test]
fn a_run_has_the_same_hash_on_every_machine() {
    let outcome = converges(&site("swarm", ""));
    assert_eq!(outcome.hash.unwrap().to_string(), "2b1575fe0c7fd114");
}

#[test]
fn a_fleet_costs_the_uplink_about_one_copy() {
    let outcome = converges(&site("deployment", ""));
    assert!((990..1_050).contains(&outcome.copies), "{} thousandths", outcome.copies);
    assert!(outcome.reported(), "not all ends are at the gateway");
}

#[test]
fn a_fleet_converges_although_gossip_drops_everything() {
    let text = site("announcement", "").replace("[network]", "[network]\ngossip_loss = \"100 %\"");
    let (without, with) = (converges(&text), converges(&site("announcement", "")));
    assert_ne!(without.hash, with.hash, "gossip was not lost");
}

#[test]
fn the_more_packets_are_lost_the_later_all_have_everything() {
    let far = |loss: &str| {
        let network = format!("[network]\nlatency = \"50 ms\"\nloss = \"{loss}\"");
        let outcome = converges(&site("deployment", "").replace("[network]", &network));
        assert!(outcome.reported(), "not all ends are at the gateway at a loss of {loss}");
        outcome.times[2].unwrap()
    };
    let times = ["0 %", "0.1 %", "1 %", "10 %"].map(far);
    assert!(times.is_sorted() && times[2] > 2 * times[0], "{times:?} microseconds");
}

#[test]
fn radio_cells_share_their_air_and_weak_links_their_rate() {
    let calm = converges(&site("swarm", ""));
    let radio = site("swarm", "").replace("devices = 12", "devices = 12\nwifi = \"40 Mbit/s\"");
    let radio = converges(&radio);
    assert!(radio.bytes[3] > 0 && radio.times[2] > calm.times[2], "{}", radio.summary());
    let south = "[[group]]\nname = \"south\"\nhall = \"south\"\ndevices = 2\n[[trunk]]\nbetween = [\"site\", \"south\"]\nrate = \"10 Mbit/s\"\n";
    let halls = converges(&site("swarm", south));
    assert!(halls.bytes[1] >= 20_000_000 && halls.times[2] > calm.times[2], "{}", halls.summary());
}

#[test]
fn what_is_as_large_as_can_be_runs_to_its_end() {
    let whole = "size = \"1000 GB\"\nframe = \"4 GB\"\nmanifest = \"1 GB\"\none_copy = \"1000 GB\"";
    let text = site("deployment", "").replace("size = \"20 MB\"\nframe = \"1 MiB\"", whole);
    let text = text.replace("20 Mbit/s", "1000 Gbit/s").replace("devices = 12", "devices = 12\ndisk = \"1000 Gbit/s\"");
    let text = text.replace("[network]", "[network]\nport = \"1000 Gbit/s\"\noverhead = \"100 %\"");
    let outcome = converges(&text);
    assert!(outcome.bytes[0] >= 2_000_000_000_000, "{}", outcome.summary());
}

#[test]
fn plain_objects_cost_a_request_each() {
    let text = site("swarm", "")
        .replace("size = \"20 MB\"\nframe = \"1 MiB\"", "kind = \"plain\"\nsize = \"20 MB\"\nobjects = 500");
    let outcome = converges(&text);
    assert_eq!(outcome.requests[0], 500);
    assert!((990..1_050).contains(&outcome.copies), "{} thousandths", outcome.copies);
}

#[test]
fn a_crashed_fetcher_is_followed_by_another_and_comes_back() {
    let event = "[[event]]\nat = \"30 %\"\ncrash = \"fetcher\"\nfor = \"30 s\"\n";
    let (calm, crashed) = (converges(&site("swarm", "")), converges(&site("swarm", event)));
    assert!(crashed.times[2] > calm.times[2], "the crash costs nothing: {:?}", crashed.times);
    assert!(crashed.copies < 1_300, "{} thousandths", crashed.copies);
}

#[test]
fn what_a_power_cut_takes_is_fetched_again() {
    let event = "[[event]]\nat = \"9 s\"\npower_cut = \"hall\"\nfor = \"2 s\"\n";
    let (calm, cut) = (converges(&site("swarm", "")), converges(&site("swarm", event)));
    assert!(cut.times[2] > calm.times[2] && cut.bytes[0] > calm.bytes[0], "nothing was lost");
}

#[test]
fn devices_that_come_to_have_everything_twice_do_not_end_the_run_for_others() {
    let late = "[[group]]\nname = \"late\"\ndevices = 4\non = \"at 60 s\"\n";
    let site = site("swarm", late);
    let done_ms = run(&site.replace("at 60 s", "at 0 s"), 1).times[0].unwrap() / 1_000;
    let cut = |ms| format!("[[event]]\nat = \"{ms} ms\"\npower_cut = \"hall\"\nfor = \"2 s\"\n");
    for ms in [done_ms, done_ms + 300, done_ms + 600] {
        assert_eq!(converges(&format!("{site}{}", cut(ms))).converged, 16);
    }
}

#[test]
fn an_announcement_waits_for_a_gateway_that_is_away() {
    let event = "[[event]]\nat = \"5 s\"\ncrash = \"gateway\"\nfor = \"5 s\"\n";
    let outcome = converges(&site("announcement", event));
    assert!(outcome.counted == 12 && outcome.times[0] > Some(10_000_000), "{}", outcome.summary());
}

#[test]
fn a_part_that_is_cut_off_waits_and_goes_on_when_the_network_is_whole() {
    let event = "[[event]]\nat = \"8 s\"\npartition = \"hall 0-3\"\nfor = \"40 s\"\n";
    let outcome = converges(&site("swarm", event));
    assert!(outcome.times[2] > Some(48_000_000), "the cut was not felt: {:?}", outcome.times);
}

#[test]
fn parts_that_never_met_before_find_each_other() {
    let event = "[[event]]\nat = \"0 s\"\npartition = \"hall 0-5\"\nfor = \"5 s\"\n";
    let outcome = converges(&site("announcement", event));
    assert_eq!(outcome.counted, 12);
}

#[test]
fn halves_that_grew_up_apart_become_one() {
    let outcome = run(include_str!("../scenarios/halves-grown-apart.toml"), 2);
    assert!(outcome.is_good() && outcome.times[0] > Some(3_700_000_000), "{}", outcome.summary());
}

#[test]
fn liars_are_banned_and_nobody_keeps_what_they_send() {
    let liars = "[[group]]\nname = \"liar\"\ndevices = 2\nlies = \"bytes\"\n";
    let outcome = converges(&site("swarm", liars));
    assert!(outcome.bans > 0 && outcome.wasted > 0, "nobody was lied to");
    assert_eq!(outcome.counted, 12);
}

#[test]
fn a_slow_port_a_narrow_uplink_and_a_stalled_central_take_their_time() {
    let calm = converges(&site("swarm", "")).times[2];
    for event in
        ["slow = \"hall 3\"\nport = \"1 Mbit/s\"", "uplink = \"5 Mbit/s\"", "origin = \"stalled\"\nfor = \"20 s\""]
    {
        let outcome = converges(&site("swarm", &format!("[[event]]\nat = \"4 s\"\n{event}\n")));
        assert!(outcome.times[2] > calm, "{event} was not felt: {:?}", outcome.times);
    }
}

#[test]
fn a_failing_central_is_asked_again_until_it_answers() {
    let outcome = converges(&site("swarm", "[[event]]\nat = \"0 s\"\norigin = \"failing\"\nfor = \"30 s\"\n"));
    assert!(outcome.times[0] > Some(30_000_000), "{:?}", outcome.times);
}

#[test]
fn reports_wait_for_a_gateway_that_is_away() {
    let event = "[[event]]\nat = \"30 %\"\npower_cut = \"gateway\"\nfor = \"90 s\"\n";
    let outcome = converges(&site("deployment", event));
    assert!(outcome.reported() && outcome.ended_at.0 > 90_000_000, "{}", outcome.summary());
}

#[test]
fn devices_with_wrong_clocks_deploy() {
    let text = site("deployment", "").replace("on = \"over 3 s\"", "on = \"over 3 s\"\nclock_behind = \"20 h\"");
    assert!(converges(&text).reported());
}

#[test]
fn late_joiners_take_nothing_from_central() {
    let late = "[[group]]\nname = \"late\"\ndevices = 4\non = \"at 60 s\"\n";
    let outcome = converges(&site("swarm", late));
    assert_eq!(outcome.counted, 16);
    assert!(outcome.copies < 1_050 && outcome.times[2] > Some(60_000_000), "{}", outcome.summary());
}

#[test]
fn an_expectation_that_does_not_hold_makes_the_outcome_bad() {
    let good = run(&site("swarm", "[expect]\ncopies = \"<= 1.05\"\neveryone_converged = true\n"), 1);
    let bad = run(&site("swarm", "[expect]\ncopies = \"<= 0.5\"\n"), 1);
    assert!(good.is_good() && !bad.is_good());
    for (key, good_limit, bad_limit) in [("ports", ">= 200 MB", "<= 200 MB"), ("trunks", "= 0 MB", ">= 1 MB")] {
        let judged = |limit| run(&site("swarm", &format!("[expect]\n{key} = \"{limit}\"\n")), 1).is_good();
        assert!(judged(good_limit) && !judged(bad_limit), "{key}");
    }
    assert!(bad.summary().contains("copies <= 0.5: 0.99") || bad.summary().contains("copies <= 0.5: 1.0"));
}

#[test]
fn what_simulation_found_and_was_mended_stays_so() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mended");
    let mut count = 0;
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let scenario = Scenario::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let outcome = outcome(&scenario, scenario.seed.unwrap_or(1), None, &path, |_| {}).unwrap();
        assert!(outcome.is_good(), "{}: {}", path.display(), outcome.summary());
        count += 1;
    }
    assert!(count >= 1);
}

/// The two that take minutes are measured by `make bench`.
#[test]
fn all_shipped_scenarios_end_as_they_expect() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let quick = |path: &PathBuf| !["ten-thousand.toml", "thousand-plain.toml"].iter().any(|name| path.ends_with(name));
    let paths = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<PathBuf> = paths.filter(|path| path.is_file() && quick(path)).collect();
    assert!(paths.len() >= 10, "{paths:?}");
    for path in paths {
        let scenario = Scenario::read(&path).unwrap();
        let outcome = outcome(&scenario, 2, None, &path, |_| {}).unwrap();
        assert!(outcome.is_good(), "{}: {}", path.display(), outcome.summary());
    }
}

#[test]
fn all_shipped_scenarios_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    let folders = ["found", "lab"].map(|name| std::fs::read_dir(dir.join(name)).unwrap());
    let entries = std::fs::read_dir(&dir).unwrap().chain(folders.into_iter().flatten());
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        Scenario::read(&path).unwrap_or_else(|error| panic!("{error}"));
        count += 1;
    }
    assert!(count >= 7, "{count}");
}

#[test]
fn events_that_did_not_happen_or_were_not_over_are_named_by_their_lines() {
    let events =
        "[[event]]\nat = \"100 %\"\nstop = \"hall 1\"\n[[event]]\nat = \"20 %\"\nstop = \"hall 0\"\nfor = \"14 s\"\n";
    let outcome = run(&site("swarm", events).replace("= 900", "= 15"), 1);
    let lines = (outcome.json()["events_not_begun"].clone(), outcome.json()["events_not_over"].clone());
    assert_eq!(lines, (serde_json::json!([14]), serde_json::json!([17])), "{}", outcome.summary());
    for text in ["did not happen: event at line 14", "was not over: event at line 17"] {
        assert!(outcome.summary().contains(text), "{}", outcome.summary());
    }
    let calm = converges(&site("swarm", &events.replace("100 %", "30 %")));
    assert!(calm.not_begun.is_empty() && calm.not_over.is_empty(), "{}", calm.summary());
}

#[test]
fn a_figure_equals_what_it_is_shown_as() {
    let calm = run(&site("swarm", ""), 1);
    let us = calm.times[2].unwrap();
    assert_ne!(us % 1_000, 0, "nothing is rounded");
    let shown = format!("{}.{:03} s", us / 1_000_000, us / 1_000 % 1_000);
    for (time, holds) in [(shown.as_str(), true), ("1.5 s", false)] {
        let expect = format!("[expect]\ntime_100 = \"= {time}\"\n");
        assert_eq!(run(&site("swarm", &expect), 1).is_good(), holds, "{time}");
    }
}

/// The bytes of a piece come more slowly than others wait for them, which no core can help.
#[test]
fn links_and_disks_that_are_slow_by_themselves_break_no_rule() {
    let south = "[[group]]\nname = \"south\"\nhall = \"south\"\ndevices = 6\n[[trunk]]\nbetween = [\"site\", \"south\"]\nrate = \"50 kbit/s\"\n";
    let text = |seconds: u32| include_str!("small.toml").replace("= 900", &format!("= {seconds}"));
    for (seconds, key) in [(60, "port = \"50 kbit/s\""), (400, "disk = \"500 kbit/s\"")] {
        let text = text(seconds).replace("devices = 12", &format!("devices = 12\n{key}"));
        assert_eq!(run(&text, 1).violation, None, "{key}");
    }
    assert_eq!(run(&format!("{}{south}", text(1_900)), 2).violation, None, "trunk");
}
