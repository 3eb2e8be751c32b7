//! Boot loaders read a file system without its journal: what a step has changed is behind that when it ends.

use super::Bench;
use fullmetal::os::{Os as _, Step};
use fullmetal_proto::deploy::OsView;
use fullmetal_sim::sim::engine::Random;

/// Takes the power right after a step; what runs then.
fn cut_after(bench: &mut Bench, step: &Step) -> OsView {
    bench.ask(step).unwrap();
    bench.device.lose_power(&mut Random::new(1, "the cut")).unwrap();
    bench.device.boot().unwrap();
    bench.ask(&Step::Look).unwrap().unwrap()
}

/// Of what is put on trial, fails and is removed.
pub fn is_not_needed(bench: &mut Bench) {
    let old = bench.ask(&Step::Look).unwrap().unwrap().booted;
    let commit = bench.new_commit(1);
    let new = bench.ask(&Step::Stage(commit)).unwrap().unwrap().staged.unwrap();
    assert_eq!(cut_after(bench, &Step::Arm { old, new }).booted, new);
    bench.ask(&Step::GiveUp { old, new }).unwrap();
    bench.device.reboot().unwrap();
    let view = cut_after(bench, &Step::Clean { old, new });
    assert_eq!((view.booted, &view.entries[..], view.counted), (old, &[old][..], None));
}
