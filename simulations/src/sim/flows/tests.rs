use super::*;

const MB: u64 = 1_000_000;

fn path(links: &[LinkId]) -> Path {
    let mut path = Path::default();
    links.iter().for_each(|link| path.push(*link));
    path
}

/// Runs to the end; when each owner's flow ended, in milliseconds.
fn ends(flows: &mut Flows) -> Vec<(u64, u64)> {
    let mut ends = Vec::new();
    while let Some(at) = flows.next_at() {
        ends.extend(flows.step(at).iter().map(|f| (f.owner, at.0 / 1_000)));
    }
    ends.sort_unstable();
    ends
}

#[test]
fn a_flow_alone_takes_all_that_its_narrowest_link_has() {
    let mut flows = Flows::default();
    let (wide, narrow) = (flows.link(100 * MB), flows.link(10 * MB));
    flows.start(path(&[wide, narrow]), 10 * MB, 1, Moment::START);
    assert_eq!(ends(&mut flows), [(1, 1_000)]);
    assert_eq!(flows.carried(narrow, Moment::from_millis(2_000)), 10 * MB);
}

#[test]
fn what_one_flow_cannot_use_the_others_share() {
    let mut flows = Flows::default();
    let (shared, slow) = (flows.link(12 * MB), flows.link(2 * MB));
    flows.start(path(&[shared, slow]), 2 * MB, 1, Moment::START);
    flows.start(path(&[shared]), 5 * MB, 2, Moment::START);
    flows.start(path(&[shared]), 10 * MB, 3, Moment::START);
    // 2, 5 and 5 MB/s; after a second the third has the link for itself.
    for (owner, ms) in ends(&mut flows) {
        let expected = if owner == 3 { 1_417 } else { 1_000 };
        assert!(u64::abs_diff(ms, expected) <= 2, "flow {owner} ended at {ms} ms, not {expected}");
    }
}

#[test]
fn a_link_that_is_crossed_twice_gives_half() {
    let mut flows = Flows::default();
    let air = flows.link(10 * MB);
    flows.start(path(&[air, air]), 10 * MB, 1, Moment::START);
    assert_eq!(ends(&mut flows), [(1, 2_000)]);
}

#[test]
fn a_cut_link_stops_its_flows_until_it_is_there_again() {
    let mut flows = Flows::default();
    let link = flows.link(10 * MB);
    let id = flows.start(path(&[link]), 10 * MB, 1, Moment::START);
    flows.step(Moment::from_millis(500));
    flows.set_capacity(link, 0, Moment::from_millis(500));
    let filling = flows.next_at().unwrap();
    assert!(flows.step(filling).is_empty() && flows.next_at().is_none());
    let moved = flows.moved(id, Moment::from_millis(5_000)).unwrap();
    assert!(u64::abs_diff(moved, 5 * MB) < 20_000, "{moved}");
    flows.set_capacity(link, 10 * MB, Moment::from_millis(1_600));
    let ends = ends(&mut flows);
    assert!(u64::abs_diff(ends[0].1, 2_100) <= 2, "{ends:?}");
}

#[test]
fn a_stopped_flow_is_void_and_its_place_is_used_again() {
    let mut flows = Flows::default();
    let link = flows.link(10 * MB);
    let first = flows.start(path(&[link]), 10 * MB, 1, Moment::START);
    flows.stop(first, Moment::from_millis(100));
    let second = flows.start(path(&[link]), MB, 2, Moment::from_millis(100));
    assert_ne!(first, second);
    assert_eq!(flows.moved(first, Moment::from_millis(100)), None);
    assert_eq!(ends(&mut flows), [(2, 200)]);
}

/// The property that defines max-min fairness: each flow crosses a full link on which nobody is faster.
#[test]
fn each_flow_has_a_full_link_on_which_none_is_faster() {
    let mut random = crate::sim::engine::Random::new(1, "flows");
    for _ in 0..50 {
        let mut flows = Flows::default();
        let links: Vec<LinkId> = (0..12).map(|_| flows.link((1 + random.below(50)) * MB)).collect();
        for owner in 0..40 {
            let on: Vec<LinkId> = (0..3).map(|_| links[random.index(12)]).collect();
            flows.start(path(&on), 1_000_000 * MB, owner, Moment::START);
        }
        flows.fill(Moment::START);
        for flow in flows.flows.iter().filter(|f| f.is_live) {
            let has_bottleneck = flow.path.iter().any(|at| {
                let link = &flows.links[at as usize];
                let rates = link.flows.iter().map(|slot| flows.flows[*slot as usize].rate);
                rates.clone().sum::<u64>() + 64 >= link.capacity && rates.max().unwrap() <= flow.rate + 64
            });
            assert!(has_bottleneck, "{flow:?}");
        }
    }
}
