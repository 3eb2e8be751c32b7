use super::candidates::{HINTS_PER_PEER_MAX, PULL_MS_MAX, PULLS_MAX, REFUSED_MAX, TRIES_MAX};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn id(n: usize) -> DeviceId {
    format!("d{n}").parse().unwrap()
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn hint(epoch: u64, counter: u64, body: &str) -> Hint {
    let digest = Digest::of(body.as_bytes());
    Hint { epoch, counter, digest, length: body.len() as u32 }
}

#[test]
fn a_check_tells_each_neighbour_ours_but_not_twice_in_a_moment() {
    let mut core = Newest::new(1);
    let mut told = |input, now| {
        core.handle(input, now);
        let sends = std::iter::from_fn(|| core.poll()).filter_map(|effect| match effect {
            Effect::Send { peer, .. } => Some(peer),
            _ => None,
        });
        sends.collect::<BTreeSet<_>>()
    };
    let all = BTreeSet::from([id(0), id(1), id(2)]);
    for peer in &all {
        told(Input::Connected { peer: peer.clone() }, at(1));
    }
    assert!(told(Input::CheckNow, at(1)).is_empty(), "there is nothing to tell");
    told(Input::Verified { hint: hint(1, 1, "a") }, at(1));
    assert_eq!(told(Input::CheckNow, at(7)), all);
    assert!(told(Input::CheckNow, at(8)).is_empty());
    assert_eq!(told(Input::CheckNow, at(13)), all);
}

/// Several cores, links between them, and the bodies that each holds. Gossip is dropped altogether.
struct Fleet {
    nodes: Vec<Newest>,
    links: BTreeSet<(usize, usize)>,
    held: Vec<BTreeSet<Digest>>,
    /// Bodies that verify, by digest.
    valid: BTreeMap<Digest, Hint>,
    accepted: Vec<Vec<Hint>>,
    alarms: usize,
    dropped: usize,
    now: Timestamp,
}

impl Fleet {
    fn of(n: usize) -> Self {
        Fleet {
            nodes: (0..n).map(|i| Newest::new(i as u64)).collect(),
            links: BTreeSet::new(),
            held: vec![BTreeSet::new(); n],
            valid: BTreeMap::new(),
            accepted: vec![Vec::new(); n],
            alarms: 0,
            dropped: 0,
            now: at(1),
        }
    }

    fn link(&mut self, a: usize, b: usize) {
        if a != b && self.links.insert((a.min(b), a.max(b))) {
            self.input(a, Input::Connected { peer: id(b) });
            self.input(b, Input::Connected { peer: id(a) });
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.input(a, Input::Disconnected { peer: id(b) });
            self.input(b, Input::Disconnected { peer: id(a) });
        }
    }

    fn announce(&mut self, node: usize, hint: Hint) {
        self.valid.insert(hint.digest, hint);
        self.held[node].insert(hint.digest);
        self.input(node, Input::Verified { hint });
    }

    fn input(&mut self, node: usize, input: Input) {
        let mut queue = VecDeque::from([(node, input)]);
        while let Some((node, input)) = queue.pop_front() {
            self.nodes[node].handle(input, self.now);
            while let Some(effect) = self.nodes[node].poll() {
                queue.extend(self.act(node, effect));
            }
        }
    }

    fn act(&mut self, node: usize, effect: Effect) -> Option<(usize, Input)> {
        let index = |peer: &DeviceId| peer.as_str()[1..].parse::<usize>().unwrap();
        match effect {
            Effect::Send { peer, hint } => {
                let to = index(&peer);
                let linked = self.links.contains(&(node.min(to), node.max(to)));
                assert!(linked, "told somebody who is no neighbour");
                Some((to, Input::Hint { from: id(node), hint }))
            }
            Effect::Pull { from, digest, .. } => {
                if !self.held[index(&from)].contains(&digest) {
                    return Some((node, Input::Failed { digest }));
                }
                let Some(hint) = self.valid.get(&digest) else { return Some((node, Input::Refused { digest })) };
                self.held[node].insert(digest);
                Some((node, Input::Verified { hint: *hint }))
            }
            Effect::Publish(_) => {
                self.dropped += 1;
                None
            }
            Effect::Accept(hint) => {
                self.accepted[node].push(hint);
                None
            }
            Effect::Alarm { .. } => {
                self.alarms += 1;
                None
            }
            Effect::Refuse(_) => None,
        }
    }

    fn run(&mut self, secs: u64) {
        let end = self.now.after(Duration::from_secs(secs));
        while let Some(next) = self.nodes.iter().filter_map(Newest::next_wakeup).min().filter(|t| *t <= end) {
            self.now = next.max(self.now);
            for node in 0..self.nodes.len() {
                if self.nodes[node].next_wakeup().is_some_and(|t| t <= self.now) {
                    self.input(node, Input::Wakeup);
                }
            }
        }
        self.now = end;
    }

    fn newest(&self) -> BTreeSet<Option<Hint>> {
        self.nodes.iter().map(|n| n.newest().copied()).collect()
    }
}

/// One core and what it wants.
fn effects(core: &mut Newest, input: Input, now: Timestamp) -> Vec<Effect> {
    core.handle(input, now);
    std::iter::from_fn(|| core.poll()).collect()
}

fn pulls(effects: &[Effect]) -> Vec<(DeviceId, Digest)> {
    let pull = |e: &Effect| match e {
        Effect::Pull { from, digest, .. } => Some((from.clone(), *digest)),
        _ => None,
    };
    effects.iter().filter_map(pull).collect()
}

#[test]
fn a_fleet_whose_gossip_drops_everything_converges_within_five_minutes() {
    let mut fleet = Fleet::of(40);
    (0..40).for_each(|i| {
        fleet.link(i, (i + 1) % 40);
        fleet.link(i, (i * 7 + 3) % 40);
    });
    fleet.announce(0, hint(1, 1, "first"));
    fleet.run(300);
    assert_eq!(fleet.newest(), BTreeSet::from([Some(hint(1, 1, "first"))]));
    fleet.announce(17, hint(1, 2, "second"));
    fleet.run(300);
    assert_eq!(fleet.newest(), BTreeSet::from([Some(hint(1, 2, "second"))]));
    assert!(fleet.dropped >= 80, "every node published and nothing of it arrived");
}

#[test]
fn a_device_that_was_off_gets_what_it_missed_from_any_neighbour_on_connect() {
    let mut fleet = Fleet::of(3);
    fleet.link(0, 1);
    fleet.announce(0, hint(1, 5, "five"));
    fleet.run(120);
    fleet.link(2, 1);
    assert_eq!(fleet.nodes[2].newest(), Some(&hint(1, 5, "five")));
}

#[test]
fn two_halves_with_different_news_agree_on_the_newer_when_they_meet() {
    let mut fleet = Fleet::of(4);
    fleet.link(0, 1);
    fleet.link(2, 3);
    fleet.announce(0, hint(2, 1, "new epoch"));
    fleet.announce(2, hint(1, 900, "old epoch, high counter"));
    fleet.link(1, 2);
    fleet.run(120);
    assert_eq!(fleet.newest(), BTreeSet::from([Some(hint(2, 1, "new epoch"))]));
}

#[test]
fn an_older_announcement_never_replaces_a_newer_one() {
    let mut core = Newest::new(1);
    effects(&mut core, Input::Verified { hint: hint(1, 9, "nine") }, at(1));
    let after = effects(&mut core, Input::Verified { hint: hint(1, 8, "eight") }, at(1));
    assert_eq!((after, core.newest()), (vec![], Some(&hint(1, 9, "nine"))));
    effects(&mut core, Input::Connected { peer: id(1) }, at(1));
    let older = Input::Hint { from: id(1), hint: hint(1, 8, "eight") };
    assert!(pulls(&effects(&mut core, older, at(2))).is_empty());
}

#[test]
fn equal_rank_with_other_content_is_an_alarm_once_and_the_first_stays() {
    let mut fleet = Fleet::of(3);
    fleet.announce(0, hint(1, 4, "this"));
    fleet.announce(1, hint(1, 4, "that"));
    fleet.link(0, 1);
    fleet.run(600);
    assert_eq!(fleet.nodes[0].newest(), Some(&hint(1, 4, "this")));
    assert_eq!(fleet.nodes[1].newest(), Some(&hint(1, 4, "that")));
    assert_eq!(fleet.alarms, 2, "each of the two once");
}

#[test]
fn an_unverified_claim_of_equal_rank_raises_no_alarm() {
    let mut fleet = Fleet::of(2);
    fleet.announce(0, hint(1, 4, "this"));
    fleet.link(0, 1);
    fleet.input(0, Input::Hint { from: id(1), hint: hint(1, 4, "forged") });
    fleet.run(600);
    assert_eq!(fleet.alarms, 0);
}

#[test]
fn a_refused_body_is_not_pulled_again_from_who_gave_it_but_from_another() {
    let mut core = Newest::new(1);
    let bad = hint(1, 1, "bad");
    (1..=2).for_each(|n| drop(effects(&mut core, Input::Connected { peer: id(n) }, at(1))));
    let first = pulls(&effects(&mut core, Input::Hint { from: id(1), hint: bad }, at(1)));
    assert_eq!(first, [(id(1), bad.digest)]);
    let refused = effects(&mut core, Input::Refused { digest: bad.digest }, at(1));
    assert_eq!(refused, [Effect::Refuse(bad)]);
    assert!(effects(&mut core, Input::Hint { from: id(1), hint: bad }, at(60)).is_empty());
    assert_eq!(pulls(&effects(&mut core, Input::Hint { from: id(2), hint: bad }, at(60))), [(id(2), bad.digest)]);
}

#[test]
fn one_digest_is_pulled_once_at_a_time_and_from_another_source_when_the_first_is_late() {
    let mut core = Newest::new(3);
    let news = hint(1, 1, "news");
    (1..=3).for_each(|n| drop(effects(&mut core, Input::Connected { peer: id(n) }, at(1))));
    let mut begun = Vec::new();
    (1..=3).for_each(|n| begun.extend(pulls(&effects(&mut core, Input::Hint { from: id(n), hint: news }, at(1)))));
    assert_eq!(begun, [(id(1), news.digest)]);
    let late = at(1).after(Duration::from_millis(PULL_MS_MAX));
    assert_eq!(core.next_wakeup(), Some(late));
    let again = pulls(&effects(&mut core, Input::Wakeup, late));
    assert!(again.len() == 1 && again[0].0 != id(1), "{again:?}");
    let gone = effects(&mut core, Input::Disconnected { peer: again[0].0.clone() }, late);
    let third = pulls(&gone);
    assert!(third.len() == 1 && third[0].0 != again[0].0 && third[0].0 != id(1), "{third:?}");
}

#[test]
fn a_hint_that_lies_about_the_rank_of_a_true_body_is_refused_and_blocks_nothing() {
    let mut core = Newest::new(1);
    let (lie, truth) = (hint(9, 9, "true"), hint(1, 1, "true"));
    effects(&mut core, Input::Connected { peer: id(1) }, at(1));
    effects(&mut core, Input::Hint { from: id(1), hint: lie }, at(1));
    let after = effects(&mut core, Input::Verified { hint: truth }, at(1));
    assert_eq!(after[0], Effect::Accept(truth));
    assert!(pulls(&effects(&mut core, Input::Hint { from: id(1), hint: lie }, at(2))).is_empty());
}

#[test]
fn a_source_that_never_delivers_is_given_up_until_it_connects_again() {
    let mut core = Newest::new(1);
    let news = hint(1, 1, "news");
    effects(&mut core, Input::Connected { peer: id(1) }, at(0));
    let mut begun = pulls(&effects(&mut core, Input::Hint { from: id(1), hint: news }, at(0)));
    for _ in 0..100 {
        let now = core.next_wakeup().unwrap();
        begun.extend(pulls(&effects(&mut core, Input::Failed { digest: news.digest }, now)));
        begun.extend(pulls(&effects(&mut core, Input::Wakeup, now)));
    }
    assert_eq!(begun.len(), TRIES_MAX as usize);
}

#[test]
fn a_neighbour_that_floods_hints_costs_bounded_memory_and_one_pull() {
    let mut core = Newest::new(1);
    (1..=2).for_each(|n| drop(effects(&mut core, Input::Connected { peer: id(n) }, at(0))));
    for n in 0..10_000u64 {
        let fake = hint(1 + n, n, &format!("fake {n}"));
        effects(&mut core, Input::Hint { from: id(1), hint: fake }, at(n));
        effects(&mut core, Input::Refused { digest: fake.digest }, at(n));
    }
    let text = format!("{core:?}");
    assert!(text.matches("Hint").count() <= REFUSED_MAX + HINTS_PER_PEER_MAX, "{}", text.len());
    let truth = hint(1, 1, "true");
    assert_eq!(pulls(&effects(&mut core, Input::Hint { from: id(2), hint: truth }, at(0))), [(id(2), truth.digest)]);
}

#[test]
fn a_lagging_neighbour_is_answered_and_not_in_a_flood() {
    let mut core = Newest::new(1);
    let ours = hint(1, 9, "nine");
    effects(&mut core, Input::Verified { hint: ours }, at(0));
    let told = effects(&mut core, Input::Connected { peer: id(1) }, at(0));
    assert_eq!(told, [Effect::Send { peer: id(1), hint: ours }]);
    let old = Input::Hint { from: id(1), hint: hint(1, 8, "eight") };
    let mut answers = 0;
    (1..=20).for_each(|s| answers += effects(&mut core, old.clone(), at(s)).len());
    assert_eq!(answers, 4);
}

proptest! {
    #[test]
    fn the_rank_in_force_only_rises_and_pulls_stay_within_their_limits(
        steps in proptest::collection::vec((0..6usize, 1..5usize, 0..3u64, 0..4u64, 0..5usize), 1..120),
        seed in any::<u64>(),
    ) {
        let mut core = Newest::new(seed);
        let (mut now, mut open, mut rank) = (at(0), BTreeSet::new(), None);
        for (kind, peer, epoch, counter, body) in steps {
            let hint = hint(epoch, counter, &format!("body {body}"));
            let digest = hint.digest;
            let input = match kind {
                0 => Input::Connected { peer: id(peer) },
                1 => Input::Disconnected { peer: id(peer) },
                2 => Input::Hint { from: id(peer), hint },
                3 => Input::Verified { hint },
                4 => Input::Refused { digest },
                _ => Input::Failed { digest },
            };
            now = now.after(Duration::from_secs(1));
            if kind >= 3 {
                open.remove(&digest);
            }
            core.handle(input, now);
            core.handle(Input::Wakeup, now);
            while let Some(effect) = core.poll() {
                if let Effect::Pull { digest, .. } = effect {
                    open.insert(digest);
                }
            }
            prop_assert!(open.len() <= PULLS_MAX + 5);
            let risen = core.newest().map(Hint::rank);
            prop_assert!(risen >= rank);
            rank = risen;
        }
    }

    #[test]
    fn any_connected_fleet_converges_whatever_links_come_and_go(
        changes in proptest::collection::vec((0..8usize, 0..8usize, any::<bool>(), 0..60u64), 1..40),
        announcers in proptest::collection::vec(0..8usize, 1..5),
    ) {
        let mut fleet = Fleet::of(8);
        let mut counter = 0;
        for (i, (a, b, up, secs)) in changes.into_iter().enumerate() {
            if up { fleet.link(a, b) } else { fleet.cut(a, b) }
            if let Some(node) = announcers.get(i / 8).filter(|_| i % 8 == 0) {
                counter += 1;
                fleet.announce(*node, hint(1, counter, &format!("body {counter}")));
            }
            fleet.run(secs);
        }
        (0..7).for_each(|i| fleet.link(i, i + 1));
        fleet.run(600);
        prop_assert_eq!(fleet.newest().len(), 1);
        prop_assert_eq!(fleet.nodes[0].newest().map(|h| h.counter), Some(counter));
        prop_assert!(fleet.accepted.iter().all(|a| a.windows(2).all(|w| w[0].rank() < w[1].rank())));
    }
}
