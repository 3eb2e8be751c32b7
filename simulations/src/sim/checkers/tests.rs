use super::*;
use crate::sim::engine::Trace;
use crate::sim::release::Releases;
use crate::sim::scenario::Scenario;
use fullmetal_proto::wire::ReportState;
use std::path::Path;

const SCENARIO: &str = r#"
name = "three"
layers = "swarm"
[network]
uplink = "20 Mbit/s"
[[group]]
name = "hall"
devices = 3
[release]
size = "4 MiB"
"#;

fn world() -> World {
    world_of(SCENARIO)
}

fn world_of(text: &str) -> World {
    let scenario = Scenario::parse(text, Path::new("three.toml")).unwrap();
    let release = Releases::new(&scenario, 1).unwrap();
    World::new(&scenario, release, 1, Trace::new(None), Checkers::default())
}

/// Shows a checker these, a second apart; what it says last.
fn shown(mut checker: impl Checker, world: &World, observations: &[Observation]) -> Result<(), String> {
    let mut result = Ok(());
    for (i, observation) in observations.iter().enumerate() {
        assert_eq!(result, Ok(()), "before {observation:?}");
        result = checker.observe(Moment::from_millis(100_000 + 1_000 * i as u64), world, observation);
    }
    result
}

fn stored(node: u32, piece: u32) -> Observation {
    Observation::Stored { node, piece, from_central: true }
}

#[test]
fn serving_a_piece_before_it_is_verified_is_noticed() {
    let world = world();
    let served = Observation::Served { server: 1, piece: 0 };
    let started = Observation::Started { node: 1 };
    assert!(shown(Verified::default(), &world, &[started.clone(), stored(1, 0), served.clone()]).is_ok());
    assert!(shown(Verified::default(), &world, &[started, stored(1, 1), served]).is_err());
}

#[test]
fn being_complete_or_in_force_without_all_pieces_is_noticed() {
    let world = world();
    let (started, completed) = (Observation::Started { node: 1 }, Observation::Completed { node: 1, release: 0 });
    let whole =
        [started.clone(), stored(1, 0), stored(1, 1), completed.clone(), Observation::InForce { node: 1, release: 0 }];
    assert!(shown(Verified::default(), &world, &whole).is_ok());
    assert!(shown(Verified::default(), &world, &[started, stored(1, 0), completed]).is_err());
    assert!(shown(Verified::default(), &world, &[Observation::InForce { node: 1, release: 0 }]).is_err());
    let liars = world_of(&SCENARIO.replace("devices = 3", "devices = 3\nlies = \"bytes\""));
    assert!(shown(Verified::default(), &liars, &[Observation::InForce { node: 1, release: 0 }]).is_ok());
}

#[test]
fn a_second_lease_on_a_piece_is_noticed_unless_something_came_between() {
    let (apart, mut world) = (world(), world());
    world.run(Moment::from_millis(60_000), |_| {});
    let asks = |node| Observation::AskedCentral { node, release: 0, pieces: vec![0, 1] };
    let moves = |node| Observation::CentralMoves { node, bytes: 64 << 10 };
    let takes = |between: &[Observation]| {
        let mut all = vec![asks(1), moves(1), moves(1), moves(1), asks(2)];
        all.splice(1..1, between.iter().cloned());
        all
    };
    assert!(shown(Leases::default(), &world, &takes(&[])).is_err());
    assert!(shown(Leases::default(), &apart, &takes(&[])).is_ok(), "nothing joins them");
    let mut liars = world_of(&SCENARIO.replace("devices = 3", "devices = 3\nlies = \"nothing\""));
    liars.run(Moment::from_millis(60_000), |_| {});
    assert!(shown(Leases::default(), &liars, &takes(&[])).is_ok(), "who lies is not believed");
    let silent = [asks(1), moves(1), Observation::Second, Observation::Second, Observation::Second, asks(2)];
    assert!(shown(Leases::default(), &world, &silent).is_ok(), "nothing moves: the lease runs out");
    let second = || Observation::Second;
    let revived = |news: usize| {
        let begins = [vec![asks(1), moves(1)], vec![second(); 3], vec![moves(1); 1 + news], vec![asks(2)]];
        shown(Leases::default(), &world, &begins.concat())
    };
    assert!(revived(0).is_ok(), "that it lives again is news");
    assert!(revived(3).is_err(), "all had time to hear of it");
    assert!(shown(Leases::default(), &world, &takes(&[Observation::Gone { node: 3 }])).is_ok());
    assert!(shown(Leases::default(), &world, &takes(&[stored(1, 0), stored(1, 1)])).is_ok());
    let left = Observation::LeftToCentral { node: 1, release: 0, pieces: vec![1] };
    assert!(shown(Leases::default(), &world, &takes(&[stored(1, 0), left])).is_ok());
}

#[test]
fn two_may_begin_at_once_but_not_three_and_not_both_go_on() {
    let mut world = world();
    world.run(Moment::from_millis(60_000), |_| {});
    let asks = |node| Observation::AskedCentral { node, release: 0, pieces: vec![0] };
    let moves = |node| Observation::CentralMoves { node, bytes: 64 << 10 };
    let begins = |more: &[Observation]| [&[moves(1), moves(2), asks(1), asks(2)], more].concat();
    let shown = |more: &[Observation]| {
        let mut checker = Leases::default();
        let mut result = Ok(());
        for (i, observation) in begins(more).iter().enumerate() {
            result = checker.observe(Moment::from_millis(100_000 + 300 * i as u64), &world, observation);
        }
        result
    };
    assert!(shown(&[]).is_ok());
    assert!(shown(&[moves(1), moves(2), asks(3)]).is_err(), "a third");
    let both: Vec<Observation> = (0..12).map(|i| moves(1 + i % 2)).chain([Observation::Second]).collect();
    assert!(shown(&both).is_err(), "both go on");
    let slow: Vec<Observation> =
        (0..30).map(|i| if i % 10 < 2 { moves(1 + i % 2) } else { Observation::Second }).collect();
    assert!(shown(&slow).is_err(), "both go on, a byte each three seconds");
    let again = |steps: u32| {
        let stalled = (0..12).map(|_| Observation::Second).chain((0..steps).map(|i| moves(1 + i % 2)));
        stalled.chain([Observation::Second]).collect::<Vec<_>>()
    };
    assert!(shown(&again(4)).is_ok(), "a stall has just ended for both");
    assert!(shown(&again(12)).is_err(), "both go on after a stall");
    let left = Observation::LeftToCentral { node: 2, release: 0, pieces: vec![0] };
    assert!(shown(&[&[left], both.as_slice()].concat()).is_ok(), "one gave way");
}

#[test]
fn a_counter_that_goes_back_is_noticed() {
    let world = world();
    let accepted = |counter| Observation::Accepted { node: 1, rank: (1, counter) };
    assert!(shown(Counters::default(), &world, &[accepted(1), accepted(2), accepted(2)]).is_ok());
    assert!(shown(Counters::default(), &world, &[accepted(2), accepted(1)]).is_err());
    let counted = |counter| Observation::Counted { rank: (1, counter) };
    assert!(shown(Counters::default(), &world, &[counted(2), counted(1)]).is_err());
    let report = |counter, state| Observation::Reported { node: 1, counter, action: 1, state };
    let (fetching, staged) = (ReportState::Fetching, ReportState::Staged);
    let again = [report(4, fetching), report(5, staged), report(4, fetching)];
    assert!(shown(Counters::default(), &world, &again).is_ok());
    assert!(shown(Counters::default(), &world, &[report(5, fetching), report(4, staged)]).is_err());
    assert!(shown(Counters::default(), &world, &[report(5, fetching), report(5, staged)]).is_err());
}

#[test]
fn a_second_end_of_an_action_is_noticed() {
    let world = world();
    let device = world.node(1).id.clone();
    let end = |counter| Observation::Delivered { device: device.clone(), action: 1, counter, first: 7 };
    assert!(shown(Once, &world, &[end(7), end(7)]).is_ok());
    assert!(shown(Once, &world, &[end(7), end(8)]).is_err());
}

#[test]
fn a_broken_contract_and_a_second_gateway_are_noticed() {
    let world = world();
    let broken = Observation::Contract { node: 1, what: "started twice".to_owned() };
    assert!(shown(Contract, &world, &[broken]).is_err());
    assert!(shown(Contract, &world, &[Observation::Alarm { node: 1 }]).is_err());
    assert!(shown(Contract, &world, &[Observation::Second]).is_ok());
}

#[test]
fn the_first_rule_that_breaks_is_told() {
    let world = world();
    let mut checkers = Checkers::all();
    let at = Moment::from_millis(5);
    checkers.observe(at, &world, &Observation::InForce { node: 1, release: 0 });
    checkers.observe(Moment::from_millis(6), &world, &Observation::Alarm { node: 1 });
    let violation = checkers.violation().unwrap();
    assert_eq!((violation.checker, violation.at), ("verified", at));
}

#[test]
fn telling_neighbours_of_a_piece_that_was_not_verified_is_noticed() {
    let mut world = world();
    world.run(Moment::from_millis(60_000), |_| {});
    let whole = [Observation::Started { node: 1 }, Observation::Second];
    assert!(shown(Verified::default(), &world, &whole).is_ok());
    let empty = world_of(SCENARIO);
    let mut checker = Verified::default();
    assert!(checker.observe(Moment::START, &empty, &Observation::Started { node: 1 }).is_ok());
    assert!(checker.observe(Moment::START, &world, &Observation::Second).is_err());
}

#[test]
fn a_piece_that_nobody_gets_from_central_is_noticed() {
    let stalled = format!("{SCENARIO}[[event]]\nat = \"0 s\"\nuplink = \"1 bit/s\"\n");
    let mut world = world_of(&stalled);
    world.run(Moment::from_millis(60_000), |_| {});
    let second = |minutes: u64, before: &[Observation], world: &World| {
        let mut checker = Waits::default();
        before.iter().for_each(|o| checker.observe(Moment::from_millis(60_000), world, o).unwrap());
        checker.observe(Moment::from_millis(minutes * 60_000), world, &Observation::Second)
    };
    assert!(second(2, &[], &world).is_err());
    assert!(second(2, &[Observation::CentralChanged], &world).is_ok(), "pauses are not over");
    assert!(second(1, &[Observation::Gone { node: 3 }], &world).is_ok());
    assert!(second(2, &[stored(1, 0), stored(1, 1)], &world).is_ok(), "all is there");
}

#[test]
fn asking_central_for_what_a_neighbour_has_is_noticed() {
    let mut world = world();
    world.run(Moment::from_millis(60_000), |_| {});
    let started = Observation::Started { node: 1 };
    let asks = Observation::AskedCentral { node: 2, release: 0, pieces: vec![0] };
    let after = |seconds: u64, before: &[Observation], world: &World| {
        let mut checker = Near::default();
        before.iter().for_each(|o| checker.observe(Moment::from_millis(100_000), world, o).unwrap());
        checker.observe(Moment::from_millis(100_000 + seconds * 1_000), world, &asks)
    };
    assert!(after(3, std::slice::from_ref(&started), &world).is_err());
    assert!(after(1, std::slice::from_ref(&started), &world).is_ok(), "it may not have heard of it");
    assert!(after(3, &[started.clone(), Observation::NeighbourFailed { node: 2 }], &world).is_ok());
    assert!(after(3, &[started.clone(), Observation::Disturbed], &world).is_ok());
    assert!(after(3, &[started], &world_of(SCENARIO)).is_ok(), "they are no neighbours");
}
