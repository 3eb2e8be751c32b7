use super::{MemoryOs, Os as _, OsError, Step};
use fullmetal_proto::deploy::{Entry, OsView};
use fullmetal_proto::{DeploymentId, Digest};

fn id(name: &str) -> DeploymentId {
    DeploymentId { commit: Digest::of(name.as_bytes()), serial: 0 }
}

fn ask(os: &MemoryOs, step: &Step) -> Result<OsView, OsError> {
    os.ask(step).map(|view| view.unwrap())
}

fn look(os: &MemoryOs) -> OsView {
    ask(os, &Step::Look).unwrap()
}

/// `old` runs, and `pinned` is another entry; `new` is staged.
fn staged() -> MemoryOs {
    let os = MemoryOs::new(id("old").commit);
    os.fetched(id("new").commit);
    os.is_pinned(id("pinned").commit);
    ask(&os, &Step::Stage(id("new").commit)).unwrap();
    os
}

fn on_trial() -> MemoryOs {
    let os = staged();
    ask(&os, &arm()).unwrap();
    assert_eq!(os.boot(), Entry::First);
    os
}

fn proven() -> MemoryOs {
    let os = on_trial();
    ask(&os, &Step::Clear(id("new"))).unwrap();
    os
}

fn fallen_back() -> MemoryOs {
    let os = on_trial();
    ask(&os, &give_up()).unwrap();
    assert_eq!(os.boot(), Entry::Second);
    os
}

/// The same, but somebody has deployed something since and made that first.
fn fallen_back_with_another_first() -> MemoryOs {
    let os = fallen_back();
    os.is_first(id("pinned"));
    os
}

fn arm() -> Step {
    Step::Arm { old: id("old"), new: id("new") }
}

fn give_up() -> Step {
    Step::GiveUp { old: id("old"), new: id("new") }
}

fn clean() -> Step {
    Step::Clean { old: id("old"), new: id("new") }
}

/// Has the power go before each write of a step, up to where it is done; `then` is done after the boot that follows, of what the
/// newest writes have changed, or of what a loader sees that does not replay a journal.
fn cut_everywhere(prepare: fn() -> MemoryOs, step: &Step, then: fn(&MemoryOs, &OsView)) {
    cut_and_boot(prepare, step, then, MemoryOs::boot);
    cut_and_boot(prepare, step, then, MemoryOs::boot_after_a_cut);
}

fn cut_and_boot(prepare: fn() -> MemoryOs, step: &Step, then: fn(&MemoryOs, &OsView), boot: fn(&MemoryOs) -> Entry) {
    for writes in 0.. {
        let os = prepare();
        os.cut_after(writes);
        let done = ask(&os, step).is_ok();
        boot(&os);
        let view = look(&os);
        let context = format!("{step:?} cut after {writes} writes: {view:?}");
        assert_ne!(view.booted, id("pinned"), "{context}");
        then(&os, &view);
        if done {
            assert!(writes > 0, "{step:?} writes something");
            return;
        }
        assert!(writes < 20, "{context}");
    }
}

/// Counted, or what ran.
fn is_safe(view: &OsView) {
    assert!(view.booted == id("old") || view.counted.is_some(), "{view:?}");
}

#[test]
fn a_cut_while_a_trial_is_armed_leaves_what_ran_or_what_is_counted() {
    cut_everywhere(staged, &arm(), |os, view| {
        is_safe(view);
        // What was staged is gone with a reboot: it is armed whole, or nothing is when it was asked for again.
        if view.booted == id("old") && view.entries.contains(&id("new")) {
            assert_eq!(ask(os, &arm()).unwrap().entries[..2], [id("new"), id("old")]);
        } else if view.booted == id("old") {
            assert!(ask(os, &arm()).is_err());
            assert_eq!((look(os).counted, look(os).entries[0]), (None, id("old")));
        }
    });
}

#[test]
fn a_cut_while_an_entry_is_armed_leaves_what_ran_or_what_is_counted() {
    let back = Step::Arm { old: id("new"), new: id("old") };
    cut_everywhere(proven, &back, |os, view| {
        assert!(view.booted == id("new") || view.counted.is_some(), "{view:?}");
        if view.booted == id("new") {
            ask(os, &Step::Arm { old: id("new"), new: id("old") }).unwrap();
            os.boot();
        }
        assert_eq!(ask(os, &Step::Clear(id("old"))).unwrap().counted, None);
        assert_eq!(look(os).entries[..2], [id("old"), id("new")]);
    });
}

#[test]
fn a_cut_while_a_trial_is_given_up_or_cleaned_up_never_boots_a_third_deployment() {
    for (prepare, step) in
        [(on_trial as fn() -> MemoryOs, give_up()), (fallen_back, clean()), (fallen_back_with_another_first, clean())]
    {
        cut_everywhere(prepare, &step, |os, view| {
            is_safe(view);
            if view.booted == id("new") {
                ask(os, &give_up()).unwrap();
                os.boot();
            }
            let view = ask(os, &clean()).unwrap();
            assert_eq!((view.booted, view.counted), (id("old"), None));
            assert_eq!(view.entries, [id("old"), id("pinned")]);
            os.boot();
            assert_eq!(look(os).booted, id("old"));
        });
    }
}

#[test]
fn a_cut_while_a_proven_version_is_cleared_boots_it() {
    cut_everywhere(on_trial, &Step::Clear(id("new")), |os, view| {
        assert_eq!(view.booted, id("new"));
        assert_eq!(ask(os, &Step::Clear(id("new"))).unwrap().counted, None);
    });
}

#[test]
fn what_cannot_be_made_to_boot_leaves_nothing_armed_or_staged() {
    let os = MemoryOs::new(id("old").commit);
    os.fetched_broken(id("new").commit, "/etc cannot be merged");
    ask(&os, &Step::Stage(id("new").commit)).unwrap();
    let before = look(&os);
    let error = ask(&os, &arm()).unwrap_err();
    assert!(!error.retry && error.reason.contains("/etc cannot be merged"), "{error}");
    assert_eq!(look(&os), OsView { staged: None, ..before });
}

#[test]
fn what_stands_in_the_way_of_a_trial_is_told_and_refused_but_does_not_end_one() {
    let os = on_trial();
    os.is_unprepared(Some("no script of ours"));
    let view = look(&os);
    assert!(view.obstacle.unwrap().contains("no script of ours"));
    assert!(view.counted.is_some(), "what is counted is told all the same");
    assert!(ask(&os, &Step::Stage(id("old").commit)).is_err());
    ask(&os, &give_up()).unwrap();
    os.boot();
    assert_eq!(ask(&os, &clean()).unwrap().counted, None);
}

#[test]
fn the_trial_of_somebody_else_is_left_alone() {
    let os = staged();
    os.is_counted(None, 5);
    for step in [arm(), Step::Clear(id("new")), clean(), Step::Keep(vec![])] {
        let before = look(&os);
        let error = ask(&os, &step).unwrap_err();
        let told = error.reason.contains("nobody named") || error.reason.contains("runs, not");
        assert!(!error.retry && told, "{step:?}: {error}");
        assert_eq!(look(&os), before, "{step:?}");
    }
    // What was counted from the beginning names nothing, and ends with what runs.
    assert_eq!(ask(&os, &Step::Clear(id("old"))).unwrap().counted, None);
    os.is_counted(None, 5);
    os.is_first(id("pinned"));
    assert!(ask(&os, &Step::Clear(id("old"))).is_err(), "what is counted is not what runs");
    os.is_first(id("old"));
    // One that is there no more is nobody's.
    os.is_counted(Some(id("gone")), 5);
    ask(&os, &arm()).unwrap();
}
