//! What every operating system does that is updated step by step, whatever deploys and boots it.

use super::{Counted, DeploymentId, Digest, Entry, Os, OsError, OsView, Step};

/// A system that nothing is on trial on, with one deployment.
pub trait Bed {
    fn os(&self) -> &dyn Os;
    /// A commit that is in its repository and nowhere else; another each time.
    fn commit(&mut self) -> Digest;
    fn reboot(&mut self);
}

/// Runs through all of it; each step twice, as after a power cut at its end.
pub fn an_os(bed: &mut dyn Bed) {
    let first = look(bed);
    assert_eq!((&first.entries[..], first.staged, first.obstacle), (&[first.booted][..], None, None));
    assert_eq!((first.counted, first.entry), (None, Some(Entry::First)));
    what_is_staged_is_forgotten_by_a_reboot(bed);
    let second = a_proven_version_stays(bed, first.booted);
    what_fails_is_left_for_the_one_before(bed, second);
    an_entry_can_be_put_on_trial(bed, second);
}

fn ask(bed: &dyn Bed, step: Step) -> Result<OsView, OsError> {
    bed.os().ask(&step).map(|view| view.unwrap())
}

fn look(bed: &dyn Bed) -> OsView {
    ask(bed, Step::Look).unwrap()
}

fn twice(bed: &dyn Bed, step: Step) -> OsView {
    ask(bed, step.clone()).unwrap();
    ask(bed, step).unwrap()
}

fn counted(trial: DeploymentId, tries_left: u8) -> Option<Counted> {
    Some(Counted { trial: Some(trial), tries_left })
}

fn is_refused(bed: &dyn Bed, step: Step) {
    let before = look(bed);
    let error = ask(bed, step.clone()).unwrap_err();
    assert!(!error.retry && !error.reason.is_empty() && !error.reason.contains('\n'), "{step:?}: {error:?}");
    assert_eq!(look(bed), before, "{step:?}");
}

fn what_is_staged_is_forgotten_by_a_reboot(bed: &mut dyn Bed) {
    let (one, other, before) = (bed.commit(), bed.commit(), look(bed));
    ask(bed, Step::Room(one)).unwrap();
    assert_eq!(twice(bed, Step::Stage(one)).staged.unwrap().commit, one);
    let view = twice(bed, Step::Stage(other));
    assert_eq!((view.staged.unwrap().commit, &view.entries), (other, &before.entries), "it takes the other's place");
    assert_eq!(twice(bed, Step::Keep(vec![])).staged, None);
    ask(bed, Step::Stage(one)).unwrap();
    bed.reboot();
    let after = look(bed);
    assert_ne!(after.boot, before.boot);
    assert_eq!(OsView { boot: before.boot.clone(), ..after }, before);
    // Nothing of it can be put on trial any more, and nothing stays armed.
    is_refused(bed, Step::Arm { old: before.booted, new: DeploymentId { commit: one, serial: 0 } });
}

/// Gives what runs then.
fn a_proven_version_stays(bed: &mut dyn Bed, old: DeploymentId) -> DeploymentId {
    let commit = bed.commit();
    let new = ask(bed, Step::Stage(commit)).unwrap().staged.unwrap();
    is_refused(bed, Step::Arm { old: new, new: old });
    let view = twice(bed, Step::Arm { old, new });
    assert_eq!((&view.entries[..], view.staged, view.counted), (&[new, old][..], None, counted(new, 3)));
    is_refused(bed, Step::Clear(new));
    is_refused(bed, Step::Keep(vec![]));
    bed.reboot();
    let view = look(bed);
    assert_eq!((view.booted, view.entry, view.counted), (new, Some(Entry::First), counted(new, 2)));
    is_refused(bed, Step::Clear(old));
    let view = twice(bed, Step::Clear(new));
    assert_eq!((&view.entries[..], view.counted), (&[new, old][..], None));
    twice(bed, Step::Keep(vec![new.commit, old.commit]));
    bed.reboot();
    assert_eq!(look(bed).booted, new);
    new
}

fn what_fails_is_left_for_the_one_before(bed: &mut dyn Bed, old: DeploymentId) {
    let commit = bed.commit();
    let new = ask(bed, Step::Stage(commit)).unwrap().staged.unwrap();
    ask(bed, Step::Arm { old, new }).unwrap();
    bed.reboot();
    let view = twice(bed, Step::GiveUp { old, new });
    assert_eq!((view.booted, view.counted), (new, counted(new, 0)));
    bed.reboot();
    let view = look(bed);
    assert_eq!((view.booted, view.entry, view.counted), (old, Some(Entry::Second), counted(new, 0)));
    let view = twice(bed, Step::Clean { old, new });
    assert!(!view.entries.contains(&new));
    assert_eq!((view.entries[0], view.counted), (old, None));
    twice(bed, Step::Keep(vec![old.commit]));
    bed.reboot();
    assert_eq!(look(bed).booted, old);
}

fn an_entry_can_be_put_on_trial(bed: &mut dyn Bed, old: DeploymentId) {
    let commit = bed.commit();
    let new = ask(bed, Step::Stage(commit)).unwrap().staged.unwrap();
    ask(bed, Step::Arm { old, new }).unwrap();
    bed.reboot();
    ask(bed, Step::Clear(new)).unwrap();
    let view = twice(bed, Step::Arm { old: new, new: old });
    assert_eq!((&view.entries[..2], view.counted), (&[old, new][..], counted(old, 3)));
    bed.reboot();
    assert_eq!(twice(bed, Step::Clear(old)).booted, old);
}
