use super::*;
use fullmetal_proto::announce::newest::{Effect, Input, Newest};
use std::collections::BTreeSet;

#[tokio::test]
async fn two_peers_meet_by_configuration_talk_and_serve_each_other() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let two = Peer::start(settings(dir.path(), vec![one.address()]), ca.member(2)).await;
    eventually("both connected", || one.has(2) && two.has(1)).await;
    assert!(two.membership.send(&id(1), Control::Hint(hint(7))));
    assert!(!two.membership.send(&id(9), Control::Hint(hint(7))));
    eventually("the message", || one.saw(|s| s.control == [(id(2), Control::Hint(hint(7)))])).await;
    for (asking, asked, n) in [(&one, &two, 2), (&two, &one, 1)] {
        let connection = asking.saw(|s| s.connections[&id(n)].clone());
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(b"frame").await.unwrap();
        send.finish().unwrap();
        assert_eq!(recv.read_to_end(64).await.unwrap(), b"frame");
        assert_eq!(asked.saw(|s| s.requests.len()), 1);
    }
}

#[tokio::test]
async fn five_peers_meet_by_dns_sd_on_loopback_and_a_hint_reaches_all_by_gossip() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let mut peers = Vec::new();
    for n in 0..5 {
        let cache = dir.path().join(n.to_string());
        std::fs::create_dir(&cache).unwrap();
        let discovering = MembershipSettings { discovery: true, ..settings(&cache, vec![]) };
        peers.push(Peer::start(discovering, ca.member(n)).await);
    }
    eventually("three neighbours each", || peers.iter().all(|p| p.membership.neighbours().len() >= 3)).await;
    // Gossip connects a moment after its neighbours; a new hint is tried until all have heard one.
    let mut counter = 0;
    eventually("gossip everywhere", || {
        counter += 1;
        peers[0].membership.publish(hint(counter));
        peers[1..].iter().for_each(|p| p.saw(|s| s.gossip.iter().for_each(|h| p.membership.publish(*h))));
        peers[1..].iter().all(|p| p.saw(|s| !s.gossip.is_empty()))
    })
    .await;
}

#[tokio::test]
async fn peers_learn_of_others_from_their_neighbours() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let hub = Peer::start(settings(dir.path(), vec![]), ca.member(0)).await;
    let mut peers = Vec::new();
    for n in 1..5 {
        peers.push(Peer::start(settings(dir.path(), vec![hub.address()]), ca.member(n)).await);
    }
    eventually("all five connected", || peers.iter().all(|p| p.membership.neighbours().len() == 4)).await;
}

#[tokio::test]
async fn a_gateway_that_everybody_names_is_not_crowded_and_sends_the_rest_to_others() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let quiet = |peers| MembershipSettings { gossip: false, ..settings(dir.path(), peers) };
    let gateway = Peer::start(quiet(vec![]), ca.member(0)).await;
    let mut peers = Vec::new();
    for n in 1..=(ACCEPTED_MAX + 6) {
        peers.push(Peer::start(quiet(vec![gateway.address()]), ca.member(n)).await);
    }
    let wanted = NEIGHBOURS_WANTED;
    eventually("everybody has neighbours", || peers.iter().all(|p| p.membership.neighbours().len() >= wanted)).await;
    assert!(gateway.membership.neighbours().len() <= ACCEPTED_MAX + DIALED_MAX);
    assert!(peers.iter().any(|p| !p.has(0)), "the fault was never met: nobody was sent away");
}

#[tokio::test]
async fn two_peers_that_dial_each_other_end_with_one_connection() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let free = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (a, b) = (free(), free());
    let at = |listen, other| MembershipSettings { listen, gossip: false, ..settings(dir.path(), vec![other]) };
    let (one, two) = tokio::join!(Peer::start(at(a, b), ca.member(1)), Peer::start(at(b, a), ca.member(2)));
    let same = || {
        let of = |p: &Peer, n| p.saw(|s| s.connections.get(&id(n)).filter(|c| c.close_reason().is_none()).cloned());
        of(&one, 2).zip(of(&two, 1)).is_some_and(|(x, y)| x.remote_address() == b && y.remote_address() == a)
    };
    eventually("one connection", || same() && one.has(2) && two.has(1)).await;
    one.membership.send(&id(2), Control::Hint(hint(1)));
    eventually("it carries messages", || two.saw(|s| !s.control.is_empty())).await;
}

#[tokio::test]
async fn a_peer_that_restarts_finds_its_neighbours_from_memory_alone() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let caches = [dir.path().join("1"), dir.path().join("2")];
    caches.iter().for_each(|c| std::fs::create_dir(c).unwrap());
    let one = Peer::start(settings(&caches[0], vec![]), ca.member(1)).await;
    let two = Peer::start(settings(&caches[1], vec![one.address()]), ca.member(2)).await;
    eventually("both connected", || one.has(2) && two.has(1)).await;
    let Peer { membership, credentials, .. } = two;
    membership.leave().await;
    eventually("its leaving is seen at once", || one.saw(|s| s.disconnected == [id(2)])).await;
    let two = Peer::start(settings(&caches[1], vec![]), credentials).await;
    eventually("connected again", || one.has(2) && two.has(1)).await;
    assert_eq!(one.saw(|s| s.connected.clone()), [id(2), id(2)]);
}

/// Starts press-5 and kills it when `one` has it.
async fn live_and_die(one: &Peer, settings: MembershipSettings, credentials: Credentials) {
    let (kill, killing) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let running = Peer::start(settings, credentials);
        let _two = runtime.block_on(async { (running.await, killing.await) });
        // Its tasks are gone between two instructions: no close frame is sent.
        runtime.shutdown_background();
    });
    eventually("connected", || one.has(5)).await;
    kill.send(()).unwrap();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_neighbour_that_was_killed_is_given_up_soon_after_something_was_sent_to_it_and_no_other_is() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let caches = [dir.path().join("1"), dir.path().join("2"), dir.path().join("5")];
    caches.iter().for_each(|c| std::fs::create_dir(c).unwrap());
    let one = Peer::start(settings(&caches[0], vec![]), ca.member(0)).await;
    let two = Peer::start(settings(&caches[1], vec![one.address()]), ca.member(2)).await;
    live_and_die(&one, settings(&caches[2], vec![one.address()]), ca.member(5)).await;
    eventually("the other is there, too", || one.has(2)).await;
    for n in [2, 5] {
        assert!(one.membership.send(&id(n), Control::Hint(hint(1))));
    }
    eventually("it is given up", || !one.has(5)).await;
    assert!(one.has(2) && two.has(0));
    assert_eq!(one.saw(|s| s.disconnected.clone()), [id(5)]);
}

#[tokio::test]
async fn a_peer_that_was_killed_takes_the_place_of_its_dead_connection() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(0)).await;
    let (credentials, address, cache) = (ca.member(5), one.address(), dir.path().to_owned());
    live_and_die(&one, settings(&cache, vec![address]), credentials.clone()).await;
    assert!(one.has(5), "the dead connection is not noticed");
    let again = Peer::start(settings(&cache, vec![address]), credentials).await;
    eventually("connected again", || again.has(0) && one.saw(|s| s.connected == [id(5), id(5)])).await;
    assert_eq!(one.saw(|s| s.disconnected.clone()), [id(5)]);
}

/// Lets the core of announcements decide over a real membership; every body is held to be true.
async fn drive(membership: Membership, mut events: mpsc::Receiver<MembershipEvent>, mut core: Newest, shown: Shown) {
    let start = Instant::now();
    let mut hints = BTreeMap::new();
    loop {
        let now = Timestamp::from_millis(start.elapsed().as_millis() as u64);
        let wakeup = core.next_wakeup().map_or(DEADLINE, |t| t.since(now));
        let input = tokio::select! {
            event = events.recv() => match event {
                Some(MembershipEvent::Connected { device, .. }) => Input::Connected { peer: device },
                Some(MembershipEvent::Disconnected { device }) => Input::Disconnected { peer: device },
                Some(MembershipEvent::Control { device, message: Control::Hint(hint) }) => Input::Hint { from: device, hint },
                Some(MembershipEvent::Gossip { device, hint }) => Input::Hint { from: device, hint },
                Some(_) => continue,
                None => return,
            },
            () = tokio::time::sleep(wakeup) => Input::Wakeup,
        };
        if let Input::Hint { hint, .. } = &input {
            hints.insert(hint.digest, *hint);
        }
        core.handle(input, now);
        while let Some(effect) = core.poll() {
            match effect {
                Effect::Pull { digest, .. } => core.handle(Input::Verified { hint: hints[&digest] }, now),
                Effect::Send { peer, hint } => drop(membership.send(&peer, Control::Hint(hint))),
                Effect::Publish(hint) => membership.publish(hint),
                Effect::Refuse(hint) => membership.refuse(hint),
                Effect::Accept(hint) => drop(shown.lock().unwrap().insert(hint)),
                Effect::Alarm { .. } => panic!("no two of a rank here"),
            }
        }
    }
}

type Shown = Arc<Mutex<BTreeSet<Hint>>>;

async fn follower(settings: MembershipSettings, credentials: Credentials, first: Option<Hint>) -> (SocketAddr, Shown) {
    let (membership, events) = start(settings, credentials).await.unwrap();
    let (shown, mut core) = (Shown::default(), Newest::new(1));
    let address = membership.local_addr();
    if let Some(hint) = first {
        core.handle(Input::Verified { hint }, Timestamp::ZERO);
        while core.poll().is_some() {}
    }
    tokio::spawn(drive(membership, events, core, shown.clone()));
    (address, shown)
}

#[tokio::test]
async fn an_announcement_reaches_who_connects_later_when_gossip_is_off() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let quiet = |peers| MembershipSettings { gossip: false, ..settings(dir.path(), peers) };
    let (first, _) = follower(quiet(vec![]), ca.member(1), Some(hint(3))).await;
    let (second, shown) = follower(quiet(vec![first]), ca.member(2), None).await;
    eventually("the second has it", || shown.lock().unwrap().contains(&hint(3))).await;
    let (_, shown) = follower(quiet(vec![second]), ca.member(3), None).await;
    eventually("the third has it", || shown.lock().unwrap().contains(&hint(3))).await;
}

#[tokio::test]
async fn an_announcement_spreads_by_gossip_through_verifying_peers() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let (first, _) = follower(settings(dir.path(), vec![]), ca.member(1), None).await;
    let mut all = Vec::new();
    for n in 2..6 {
        all.push(follower(settings(dir.path(), vec![first]), ca.member(n), None).await.1);
    }
    let gateway = Peer::start(settings(dir.path(), vec![first]), ca.member(9)).await;
    let mut counter = 0;
    eventually("everybody accepted one", || {
        // The newest counts: each publication is news.
        counter += 1;
        gateway.membership.publish(hint(counter));
        all.iter().all(|shown| !shown.lock().unwrap().is_empty())
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_the_swarm_seeks_becomes_a_neighbour() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let two = Peer::start(settings(dir.path(), vec![]), ca.member(2)).await;
    // Of two searches at once, one for each manifest, none is lost.
    for peers in [vec![(id(2), two.address())], vec![(id(1), one.address())]] {
        one.membership.seek(Wanted { peers, company: vec![] });
    }
    eventually("both connected", || one.has(2) && two.has(1)).await;
}
