//! A rollout whose groups come one after the other.

use super::super::site::Site;
use super::super::site::hawkbit::Hawkbit;
use super::{Device, site};
use fullmetal_proto::wire::{Mode, ReportState};

#[test]
fn the_second_group_of_a_rollout_joins_the_bundle_of_the_first() {
    let (site, hawkbit, rollout, mut first, mut second) = rolled_out();
    let begun = first.row(&site).unwrap();
    assert!(begun.mode == Mode::Now && second.row(&site).is_none(), "the second group waits");
    first.report(&site, begun.action, ReportState::Succeeded);
    hawkbit.wait(&first.name, begun.action, "finished", &["succeeded"]);
    let joined = site.peer.wait("the second group", |s| super::told(s.announced.last()?, &second.name));
    assert!(joined.counter > begun.counter && joined.action != begun.action);
    assert_eq!((joined.mode, joined.bundle), (Mode::Now, begun.bundle));
    second.report(&site, joined.action, ReportState::Succeeded);
    hawkbit.wait(&second.name, joined.action, "finished", &["succeeded"]);
    hawkbit.rollout_is(rollout, "finished");
}

#[test]
fn a_rollout_whose_first_group_failed_goes_no_further() {
    let (site, hawkbit, rollout, mut first, second) = rolled_out();
    let begun = first.row(&site).unwrap();
    first.report(&site, begun.action, ReportState::Failed);
    hawkbit.wait(&first.name, begun.action, "error", &["never healthy"]);
    hawkbit.rollout_is(rollout, "paused");
    assert!(second.row(&site).is_none());
}

/// A rollout to two groups of one device each; the first was told.
fn rolled_out() -> (Site, Hawkbit, u64, Device, Device) {
    let (site, hawkbit, commit, one) = site("ask");
    let two = Device::heard(&site, &hawkbit, "press-2");
    let set = hawkbit.release("rolled", &commit);
    let rollout = hawkbit.roll_out(set, &format!("id==press-*-{}", hawkbit.tag));
    // Which of the two is in the first group is the server's choice.
    let first = site.peer.wait("the first group", |s| {
        let newest = s.announced.last()?;
        let rows = [&one, &two].map(|d| super::told(newest, &d.name));
        rows.iter().position(Option::is_some)
    });
    let (first, second) = if first == 0 { (one, two) } else { (two, one) };
    (site, hawkbit, rollout, first, second)
}
