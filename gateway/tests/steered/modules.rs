//! What a distribution set may hold, and what becomes of what it may not.

use super::super::site::hawkbit::Hawkbit;
use super::super::site::operator::Module;
use super::super::site::{OS_REF, REF, Site, commit};
use super::{Device, site};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{Mode, PartKind, PartState, Proof, ReportState, StartOptions, Trust};

const SHOP: &str = "apps/shop/x86_64";

#[test]
fn several_modules_are_one_bundle() {
    let (site, hawkbit, web, mut device) = site("ask");
    let shop = site.publish_at(SHOP, "7");
    let (web_text, shop_text) = (web.to_string(), shop.to_string());
    let modules = [
        Module("the web", "application", &[("fullmetal.ref", REF), ("fullmetal.commit", &web_text)]),
        Module("the shop", "application", &[("fullmetal.ref", SHOP), ("fullmetal.commit", &shop_text)]),
    ];
    let action = hawkbit.assign(hawkbit.set("both", "app", &modules), &device.name, "forced");
    let told = device.told(&site, action, Mode::Now);
    let parts: Vec<_> = told.what.parts.iter().map(|p| (p.ref_name.as_str(), p.name.as_str(), p.commit)).collect();
    assert_eq!(parts, [(SHOP, "shop", shop), (REF, "web", web)]);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn what_cannot_be_installed_fails_with_what_to_do() {
    let (site, hawkbit, _, device) = site("ask");
    let bare = hawkbit.set("bare", "app", &[Module(REF, "application", &[])]);
    refused(&site, &hawkbit, &device, bare, &["names no commit", "fullmetal.commit"]);
    let nowhere = hawkbit.release("nowhere", &Digest::of(b"nowhere"));
    refused(&site, &hawkbit, &device, nowhere, &["central has no commit"]);
    site.deploy_web("[\"a\"]").expect(1, &["decisions come from Hawkbit"]);
}

#[test]
fn an_operating_system_comes_with_apps_and_is_shown_beside_them() {
    let (site, hawkbit, web, mut device) = site("ask");
    let os = site.publish_os("2026.11");
    let (web_text, os_text) = (web.to_string(), os.to_string());
    let web_metadata = [("fullmetal.ref", REF), ("fullmetal.commit", web_text.as_str())];
    let os_metadata = [("fullmetal.ref", OS_REF), ("fullmetal.commit", os_text.as_str())];
    let wrong = hawkbit.set("wrong", "app", &[Module("floor", "application", &os_metadata)]);
    refused(&site, &hawkbit, &device, wrong, &["is an operating system, not an app", "the type \"os\""]);
    let leaves = [("fullmetal.name", "floor"), ("autoremove", "1")];
    let leaves = hawkbit.set("leaves", "os", &[Module("floor", "os", &leaves)]);
    refused(&site, &hawkbit, &device, leaves, &["can only be followed by another one"]);
    let modules = [Module("the web", "application", &web_metadata), Module("the floor", "os", &os_metadata)];
    let action = hawkbit.assign(hawkbit.set("whole", "os_app", &modules), &device.name, "forced");
    let parts = device.told(&site, action, Mode::Now).what.parts;
    let parts: Vec<_> = parts.iter().map(|p| (p.kind, p.name.as_str(), p.commit)).collect();
    assert_eq!(parts, [(PartKind::App, "web", web), (PartKind::Os, "floor", os)]);
    device.report_with(&site, action, ReportState::Succeeded, |report| {
        let state = |kind, name: &str, version: &str, commit| PartState {
            kind,
            name: name.parse().unwrap(),
            version: version.into(),
            commit,
        };
        report.parts = vec![state(PartKind::Os, "floor", "2026.11", os), state(PartKind::App, "web", "2", web)];
    });
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    let path = format!("/rest/v1/targets/{}/attributes", device.name);
    let read = || hawkbit.operate("GET", &path, &serde_json::Value::Null);
    let shown = hawkbit.until("the attributes", || Some(read()).filter(|a| a["os"].is_string()));
    assert_eq!(shown["os"], format!("floor 2026.11 ({os})"));
    assert_eq!(shown["app.web"], format!("2 ({web})"));
    let text = site.run(&["status"]).out;
    assert!(text.contains("os floor 2026.11, web 2"), "{text}");
}

#[test]
fn a_set_with_a_foreign_type_is_refused_whole() {
    let (site, hawkbit, web, mut device) = site("ask");
    let text = web.to_string();
    let metadata = [("fullmetal.ref", REF), ("fullmetal.commit", text.as_str())];
    let web = || Module("the web", "application", &metadata);
    let kind = hawkbit.kind("firmware");
    let mixed = hawkbit.set("mixed", &kind, &[web(), Module("radio", &kind, &metadata)]);
    let words = ["software module \"radio\" has the type", &kind, "only modules of the types \"os\" and"];
    refused(&site, &hawkbit, &device, mixed, &words);
    let alone = hawkbit.set("alone", &kind, &[web()]);
    let action = hawkbit.assign(alone, &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn modules_of_fullmetalupdate_work_as_they_are() {
    let mut site = Site::new();
    // Its commits are bound to no ref and signed by nobody; the fleet's trust file lets that be.
    let unsigned_refs = vec!["hello-world".into(), "fullmetalupdate-os".into()];
    let trust = Trust { version: 2, unsigned_refs, ..site.trust() };
    site.install("trust", &trust);
    let os = site.put_at("fullmetalupdate-os", &commit(&["fullmetalupdate-os"], "1", &[]), None, true);
    let rev = site.put_at("hello-world", &commit(&[], "1", &[]), None, true);
    let hawkbit = Hawkbit::at(&site, "ask");
    site.start();
    let mut device = Device::heard(&site, &hawkbit, "press-1");
    let rev_text = rev.to_string();
    let metadata = [
        ("rev", rev_text.as_str()),
        ("autostart", "0"),
        ("autoremove", "0"),
        ("notify", "1"),
        ("timeout", "90"),
        ("screenused", "0"),
    ];
    let set = hawkbit.set("foreign", "app", &[Module("hello-world", "application", &metadata)]);
    let action = hawkbit.assign(set, &device.name, "forced");
    let part = device.told(&site, action, Mode::Now).what.parts.remove(0);
    assert_eq!((part.ref_name.as_str(), part.name.as_str(), part.commit), ("hello-world", "hello-world", rev));
    assert_eq!(part.start, StartOptions { autostart: false, job: false });
    assert_eq!(part.proof, Proof { notify: true, seconds: Some(90) });
    device.report(&site, action, ReportState::Accepted);
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);

    // Its class gives an operating system nothing but this.
    let metadata = [("rev", &os.to_string()[..])];
    let set = hawkbit.set("foreign-os", "os", &[Module("fullmetalupdate-os", "os", &metadata)]);
    let action = hawkbit.assign(set, &device.name, "forced");
    let part = device.told(&site, action, Mode::Now).what.parts.remove(0);
    assert_eq!((part.kind, part.ref_name.as_str(), part.commit), (PartKind::Os, "fullmetalupdate-os", os));
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);

    // Central need not have the commit of what leaves any more.
    let gone = Digest::of(b"gone").to_string();
    for (name, key) in [("removed", "autoremove"), ("misspelt", "autoremoved")] {
        let metadata = [("rev", gone.as_str()), (key, "1")];
        let set = hawkbit.set(name, "app", &[Module("hello-world", "application", &metadata)]);
        let action = hawkbit.assign(set, &device.name, "forced");
        let what = device.told(&site, action, Mode::Now).what;
        assert_eq!((what.parts.len(), what.removed[0].as_str()), (0, "hello-world"));
        device.report(&site, action, ReportState::Succeeded);
        hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    }
}

#[test]
fn a_set_may_bring_one_app_and_remove_another_but_not_for_devices_that_are_too_old_for_that() {
    let (site, hawkbit, web, mut device) = site("ask");
    let web = web.to_string();
    let modules = [
        Module("the web", "application", &[("fullmetal.ref", REF), ("fullmetal.commit", &web)]),
        Module("old", "application", &[("autoremove", "1")]),
    ];
    let set = hawkbit.set("both", "app", &modules);
    let action = hawkbit.assign(set, &device.name, "forced");
    let what = device.told(&site, action, Mode::Now).what;
    assert_eq!((what.parts[0].name.as_str(), what.removed[0].as_str()), ("web", "old"));
    device.report_with(&site, action, ReportState::Succeeded, |report| report.bundle_major = 0);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    let alone = hawkbit.set("alone", "app", &[Module("older", "application", &[("autoremove", "1")])]);
    let action = hawkbit.assign(alone, &device.name, "forced");
    hawkbit.wait(&device.name, action, "error", &["too old to remove apps", "(agent 0.1.0)", "update Fullmetal there"]);
    assert_ne!(device.row(&site).unwrap().action, action, "nothing was announced for it");
}

/// The set ends in failure with these words, and nobody was told to install it.
fn refused(site: &Site, hawkbit: &Hawkbit, device: &Device, set: u64, words: &[&str]) {
    let action = hawkbit.assign(set, &device.name, "forced");
    hawkbit.wait(&device.name, action, "error", words);
    assert!(device.row(site).is_none(), "nothing was announced");
}
