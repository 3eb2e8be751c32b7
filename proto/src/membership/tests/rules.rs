use super::*;

#[test]
fn a_peer_dials_until_it_has_the_neighbours_that_it_wants_and_no_more() {
    let mut one = Alone::new(Start { configured: (1..20).map(address).collect(), ..start(0) });
    let mut dialed = dials(&one.pass(Duration::ZERO));
    assert_eq!(dialed.len(), DIALS_MAX);
    let mut all = BTreeSet::new();
    for _ in 0..20 {
        for to in std::mem::take(&mut dialed) {
            assert!(all.insert(to), "{to} twice");
            one.join((1..20).find(|n| address(*n) == to).unwrap(), true);
        }
        dialed.extend(dials(&one.pass(ROUND / 2)));
    }
    assert_eq!(all.len(), NEIGHBOURS_WANTED);
}

#[test]
fn nobody_has_more_neighbours_than_the_limits_and_who_is_sent_away_hears_of_others() {
    let mut one = Alone::new(start(0));
    one.join_all(1..=ACCEPTED_MAX, false);
    let (late, effects) = one.connect(50, false);
    let Some(Close::Full(others)) = closes(&effects, late) else { panic!("{effects:?}") };
    assert_eq!(others.len(), ACCEPTED_MAX);
    one.join_all(61..=60 + DIALED_MAX, true);
    let (late, effects) = one.connect(51, true);
    assert!(matches!(closes(&effects, late), Some(Close::Full(_))));
}

#[test]
fn of_two_connections_made_at_once_both_sides_keep_the_one_that_the_smaller_dialed() {
    for (me, other) in [(1, 2), (2, 1)] {
        for first_is_dialed in [true, false] {
            let mut one = Alone::new(start(me));
            let first = one.join(other, first_is_dialed);
            let (second, mut effects) = one.connect(other, !first_is_dialed);
            let smaller_dialed_second = if me < other { !first_is_dialed } else { first_is_dialed };
            if smaller_dialed_second {
                assert_eq!(closes(&effects, first), Some(Close::Duplicate));
                effects = one.tell(Input::Ended { connection: first });
                assert!(joins(&effects, second));
            } else {
                assert_eq!(closes(&effects, second), Some(Close::Duplicate));
            }
        }
    }
}

#[test]
fn a_new_connection_takes_the_place_of_a_settled_one_after_that_has_ended() {
    let mut one = Alone::new(start(0));
    let old = one.join(1, true);
    one.pass(SETTLED);
    let (new, effects) = one.connect(1, false);
    assert_eq!(closes(&effects, old), Some(Close::Duplicate));
    assert!(!joins(&effects, new));
    let (newest, effects) = one.connect(1, false);
    assert_eq!(closes(&effects, new), Some(Close::Duplicate), "one waits, not two");
    assert_eq!(closes(&effects, old), None, "it is closed already");
    assert!(joins(&one.tell(Input::Ended { connection: old }), newest));
    assert_eq!(one.tell(Input::Ended { connection: old }), []);
}

#[test]
fn a_lost_neighbour_is_dialed_again_after_a_moment() {
    let mut one = Alone::new(start(0));
    let lost = one.join(1, false);
    assert_eq!(dials(&one.tell(Input::Ended { connection: lost })), []);
    assert_eq!(dials(&one.pass(POSTPONE_LOST - Duration::from_millis(1))), []);
    assert_eq!(dials(&one.pass(Duration::from_secs(1) + ROUND)), [address(1)]);
}

#[test]
fn our_own_address_is_dialed_once() {
    let mut one = Alone::new(Start { configured: vec![address(0)], ..start(0) });
    assert_eq!(dials(&one.pass(Duration::ZERO)), [address(0)]);
    // The dialed end is proven first, and its refusal ends the dial.
    let (me, effects) = one.connect(0, false);
    assert_eq!(closes(&effects, me), Some(Close::Duplicate));
    one.tell(Input::DialFailed { address: address(0), why: Refusal::Duplicate });
    assert_eq!(dials(&one.pass(Duration::from_secs(3600))), []);
}

#[test]
fn a_banned_device_is_closed_refused_and_not_dialed_until_its_ban_ends() {
    let mut one = Alone::new(start(0));
    let bad = one.join(1, true);
    let effects = one.tell(Input::Ban { device: id(1), duration: Duration::from_secs(60) });
    assert_eq!(closes(&effects, bad), Some(Close::Banned));
    one.tell(Input::Ended { connection: bad });
    let (again, effects) = one.connect(1, false);
    assert_eq!(closes(&effects, again), Some(Close::Banned));
    assert_eq!(dials(&one.pass(Duration::from_secs(59))), []);
    assert_eq!(dials(&one.pass(Duration::from_secs(301))), [address(1)], "within a shuffle");
}

#[test]
fn a_banned_device_that_was_dialed_by_address_is_not_dialed_on_and_on() {
    let mut one = Alone::new(Start { configured: vec![address(1)], ..start(0) });
    let effects = one.tell(Input::Ban { device: id(1), duration: Duration::from_secs(60) });
    assert_eq!(dials(&effects), [address(1)]);
    let (bad, effects) = one.connect(1, true);
    assert_eq!(closes(&effects, bad), Some(Close::Banned));
    assert_eq!(dials(&one.pass(Duration::from_secs(59))), []);
}

#[test]
fn discovery_runs_while_neighbours_are_few_and_always_on_beacons() {
    let turns = |effects: Vec<Effect>| -> Vec<bool> {
        effects.into_iter().filter_map(|e| if let Effect::Discover(on) = e { Some(on) } else { None }).collect()
    };
    let mut high = Alone::new(Start { discovery: true, ..start(100) });
    let mut low = Alone::new(Start { discovery: true, ..start(2) });
    for one in [&mut high, &mut low] {
        assert_eq!(turns(one.pass(Duration::ZERO)), [true]);
        one.join_all(10..=9 + DISCOVERED_ENOUGH, false);
    }
    let early = high.pass(DISCOVERY_MIN - Duration::from_millis(1));
    assert_eq!(turns(early), [], "not turned more often than that");
    assert_eq!(turns(high.pass(Duration::from_secs(1))), [false]);
    assert_eq!(turns(low.pass(DISCOVERY_MIN * 2)), [], "fewer than three lower ids: a beacon");
}

#[test]
fn without_discovery_it_is_never_asked_for() {
    let mut one = Alone::new(start(1));
    assert!(one.pass(Duration::from_secs(600)).iter().all(|e| !matches!(e, Effect::Discover(_))));
}

#[test]
fn what_is_known_is_written_down_a_few_seconds_after_it_changed_and_is_enough_to_begin_with() {
    let remembered = |effects: Vec<Effect>| {
        effects.into_iter().filter_map(|e| if let Effect::Remember(peers) = e { Some(peers) } else { None }).last()
    };
    let mut one = Alone::new(start(0));
    let (_, effects) = one.connect(1, true);
    assert_eq!(remembered(effects), Some(vec![known(1)]));
    one.join_all(2..=4, false);
    let peers = remembered(one.pass(SAVE)).unwrap();
    assert_eq!(peers, (1..5).map(known).collect::<Vec<_>>());
    assert_eq!(remembered(one.pass(SAVE * 10)), None, "nothing new");
    let mut again = Alone::new(Start { remembered: peers.clone(), ..start(0) });
    assert_eq!(again.core.known(), peers, "a restart forgets nobody");
    assert_eq!(dials(&again.pass(Duration::ZERO)).len(), DIALS_MAX);
}

#[test]
fn the_same_inputs_and_seed_give_the_same_effects() {
    let run = |seed| {
        let core = Membership::new(Start { configured: (1..30).map(address).collect(), ..start(0) }, seed, at(0));
        let mut one = Alone { core, now: at(0), serial: 0 };
        let mut effects = one.pass(Duration::from_secs(10));
        dials(&effects.clone()).into_iter().for_each(|to| effects.extend(one.fail(to)));
        effects.extend(one.pass(Duration::from_secs(100)));
        effects
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn whoever_has_neighbours_enough_still_dials_one_that_it_never_met_and_leaves_the_one_it_dialed_first() {
    let mut one = Alone::new(start(0));
    let mut dialed = Vec::new();
    for n in 1..=4 {
        dialed.push(one.join(n, true));
        one.tell(Input::Told { from: id(n), peers: (1..6).map(known).collect() });
        one.pass(Duration::from_secs(1));
    }
    one.join_all(11..=10 + NEIGHBOURS_ENOUGH - 4, false);
    let was = one.join(30, false);
    one.tell(Input::Ended { connection: was });
    one.tell(Input::Told { from: id(1), peers: vec![known(99)] });
    let effects = one.pass(SHUFFLE * 5 / 4);
    let told = effects.iter().filter(|e| matches!(e, Effect::Tell { others, .. } if !others.is_empty())).count();
    assert_eq!((dials(&effects), told), (vec![address(99)], 1));
    let (new, effects) = one.connect(99, true);
    assert!(joins(&effects, new));
    let left: Vec<_> = dialed.iter().map(|c| closes(&effects, *c)).collect();
    assert_eq!(left, [Some(Close::Spare), None, None, None]);
    one.tell(Input::Ended { connection: dialed[0] });
    assert!(one.core.known().contains(&known(1)), "it stays in the book");
}

#[test]
fn a_neighbour_that_knows_few_others_is_not_left() {
    let mut one = Alone::new(start(0));
    one.join_all(1..=4, true);
    one.join_all(11..=20, false);
    one.pass(Duration::from_secs(3600));
    let (new, effects) = one.connect(99, true);
    let closed = effects.iter().filter(|e| matches!(e, Effect::Close { .. })).count();
    assert!(joins(&effects, new) && closed == 0, "{effects:?}");
}

#[test]
fn a_beacon_with_many_neighbours_dials_each_stranger_that_it_discovers_within_a_minute() {
    let mut beacon = Alone::new(Start { discovery: true, ..start(1) });
    let mut other = Alone::new(Start { discovery: true, ..start(90) });
    for one in [&mut beacon, &mut other] {
        one.join_all(11..=20, false);
        one.tell(Input::Found { address: address(51) });
        one.pass(YOUNG);
        one.tell(Input::Found { address: address(50) });
        one.tell(Input::Found { address: address(12) });
    }
    assert_eq!(dials(&beacon.pass(STRANGER * 2)), [address(50)]);
    assert_eq!(dials(&other.pass(STRANGER * 2)), [], "no beacon");
}

#[test]
fn who_told_of_a_wrong_device_does_not_keep_a_beacon_from_a_stranger() {
    let mut beacon = Alone::new(Start { discovery: true, ..start(1) });
    beacon.join_all(11..=20, false);
    beacon.pass(YOUNG);
    let lie =
        |n| Input::Told { from: id(12), peers: vec![KnownPeer { device: id(11), address: address(n).to_string() }] };
    beacon.tell(lie(50));
    beacon.tell(Input::Found { address: address(50) });
    assert_eq!(dials(&beacon.pass(STRANGER * 2)), [address(50)]);
    beacon.tell(Input::Found { address: address(51) });
    beacon.tell(lie(51));
    beacon.tell(Input::Found { address: address(51) });
    assert_eq!(dials(&beacon.pass(STRANGER * 2)), [address(51)], "told of before it was found again");
}

#[test]
fn a_device_with_two_addresses_is_not_taken_for_a_stranger_again_and_again() {
    let mut beacon = Alone::new(Start { discovery: true, ..start(1) });
    beacon.join_all(11..=20, false);
    let old = beacon.join(30, true);
    beacon.pass(YOUNG);
    let mut count = 0;
    for _ in 0..10 {
        for second in [address(30), address(31)] {
            beacon.tell(Input::Found { address: second });
        }
        for to in dials(&beacon.pass(STRANGER * 2)) {
            count += 1;
            assert_eq!(to, address(31));
            let connection = ConnectionId(1_000 + count);
            beacon.tell(Input::Proven { connection, device: id(30), address: to, dialed: true });
            beacon.tell(Input::Ended { connection: old });
        }
    }
    assert_eq!(count, 1);
}

#[test]
fn when_the_lowest_do_not_answer_any_more_others_are_beacons() {
    let mut one = Alone::new(Start { discovery: true, ..start(90) });
    let low: Vec<ConnectionId> = (1..=3).map(|n| one.join(n, false)).collect();
    one.join_all(91..=94, false);
    let turns = |effects: Vec<Effect>| effects.iter().any(|e| matches!(e, Effect::Discover(true)));
    one.pass(DISCOVERY_MIN * 2);
    assert!(!turns(one.pass(DISCOVERY_AGAIN)), "three lower ids are there");
    for gone in low {
        one.tell(Input::Ended { connection: gone });
    }
    let mut effects = Vec::new();
    for _ in 0..100 {
        let passed = one.pass(Duration::from_secs(60));
        let dialed = dials(&passed);
        effects.extend(passed);
        dialed.into_iter().for_each(|to| effects.extend(one.fail(to)));
    }
    assert!(turns(effects), "nobody can be discovered any more");
}

#[test]
fn with_as_many_dialed_neighbours_as_may_be_one_is_left_for_the_shuffle() {
    let mut one = Alone::new(start(0));
    for n in 1..=DIALED_MAX {
        one.join(n, true);
    }
    for n in 1..=DIALED_MAX {
        one.tell(Input::Told { from: id(n), peers: (30..40).map(known).collect() });
    }
    let effects = one.pass(SHUFFLE * 3 / 2);
    assert!(effects.iter().any(|e| matches!(e, Effect::Close { why: Close::Spare, .. })), "{effects:?}");
    assert!(!dials(&effects).is_empty());
}

fn seek(peers: &[usize]) -> Input {
    Input::Seek { peers: peers.iter().map(|n| (id(*n), address(*n))).collect(), company: vec![] }
}

#[test]
fn whom_the_swarm_seeks_is_dialed_though_there_are_neighbours_enough_one_at_a_time() {
    let mut one = Alone::new(start(0));
    one.join_all(1..=NEIGHBOURS_WANTED, true);
    assert_eq!(dials(&one.tell(seek(&[0, 1, 9, 10]))), [address(9)], "neither we nor a neighbour");
    assert_eq!(dials(&one.tell(seek(&[10]))), [], "one is being dialed");
    one.join(9, true);
    assert_eq!(dials(&one.tell(seek(&[9]))), [], "it is a neighbour");
    assert_eq!(dials(&one.tell(seek(&[9, 10]))), [address(10)]);
    let why = Refusal::Full(vec![]);
    assert_eq!(dials(&one.tell(Input::DialFailed { address: address(10), why })), []);
    assert_eq!(dials(&one.tell(seek(&[10, 11]))), [address(11)], "the first is full");
}

#[test]
fn made_up_addresses_cost_few_dials_and_no_ordinary_ones() {
    let mut one = Alone::new(start(0));
    one.join_all(1..=NEIGHBOURS_WANTED, true);
    let mut sought = 0;
    for n in 0..400 {
        let dialed = dials(&one.tell(seek(&[100 + n])));
        sought += dialed.len();
        dialed.into_iter().for_each(|address| _ = one.fail(address));
        dials(&one.pass(Duration::from_millis(1500))).into_iter().for_each(|address| _ = one.fail(address));
    }
    let minutes = 400 * 1500 / 60_000;
    assert!((2 * minutes..6 * minutes).contains(&sought), "{sought} in {minutes} minutes");
    one.pass(SEEK_BACK_OFF_MAX);
    assert_eq!(dials(&one.tell(seek(&[600]))), [address(600)]);
    one.tell(Input::Ended { connection: ConnectionId(1) });
    let mut dialed = dials(&one.tell(Input::Told { from: id(2), peers: vec![known(50)] }));
    dialed.extend(dials(&one.pass(DIAL_SLOW + 2 * ROUND)));
    assert_eq!(dialed, [address(50)], "a neighbour is lacking");
}

#[test]
fn where_we_are_or_somebody_banned_nobody_is_dialed_whoever_is_said_to_be_there() {
    let mut one = Alone::new(Start { configured: vec![address(0)], ..start(0) });
    assert_eq!(dials(&one.pass(Duration::ZERO)), [address(0)]);
    one.connect(0, false);
    one.fail(address(0));
    one.join(1, false);
    one.tell(Input::Ban { device: id(1), duration: Duration::from_secs(600) });
    one.pass(Duration::from_secs(300));
    for (n, at) in [(7, address(0)), (8, address(1)), (9, SocketAddr::from(([10, 0, 0, 1], 0)))] {
        assert_eq!(dials(&one.tell(Input::Seek { peers: vec![(id(n), at)], company: vec![] })), [], "{at}");
    }
    let broadcast = SocketAddr::from(([255; 4], 4000));
    assert_eq!(dials(&one.tell(Input::Seek { peers: vec![(id(9), broadcast)], company: vec![] })), []);
}

#[test]
fn for_whom_the_swarm_seeks_an_old_neighbour_is_left_but_none_that_it_values() {
    let mut one = Alone::new(start(0));
    one.join_all(1..=DIALED_MAX, true);
    for n in 1..=DIALED_MAX {
        one.tell(Input::Told { from: id(n), peers: (1..=NEIGHBOURS_WANTED).map(known).collect() });
    }
    assert_eq!(dials(&one.tell(seek(&[9]))), [], "all are new");
    one.pass(STAYS_MIN);
    let valued = |company: &[usize]| Input::Seek {
        peers: vec![(id(9), address(9))],
        company: company.iter().map(|n| id(*n)).collect(),
    };
    let all: Vec<usize> = (1..=DIALED_MAX).collect();
    assert_eq!(dials(&one.tell(valued(&all))), [], "all are to stay");
    one.pass(SOUGHT_STAYS);
    let effects = one.tell(valued(&all[1..]));
    let left = |effect: &Effect| matches!(effect, Effect::Close { connection: ConnectionId(1), why: Close::Spare });
    assert_eq!(dials(&effects), [address(9)]);
    assert!(!effects.iter().any(left), "nobody is proven to be there yet: {effects:?}");
    let arrived = Input::Proven { connection: ConnectionId(9), device: id(9), address: address(9), dialed: true };
    let effects = one.tell(arrived);
    assert!(effects.iter().any(left), "{effects:?}");
    let joined = |effect: &Effect| matches!(effect, Effect::Join { connection: ConnectionId(9), .. });
    assert!(effects.iter().any(joined), "{effects:?}");
}
