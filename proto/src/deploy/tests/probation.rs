//! What the watch makes of apps.

use super::world::{Behaviour, candidate, name};
use crate::Timestamp;
use crate::deploy::probation::{Judgement, Watch};
use crate::deploy::{AppEvent, NewPart};
use crate::wire::report::ExitStatus;
use std::time::Duration;

fn judge(behaviour: Behaviour, events: &[AppEvent], at_secs: u64) -> String {
    let part = NewPart::from(candidate("web", "1", behaviour));
    let mut watch = Watch::default();
    watch.begin(Timestamp::ZERO, Duration::from_secs(30));
    for event in events {
        watch.note(&name("web"), event.clone(), Timestamp::from_secs(5));
    }
    match watch.judge([part].iter(), None, Timestamp::from_secs(at_secs)) {
        Judgement::Broken(cause) => cause.reason,
        other => format!("{other:?}"),
    }
}

fn sick() -> AppEvent {
    AppEvent::Unhealthy { reason: "no answer".into() }
}

fn healthy(began_secs: u64) -> AppEvent {
    AppEvent::Healthy { began: Timestamp::from_secs(began_secs) }
}

fn exit(status: ExitStatus) -> AppEvent {
    AppEvent::Exited { status, log: Vec::new() }
}

#[test]
fn a_service_is_proven_by_running_and_good_health_to_the_end() {
    use AppEvent::Running;
    assert_eq!(judge(Behaviour::Runs, &[Running], 29), "Open");
    assert_eq!(judge(Behaviour::Runs, &[Running], 30), "Settled");
    assert_eq!(judge(Behaviour::Healthy, &[Running, sick(), healthy(29)], 29), "Open");
    assert_eq!(judge(Behaviour::Healthy, &[Running, sick(), healthy(30)], 30), "Settled");
}

#[test]
fn the_last_health_check_begins_when_the_time_is_over_and_its_end_is_waited_for() {
    use AppEvent::Running;
    let web = Behaviour::Healthy;
    let well = [Running, healthy(28), healthy(29)];
    assert_eq!(judge(web, &well, 30), "Open", "the next one may be under way and hang");
    assert_eq!(judge(web, &well, 89), "Open");
    let silent = "web 1 has a health check that said nothing when its time was over";
    assert_eq!(judge(web, &well, 90), silent);
    assert_eq!(judge(web, &[Running], 89), "Open");
    assert_eq!(judge(web, &[Running], 90), silent);
    let hung = [Running, healthy(29), AppEvent::Unhealthy { reason: "it took too long".into() }];
    assert_eq!(judge(web, &hung, 40), "web 1 became unhealthy: it took too long");
    assert_eq!(judge(web, &[Running, healthy(29), healthy(31)], 41), "Settled");
}

#[test]
fn the_watch_wakes_at_the_end_and_once_more_for_the_last_checks() {
    let mut watch = Watch::default();
    watch.begin(Timestamp::ZERO, Duration::from_secs(30));
    assert_eq!(watch.wakeup(), Some(Timestamp::from_secs(30)));
    watch.wait_on(Timestamp::from_secs(29));
    assert_eq!(watch.wakeup(), Some(Timestamp::from_secs(30)));
    watch.wait_on(Timestamp::from_secs(31));
    assert_eq!(watch.wakeup(), Some(Timestamp::from_secs(90)));
}

#[test]
fn a_service_fails_when_it_ends_loses_its_health_or_never_had_it() {
    use AppEvent::Running;
    let web = Behaviour::Healthy;
    assert_eq!(judge(web, &[Running, healthy(0), sick(), healthy(1)], 1), "web 1 became unhealthy: no answer");
    assert_eq!(judge(web, &[Running, sick()], 29), "Open");
    assert_eq!(judge(web, &[Running, sick()], 30), "web 1 was never healthy: no answer");
    assert_eq!(judge(Behaviour::Runs, &[], 89), "Open", "nobody has looked yet");
    assert_eq!(judge(Behaviour::Runs, &[], 90), "web 1 did not start");
    assert_eq!(judge(Behaviour::Runs, &[Running], 31), "Settled");
    let killed = exit(ExitStatus::Signal(9));
    let again = [Running, killed, Running];
    assert_eq!(judge(Behaviour::Runs, &again, 1), "web 1 was ended by signal 9 during its probation");
    let ended = exit(ExitStatus::Code(0));
    assert_eq!(judge(Behaviour::Runs, &[ended], 1), "web 1 ended with exit status 0 during its probation");
}

#[test]
fn a_job_is_proven_by_exit_status_0_in_time() {
    use AppEvent::Running;
    let job = Behaviour::JobDone;
    assert_eq!(judge(job, &[Running], 29), "Open");
    assert_eq!(judge(job, &[Running, exit(ExitStatus::Code(0))], 1), "Settled");
    assert_eq!(judge(job, &[Running], 30), "web 1 is a job and had not ended when its time was over");
    let failed = exit(ExitStatus::Code(2));
    assert_eq!(judge(job, &[failed], 1), "web 1 ended with exit status 2 during its probation");
}

#[test]
fn what_must_say_that_it_is_well_is_proven_by_its_first_word_and_by_staying() {
    use AppEvent::{Running, SaysWell};
    let failed = || AppEvent::SaysFailed { reason: "exit-code exited 3".into() };
    let web = Behaviour::Says;
    assert_eq!(judge(web, &[SaysWell, Running], 29), "Open");
    assert_eq!(judge(web, &[SaysWell, Running, failed()], 30), "Settled", "the first word counts");
    assert_eq!(judge(web, &[Running], 29), "Open");
    assert_eq!(judge(web, &[Running], 30), "web 1 said nothing on its notify socket before its time was over");
    assert_eq!(judge(web, &[Running, failed(), SaysWell], 1), "web 1 says of itself: exit-code exited 3");
    let died = exit(ExitStatus::Code(3));
    assert_eq!(judge(web, &[Running, SaysWell, died], 9), "web 1 ended with exit status 3 during its probation");
    assert_eq!(judge(Behaviour::Runs, &[Running, failed()], 30), "Settled", "nobody asked it");
}

#[test]
fn what_cannot_be_asked_is_neither_proven_nor_failed_until_it_can_but_not_for_ever() {
    use AppEvent::{Asked, Running};
    let unasked = || AppEvent::Unasked { reason: "no bus".into() };
    for (behaviour, events) in [
        (Behaviour::Healthy, &[Running, healthy(4), unasked()][..]),
        (Behaviour::Healthy, &[Running, sick(), unasked()]),
        (Behaviour::Healthy, &[unasked()]),
        (Behaviour::Runs, &[Running, unasked()]),
        (Behaviour::JobDone, &[Running, unasked()]),
        (Behaviour::Says, &[Running, unasked()]),
    ] {
        for secs in [6, 30, 90, 904] {
            assert_eq!(judge(behaviour, events, secs), "Open", "{behaviour:?} after {secs} s");
        }
        let told = judge(behaviour, events, 905);
        assert_eq!(told, "web 1 could not be asked for 15 minutes how it is: no bus", "{behaviour:?}");
    }
    // Its answers come before the word that it answers.
    let web = Behaviour::Healthy;
    assert_eq!(judge(web, &[Running, healthy(4), unasked(), healthy(500), Asked], 501), "Settled");
    assert_eq!(judge(web, &[Running, unasked(), sick(), Asked], 501), "web 1 was never healthy: no answer");
    assert_eq!(judge(Behaviour::Runs, &[unasked(), Running, Asked], 501), "Settled");
    // What it said, it said.
    let died = exit(ExitStatus::Code(3));
    assert_eq!(judge(web, &[Running, died, unasked()], 6), "web 1 ended with exit status 3 during its probation");
    assert_eq!(judge(web, &[healthy(1), sick(), unasked()], 6), "web 1 became unhealthy: no answer");
}

#[test]
fn the_watch_wakes_for_what_cannot_be_asked_and_never_in_the_past() {
    let mut watch = Watch::default();
    watch.begin(Timestamp::ZERO, Duration::from_secs(30));
    watch.note(&name("web"), AppEvent::Unasked { reason: "no bus".into() }, Timestamp::from_secs(5));
    for (now, wakeup) in [(6, Some(30)), (31, Some(90)), (91, Some(905)), (905, Some(30 + 7200)), (30 + 7200, None)] {
        watch.wait_on(Timestamp::from_secs(now));
        assert_eq!(watch.wakeup(), wakeup.map(Timestamp::from_secs), "at {now} s");
    }
}
