use super::*;

fn made_up(n: usize) -> KnownPeer {
    KnownPeer { device: id(n), address: format!("10.9.{}.{}:1", n >> 8 & 255, n & 255) }
}

#[test]
fn a_peer_that_tells_of_made_up_addresses_again_and_again_does_not_keep_others_from_being_found() {
    let mut one = Alone::new(start(0));
    let honest = one.join(1, false);
    one.join(2, false);
    assert_eq!(dials(&one.tell(Input::Told { from: id(1), peers: vec![known(3)] })), [address(3)]);
    one.fail(address(3));
    let mut effects = one.tell(Input::Ended { connection: honest });
    let (mut found, mut tried) = (false, 0);
    for round in 0..200 {
        let peers = (0..PEERS_MAX).map(|n| made_up(100 + round * PEERS_MAX + n)).collect();
        effects.extend(one.tell(Input::Told { from: id(2), peers }));
        effects.extend(one.pass(Duration::from_secs(1)));
        for to in dials(&std::mem::take(&mut effects)) {
            tried += 1;
            found |= to == address(3);
            effects.extend(one.fail(to));
        }
    }
    assert!(found, "not among {tried} dials");
    assert!(one.core.book.len() <= HEARD_OF_ONE_MAX + 3, "{} addresses", one.core.book.len());
}

#[test]
fn more_others_than_a_message_may_have_are_not_looked_at() {
    let mut one = Alone::new(start(0));
    one.tell(Input::Told { from: id(1), peers: (0..10_000).map(made_up).collect() });
    assert!(one.core.book.len() <= PEERS_MAX);
}

#[test]
fn a_neighbour_that_always_says_full_is_left_in_peace_for_a_minute_each_time() {
    let mut one = Alone::new(Start { configured: vec![address(1)], ..start(0) });
    let mut dialed = Vec::new();
    let mut effects = one.pass(Duration::ZERO);
    while one.now < at(600_000) {
        let mut later = Vec::new();
        for to in dials(&effects) {
            dialed.push(one.now);
            let lies = (0..PEERS_MAX).map(|n| made_up(n + dialed.len() * 50)).collect();
            let answer = if to == address(1) { Refusal::Full(lies) } else { Refusal::Failed };
            later.extend(one.tell(Input::DialFailed { address: to, why: answer }));
        }
        effects = later;
        effects.extend(one.pass(Duration::from_millis(50)));
    }
    let most = 600 * 1000 / ROUND.as_millis() as usize * DIALS_MAX;
    assert!(dialed.len() < most, "{} dials", dialed.len());
    assert!(one.core.book.len() <= HEARD_OF_ONE_MAX + 1);
}

#[test]
fn who_says_that_a_neighbour_lives_elsewhere_does_not_move_it() {
    let mut one = Alone::new(start(0));
    let real = one.join(1, true);
    one.join(2, false);
    let lie = KnownPeer { device: id(1), address: address(66).to_string() };
    one.tell(Input::Told { from: id(2), peers: vec![lie] });
    assert!(one.core.known().contains(&known(1)));
    one.tell(Input::Ended { connection: real });
    let dialed: BTreeSet<_> = dials(&one.pass(Duration::from_secs(3))).into_iter().collect();
    assert!(dialed.contains(&address(1)), "{dialed:?}");
}

#[test]
fn who_says_that_we_live_elsewhere_is_not_believed() {
    let mut one = Alone::new(start(0));
    one.tell(Input::Told { from: id(2), peers: vec![KnownPeer { device: id(0), address: address(5).to_string() }] });
    assert_eq!(one.core.book.len(), 0);
}

#[test]
fn a_thousand_bans_and_more_are_not_kept() {
    let mut one = Alone::new(start(0));
    for n in 0..BANS_MAX + 100 {
        one.tell(Input::Ban { device: id(n + 1), duration: Duration::from_secs(60 + n as u64) });
    }
    assert_eq!(one.core.banned.len(), BANS_MAX);
    let (last, effects) = one.connect(BANS_MAX + 100, false);
    assert_eq!(closes(&effects, last), Some(Close::Banned));
}
