//! What `fullmetal publish --hawkbit` makes is what the gateway deploys.

use super::super::site::{OS_REF, REF};
use super::site;
use crate::offered::{login, module, wish};
use fullmetal::hawkbit::{Assignment, HawkbitError, Kind, Rollout, Server, offer};
use fullmetal_proto::wire::{Mode, PartKind, ReportState};

#[test]
fn what_was_made_known_is_deployed_and_making_it_known_again_changes_nothing() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let server = Server { url: hawkbit.url().parse().unwrap(), login: login(site.dir.path(), "admin:admin"), ca: None };
    let mut wish = wish(&hawkbit.device("web"), REF, commit);
    wish.assignment = Some(Assignment { devices: vec![device.name.parse().unwrap()], kind: Kind::Soft });
    let first = offer(&server, &wish).unwrap();
    let [action] = first.actions[..] else { panic!("{first:?}") };
    let told = device.told(&site, action, Mode::WhenIdle);
    assert_eq!(told.what.parts[0].commit, commit);
    let again = offer(&server, &wish).unwrap();
    assert!(again.unchanged || again.already_assigned == 1, "{again:?}");
    assert_eq!((again.module, again.set, again.actions.len()), (first.module, first.set, 0));
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn an_operating_system_and_an_app_that_were_made_known_one_after_the_other_are_deployed_together() {
    let (site, hawkbit, web, device) = site("ask");
    let os = site.publish_os("2026.11");
    let server = Server { url: hawkbit.url().parse().unwrap(), login: login(site.dir.path(), "admin:admin"), ca: None };
    let mut floor = wish(&hawkbit.device("floor"), OS_REF, os);
    floor.module.kind = PartKind::Os;
    let first = offer(&server, &floor).unwrap();
    let mut app = wish(&hawkbit.device("web"), REF, web);
    app.set = floor.set.clone();
    app.assignment = Some(Assignment { devices: vec![device.name.parse().unwrap()], kind: Kind::Forced });
    let both = offer(&server, &app).unwrap();
    assert_eq!(both.set, first.set);
    let parts = device.told(&site, both.actions[0], Mode::Now).what.parts;
    let parts: Vec<_> = parts.iter().map(|p| (p.kind, p.commit)).collect();
    assert_eq!(parts, [(PartKind::App, web), (PartKind::Os, os)]);
    // A set that began with an app has no place for one.
    app.set = Some(app.module.named.clone());
    app.assignment = None;
    offer(&server, &app).unwrap();
    floor.set = app.set;
    assert!(matches!(offer(&server, &floor), Err(HawkbitError::SetOfApps { .. })));
}

#[test]
fn a_rollout_that_was_made_known_begins_and_is_not_begun_again() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let server = Server { url: hawkbit.url().parse().unwrap(), login: login(site.dir.path(), "admin:admin"), ca: None };
    let mut wish = wish(&hawkbit.device("web"), REF, commit);
    wish.module = module(&wish.module.named.name, "7", REF, commit);
    wish.rollout = Some(Rollout {
        name: hawkbit.device("all"),
        query: format!("name=={}", device.name),
        groups: 1,
        kind: Kind::Forced,
        success_percent: 100,
        error_percent: 50,
        start: true,
    });
    let first = offer(&server, &wish).unwrap();
    let row = hawkbit.until("the row of the rollout", || device.row(&site));
    device.told(&site, row.action, Mode::Now);
    assert_eq!(offer(&server, &wish).unwrap().rollout, first.rollout);
    device.report(&site, row.action, ReportState::Succeeded);
    hawkbit.wait(&device.name, row.action, "finished", &["succeeded"]);
    hawkbit.rollout_is(first.rollout.unwrap(), "finished");
    assert_eq!(offer(&server, &wish).unwrap().rollout, first.rollout);
}
