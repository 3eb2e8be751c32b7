use super::fixture::deployment;
use crate::boot_loader::{BootLoader, Counted, DeploymentId, MemoryLoader, State, Tries};

/// A boot loader with somebody who plays its part at boot.
pub(super) trait Bed {
    fn loader(&self) -> &dyn BootLoader;
    /// Puts a deployment first.
    fn deploy(&self, _: &DeploymentId) {}
    /// True for the first entry, false for the second.
    fn boot(&self) -> bool;
}

/// What every boot loader does. Each step twice, as after a power cut in the middle of the first.
pub(super) fn conforms(bed: &dyn Bed) {
    let loader = bed.loader();
    let (old, new, newer) = (deployment("old"), deployment("new"), deployment("newer"));
    let counted = |trial: &DeploymentId, tries_left| Some(Counted { trial: Some(*trial), tries_left });
    let state = |booted: &DeploymentId| State::of(loader.counted().unwrap(), Some(booted), None);
    let twice = |step: &dyn Fn()| (0..2).for_each(|_| step());
    assert_eq!(loader.counted().unwrap(), None);
    twice(&|| assert!(bed.boot()));

    // Never proven: three boots, then the old version for good.
    let three = Tries::new(3).unwrap();
    twice(&|| loader.arm(&new, three).unwrap());
    bed.deploy(&new);
    assert_eq!(state(&old), State::Armed(counted(&new, 3).unwrap()));
    for left in [2, 1, 0] {
        assert!(bed.boot());
        assert_eq!(state(&new), State::OnTrial(counted(&new, left).unwrap()));
    }
    for _ in 0..2 {
        assert!(!bed.boot());
        assert_eq!(state(&old), State::FellBack(counted(&new, 0).unwrap()));
    }

    // The next one is armed over it, and proven in its second boot.
    loader.arm(&newer, three).unwrap();
    bed.deploy(&newer);
    twice(&|| assert!(bed.boot()));
    assert_eq!(loader.counted().unwrap(), counted(&newer, 1));
    twice(&|| loader.clear().unwrap());
    assert_eq!(state(&newer), State::Cleared);
    (0..5).for_each(|_| assert!(bed.boot()));

    // Given up in its first boot; and, on a person's word, long after its proof.
    loader.arm(&newer, three).unwrap();
    bed.deploy(&newer);
    assert!(bed.boot());
    twice(&|| loader.give_up(&newer).unwrap());
    twice(&|| assert!(!bed.boot()));
    loader.clear().unwrap();
    twice(&|| loader.give_up(&newer).unwrap());
    assert_eq!(loader.counted().unwrap(), counted(&newer, 0));
    twice(&|| assert!(!bed.boot()));
}

impl Bed for MemoryLoader {
    fn loader(&self) -> &dyn BootLoader {
        self
    }

    fn boot(&self) -> bool {
        MemoryLoader::boot(self)
    }
}

#[test]
fn the_boot_loader_in_memory_is_a_boot_loader() {
    conforms(&MemoryLoader::default());
}

#[test]
fn tries_are_what_the_scripts_count_to() {
    let allowed: Vec<u8> = (0..=u8::MAX).filter_map(Tries::new).map(Tries::get).collect();
    assert_eq!(allowed, [1, 2, 3, 4, 5]);
}

#[test]
fn a_trial_that_nobody_named_is_never_taken_for_a_fall_back() {
    let unnamed = Counted { trial: None, tries_left: 0 };
    assert_eq!(State::of(Some(unnamed.clone()), Some(&deployment("old")), None), State::Armed(unnamed));
    let named = Counted { trial: Some(deployment("new")), tries_left: 0 };
    assert_eq!(
        State::of(Some(named.clone()), None, None),
        State::Armed(named),
        "nor one on a root that is no deployment"
    );
}
