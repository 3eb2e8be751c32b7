use super::wants::{OFFERS_PER_PEER_MAX, PULLS_MAX, PULLS_PER_PEER_MAX, TRIES_MAX};
use super::*;
use proptest::prelude::*;

fn id(n: usize) -> DeviceId {
    format!("d{n}").parse().unwrap()
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn item(device: usize, counter: u64, receipt: bool) -> StockItem {
    let digest = Digest::of(format!("{device} {counter} {receipt}").as_bytes());
    StockItem { digest, length: 100, device: id(device), counter, receipt }
}

fn report(device: usize, counter: u64) -> StockItem {
    item(device, counter, false)
}

fn receipt(device: usize, counter: u64) -> StockItem {
    item(device, counter, true)
}

/// Several cores with links, and the bodies that each keeps.
struct Fleet {
    nodes: Vec<Carried>,
    links: BTreeSet<(usize, usize)>,
    kept: Vec<BTreeMap<Digest, StockItem>>,
    delivered: Vec<Vec<StockItem>>,
    pulls: usize,
    now: Timestamp,
}

impl Fleet {
    fn of(n: usize) -> Self {
        Fleet {
            nodes: (0..n).map(|i| Carried::new(id(i), i as u64)).collect(),
            links: BTreeSet::new(),
            kept: vec![BTreeMap::new(); n],
            delivered: vec![Vec::new(); n],
            pulls: 0,
            now: at(1),
        }
    }

    fn line(n: usize) -> Self {
        let mut fleet = Fleet::of(n);
        (1..n).for_each(|i| fleet.link(i - 1, i));
        fleet
    }

    /// A node reads what a neighbour says only once it knows that it is connected.
    fn link(&mut self, a: usize, b: usize) {
        if a != b && self.links.insert((a.min(b), a.max(b))) {
            self.inputs([(a, Input::Connected { peer: id(b) }), (b, Input::Connected { peer: id(a) })].into());
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.input(a, Input::Disconnected { peer: id(b) });
            self.input(b, Input::Disconnected { peer: id(a) });
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        self.inputs([(node, input)].into());
    }

    fn inputs(&mut self, mut queue: VecDeque<(usize, Input)>) {
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
            Effect::Send { peer, items } => {
                assert!(items.len() <= STOCK_MAX && !items.is_empty());
                let to = index(&peer);
                let linked = self.links.contains(&(node.min(to), node.max(to)));
                linked.then_some((to, Input::Stock { from: id(node), items }))
            }
            Effect::Pull { from, digest, .. } => {
                self.pulls += 1;
                let body = self.kept[index(&from)].get(&digest).cloned();
                Some((node, body.map_or(Input::Failed { digest }, Input::Verified)))
            }
            Effect::Keep(item) => {
                self.kept[node].insert(item.digest, item);
                None
            }
            Effect::Drop(digest) => {
                self.kept[node].remove(&digest);
                None
            }
            Effect::Deliver { item, .. } => {
                assert!(self.kept[node].contains_key(&item.digest), "delivered what is not kept");
                self.delivered[node].push(item);
                None
            }
        }
    }

    fn run(&mut self, secs: u64) {
        let end = self.now.after(Duration::from_secs(secs));
        while let Some(next) = self.nodes.iter().filter_map(Carried::next_wakeup).min().filter(|t| *t <= end) {
            self.now = next.max(self.now);
            for node in 0..self.nodes.len() {
                if self.nodes[node].next_wakeup().is_some_and(|t| t <= self.now) {
                    self.input(node, Input::Wakeup);
                }
            }
        }
        self.now = end;
    }
}

fn effects(core: &mut Carried, input: Input, now: Timestamp) -> Vec<Effect> {
    core.handle(input, now);
    std::iter::from_fn(|| core.poll()).collect()
}

fn pulls(effects: &[Effect]) -> usize {
    effects.iter().filter(|e| matches!(e, Effect::Pull { .. })).count()
}

#[test]
fn a_report_crosses_the_fleet_and_its_receipt_comes_back_and_clears_it() {
    let mut fleet = Fleet::line(6);
    fleet.input(0, Input::Attached(Client::Gateway));
    fleet.input(5, Input::Attached(Client::Agent));
    fleet.input(5, Input::Verified(report(5, 1)));
    fleet.run(5);
    assert_eq!(fleet.delivered[0], [report(5, 1)]);
    fleet.input(0, Input::Verified(receipt(5, 1)));
    fleet.run(5);
    assert_eq!(fleet.delivered[5], [receipt(5, 1)]);
    assert!(fleet.kept.iter().all(|kept| kept.values().eq([&receipt(5, 1)])), "{:?}", fleet.kept);
}

#[test]
fn a_report_waits_in_the_fleet_while_the_gateway_and_then_the_device_are_away() {
    let mut fleet = Fleet::of(3);
    fleet.link(1, 2);
    fleet.input(2, Input::Verified(report(2, 7)));
    fleet.run(5);
    fleet.cut(1, 2);
    fleet.link(0, 1);
    fleet.run(5);
    fleet.input(0, Input::Attached(Client::Gateway));
    assert_eq!(fleet.delivered[0], [report(2, 7)]);
}

#[test]
fn reports_that_a_receipt_covers_are_answered_with_it_and_not_pulled() {
    let mut core = Carried::new(id(0), 1);
    effects(&mut core, Input::Verified(receipt(3, 5)), at(1));
    effects(&mut core, Input::Connected { peer: id(1) }, at(1));
    let offer = Input::Stock { from: id(1), items: vec![report(3, 4), report(3, 5), report(3, 6)] };
    let after = effects(&mut core, offer, at(1));
    assert!(after.contains(&Effect::Send { peer: id(1), items: vec![receipt(3, 5)] }));
    assert_eq!(pulls(&after), 1, "counter 6 is news");
}

#[test]
fn a_body_already_held_is_not_pulled_and_one_pull_runs_per_body() {
    let mut core = Carried::new(id(0), 1);
    (1..=3).for_each(|n| drop(effects(&mut core, Input::Connected { peer: id(n) }, at(1))));
    let offer = |n| Input::Stock { from: id(n), items: vec![report(9, 1)] };
    let begun: usize = (1..=3).map(|n| pulls(&effects(&mut core, offer(n), at(1)))).sum();
    assert_eq!(begun, 1);
    effects(&mut core, Input::Verified(report(9, 1)), at(1));
    assert_eq!(pulls(&effects(&mut core, offer(2), at(2))), 0);
    assert_eq!(core.next_wakeup(), Some(at(1).after(Duration::from_millis(NEWS_MS))));
}

#[test]
fn a_failing_source_is_tried_with_back_off_and_then_given_up() {
    let mut core = Carried::new(id(0), 1);
    effects(&mut core, Input::Connected { peer: id(1) }, at(1));
    let mut begun = pulls(&effects(&mut core, Input::Stock { from: id(1), items: vec![report(9, 1)] }, at(1)));
    for _ in 0..50 {
        let now = core.next_wakeup().unwrap();
        begun += pulls(&effects(&mut core, Input::Failed { digest: report(9, 1).digest }, now));
        begun += pulls(&effects(&mut core, Input::Wakeup, now));
    }
    assert_eq!(begun, TRIES_MAX as usize);
}

#[test]
fn a_refused_or_mislabelled_body_is_not_pulled_again_from_the_same_neighbour() {
    let mut core = Carried::new(id(0), 1);
    effects(&mut core, Input::Connected { peer: id(1) }, at(1));
    let offer = |item: &StockItem| Input::Stock { from: id(1), items: vec![item.clone()] };
    let forged = report(9, 1);
    assert_eq!(pulls(&effects(&mut core, offer(&forged), at(1))), 1);
    effects(&mut core, Input::Refused { digest: forged.digest }, at(1));
    assert_eq!(pulls(&effects(&mut core, offer(&forged), at(2))), 0);
    let lie = StockItem { counter: 999, ..report(8, 1) };
    assert_eq!(pulls(&effects(&mut core, offer(&lie), at(3))), 1);
    let after = effects(&mut core, Input::Verified(report(8, 1)), at(3));
    assert!(after.contains(&Effect::Keep(report(8, 1))), "the truth is kept all the same");
    assert_eq!(pulls(&effects(&mut core, offer(&lie), at(4))), 0);
}

#[test]
fn an_older_receipt_or_a_report_under_it_comes_too_late() {
    let mut core = Carried::new(id(0), 1);
    effects(&mut core, Input::Verified(receipt(3, 5)), at(1));
    for late in [receipt(3, 4), report(3, 5)] {
        assert_eq!(effects(&mut core, Input::Verified(late.clone()), at(1)), [Effect::Drop(late.digest)]);
    }
    let after = effects(&mut core, Input::Verified(receipt(3, 6)), at(1));
    assert_eq!(after, [Effect::Keep(receipt(3, 6)), Effect::Drop(receipt(3, 5).digest)]);
    assert!(effects(&mut core, Input::Verified(receipt(3, 6)), at(1)).is_empty(), "twice is once");
}

#[test]
fn a_device_keeps_sixteen_reports_and_the_whole_stock_its_limit() {
    let mut core = Carried::new(id(0), 1);
    for counter in 0..100 {
        effects(&mut core, Input::Verified(report(1, counter)), at(1));
    }
    assert_eq!(core.len(), REPORTS_PER_DEVICE_MAX);
    assert!(!core.is_empty());
    for device in 2..600 {
        for counter in 0..10 {
            effects(&mut core, Input::Verified(report(device, counter)), at(1));
        }
    }
    assert_eq!(core.len(), REPORTS_MAX);
    let newest = effects(&mut core, Input::Verified(report(1, 1000)), at(1));
    assert_eq!(newest[0], Effect::Keep(report(1, 1000)));
}

/// A receipt has no gap, so it comes only if the lowest reports do, and with every one of them the next get room.
#[test]
fn more_reports_than_are_carried_all_reach_a_gateway_that_was_away() {
    let mut fleet = Fleet::line(3);
    let made: Vec<StockItem> = (1..=60).map(|counter| report(2, counter)).collect();
    let resend = |fleet: &mut Fleet, upto: u64| {
        let unsettled = made.iter().filter(|r| r.counter > upto);
        unsettled.for_each(|r| fleet.input(2, Input::Verified(r.clone())));
        fleet.run(5);
    };
    resend(&mut fleet, 0);
    fleet.input(0, Input::Attached(Client::Gateway));
    assert!(fleet.delivered[0].contains(&report(2, 60)), "the newest word is not held up");
    for _ in 0..12 {
        let here: BTreeSet<u64> = fleet.delivered[0].iter().map(|r| r.counter).collect();
        let upto = (1..).take_while(|counter| here.contains(counter)).last().unwrap();
        fleet.input(0, Input::Verified(receipt(2, upto)));
        fleet.run(5);
        resend(&mut fleet, upto);
    }
    let here: BTreeSet<&StockItem> = fleet.delivered[0].iter().collect();
    assert_eq!(here.len(), 60);
}

#[test]
fn a_gateway_without_room_is_handed_a_report_again_until_its_receipt() {
    let mut core = Carried::new(id(0), 1);
    effects(&mut core, Input::Attached(Client::Gateway), at(1));
    effects(&mut core, Input::Verified(report(3, 5)), at(1));
    let handed = |effects: Vec<Effect>| effects.iter().filter(|e| matches!(e, Effect::Deliver { .. })).count();
    let later = at(1).after(Duration::from_millis(EXCHANGE_MS));
    assert_eq!(handed(effects(&mut core, Input::Wakeup, later)), 1);
    effects(&mut core, Input::Verified(receipt(3, 5)), later);
    let last = later.after(Duration::from_millis(EXCHANGE_MS));
    assert_eq!((core.next_wakeup().unwrap() < last, handed(effects(&mut core, Input::Wakeup, last))), (true, 0));
    effects(&mut core, Input::Detached(Client::Gateway), last);
    effects(&mut core, Input::Wakeup, last.after(Duration::from_millis(EXCHANGE_MS)));
    assert_eq!(core.next_wakeup(), None);
}

#[test]
fn a_flood_of_offers_costs_bounded_memory_and_few_pulls() {
    let mut core = Carried::new(id(0), 1);
    effects(&mut core, Input::Connected { peer: id(1) }, at(1));
    let mut begun = 0;
    for n in 0..4 {
        let items = (0..STOCK_MAX).map(|i| report(n * STOCK_MAX + i, 1)).collect();
        begun += pulls(&effects(&mut core, Input::Stock { from: id(1), items }, at(1)));
    }
    assert_eq!(begun, PULLS_PER_PEER_MAX);
    let text = format!("{:?}", core.wants);
    assert!(text.matches("StockItem").count() <= OFFERS_PER_PEER_MAX);
    effects(&mut core, Input::Connected { peer: id(2) }, at(1));
    let honest = Input::Stock { from: id(2), items: vec![report(1 << 40, 1)] };
    assert_eq!(pulls(&effects(&mut core, honest, at(1))), 1);
    effects(&mut core, Input::Disconnected { peer: id(1) }, at(2));
    assert_eq!(format!("{:?}", core.wants).matches("StockItem").count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_report_reaches_the_gateway_once_links_settle_and_receipts_clear_the_fleet(
        changes in proptest::collection::vec((0..6usize, 0..6usize, any::<bool>(), 0..20u64), 1..30),
        reporters in proptest::collection::vec(0..6usize, 1..12),
    ) {
        let mut fleet = Fleet::of(6);
        let mut counters = [0u64; 6];
        for (i, (a, b, up, secs)) in changes.into_iter().enumerate() {
            if up { fleet.link(a, b) } else { fleet.cut(a, b) }
            if let Some(device) = reporters.get(i).copied() {
                counters[device] += 1;
                fleet.input(device, Input::Verified(report(device, counters[device])));
            }
            fleet.run(secs);
        }
        fleet.input(0, Input::Attached(Client::Gateway));
        (0..5).for_each(|i| fleet.link(i, i + 1));
        fleet.run(1200);
        let delivered: BTreeSet<StockItem> = fleet.delivered[0].iter().cloned().collect();
        prop_assert_eq!(delivered.len() as u64, counters.iter().sum::<u64>());
        for (device, counter) in counters.into_iter().enumerate().filter(|(_, counter)| *counter > 0) {
            fleet.input(0, Input::Verified(receipt(device, counter)));
        }
        fleet.run(1200);
        prop_assert!(fleet.kept.iter().all(|kept| kept.values().all(|item| item.receipt)));
        prop_assert!(fleet.nodes.iter().all(|n| n.len() == counters.iter().filter(|c| **c > 0).count()));
    }

    #[test]
    fn pulls_stay_within_their_limit_whatever_comes(
        steps in proptest::collection::vec((0..7usize, 1..4usize, 0..4usize, 0..6u64, any::<bool>()), 1..150),
    ) {
        let mut core = Carried::new(id(0), 7);
        let mut open = BTreeSet::new();
        for (i, (kind, peer, device, counter, is_receipt)) in steps.into_iter().enumerate() {
            let item = item(device, counter, is_receipt);
            let digest = item.digest;
            let input = match kind {
                0 => Input::Connected { peer: id(peer) },
                1 => Input::Disconnected { peer: id(peer) },
                2 | 3 => Input::Stock { from: id(peer), items: vec![item] },
                4 => Input::Verified(item),
                5 => Input::Refused { digest },
                _ => Input::Failed { digest },
            };
            if kind >= 4 {
                open.remove(&digest);
            }
            for effect in effects(&mut core, input, at(i as u64 / 10)) {
                if let Effect::Pull { digest, .. } = effect {
                    open.insert(digest);
                }
            }
        }
        prop_assert!(open.len() <= PULLS_MAX + 12);
    }
}
