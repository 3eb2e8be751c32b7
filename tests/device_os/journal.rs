//! Boot loaders read a file system without its journal: what a step has changed is behind that when it ends.

use super::Bench;
use fullmetal::os::{Os as _, Step};
use fullmetal_proto::DeploymentId;
use fullmetal_proto::deploy::OsView;
use fullmetal_sim::sim::engine::Random;

/// Takes the power right after a step, of which all is in the journal; what runs then.
fn cut_after(bench: &mut Bench, step: &Step) -> OsView {
    bench.ask(step).unwrap();
    bench.device.run(&["sh", "-c", "touch /var/lib/written; sync /var/lib/written"]).unwrap();
    bench.device.lose_power(&mut Random::new(1, "the cut")).unwrap();
    bench.device.boot().unwrap();
    bench.ask(&Step::Look).unwrap().unwrap()
}

fn staged(bench: &mut Bench, number: u32) -> (DeploymentId, DeploymentId) {
    let commit = bench.new_commit(number);
    let view = bench.ask(&Step::Stage(commit)).unwrap().unwrap();
    (view.booted, view.staged.unwrap())
}

/// Of what is put on trial and fails.
fn leaves(bench: &mut Bench) -> (DeploymentId, DeploymentId) {
    let (old, new) = staged(bench, 1);
    assert_eq!(cut_after(bench, &Step::Arm { old, new }).booted, new);
    bench.ask(&Step::GiveUp { old, new }).unwrap();
    bench.device.reboot().unwrap();
    (old, new)
}

/// Of what fails and is removed, of what is proven, and of what is pruned after each.
pub fn is_not_needed(bench: &mut Bench) {
    let (old, new) = leaves(bench);
    let view = cut_after(bench, &Step::Clean { old, new });
    assert_eq!((view.booted, &view.entries[..], view.counted), (old, &[old][..], None));
    let (old, new) = leaves(bench);
    bench.ask(&Step::Clean { old, new }).unwrap();
    let view = cut_after(bench, &Step::Keep(vec![old.commit]));
    assert_eq!((view.booted, &view.entries[..], view.counted), (old, &[old][..], None), "of one alone");
    let mut before = old;
    for number in 2..=3 {
        let (old, new) = staged(bench, number);
        bench.ask(&Step::Arm { old, new }).unwrap();
        bench.device.reboot().unwrap();
        bench.ask(&Step::Clear(new)).unwrap();
        let view = cut_after(bench, &Step::Keep(vec![new.commit, old.commit]));
        assert_eq!((view.booted, &view.entries[..], view.counted), (new, &[new, old][..], None));
        assert_eq!(old, before);
        before = new;
    }
}
