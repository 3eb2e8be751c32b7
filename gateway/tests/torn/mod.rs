//! Files that a power cut tore in the middle of a write, byte by byte.

use super::site::{Site, report, sealed};
use fullmetal::identity::Usage;
use fullmetal_proto::Digest;
use fullmetal_proto::dispatch::State;
use fullmetal_proto::wire::{Announcement, open};
use std::fs;
use std::path::PathBuf;

fn log(site: &Site) -> PathBuf {
    site.path("var/lib/fullmetal/gateway/audit.jsonl")
}

/// Starts the gateway; gives what it said until it was killed.
fn started(site: &mut Site, meanwhile: impl FnOnce(&Site)) -> String {
    let said = site.path("said");
    let file = fs::File::create(&said).unwrap();
    let mut command = site.command(&["run", "--settle", "0"]);
    let hellos = site.peer.with(|s| s.hellos);
    site.spawn(command.stdout(file.try_clone().unwrap()).stderr(file));
    site.peer.wait("the gateway", |s| (s.hellos > hellos).then_some(()));
    meanwhile(site);
    site.kill();
    fs::read_to_string(said).unwrap()
}

/// A site whose gateway was killed when its last audit line was synced, and not yet known to be: a power cut a moment
/// earlier leaves any part of that line. Also gives the log.
fn killed_after_a_line() -> (Site, String) {
    loop {
        let mut site = Site::new();
        site.publish("2");
        site.start();
        site.deploy_web("[\"press-1\"]").expect(0, &[]);
        site.kill();
        let audit = fs::read_to_string(log(&site)).unwrap();
        let state = State::decode(&fs::read(site.path("var/lib/fullmetal/gateway/state")).unwrap()).unwrap();
        // Within a second; a machine that is busy may take longer.
        if state.outbox.contains_key(&(audit.lines().count() as u64)) {
            return (site, audit);
        }
    }
}

#[test]
fn a_line_of_the_audit_log_torn_anywhere_is_written_anew_and_no_other_is_touched() {
    let (mut site, whole) = killed_after_a_line();
    let state = fs::read(site.path("var/lib/fullmetal/gateway/state")).unwrap();
    let last = whole[..whole.len() - 1].rfind('\n').unwrap() + 1;
    // A file system may have made room for what was never written.
    let cuts = (last..whole.len()).map(|at| whole.as_bytes()[..at].to_vec());
    let with_hole = [&whole.as_bytes()[..last], &[0; 100]].concat();
    for torn in cuts.chain([with_hole]) {
        fs::write(log(&site), &torn).unwrap();
        fs::write(site.path("var/lib/fullmetal/gateway/state"), &state).unwrap();
        let said = started(&mut site, |site| {
            site.peer.wait("the line", |_| fs::read(log(site)).unwrap().starts_with(whole.as_bytes()).then_some(()));
        });
        assert_eq!(
            said.contains("ends with a torn line"),
            torn.len() > last,
            "torn after {} bytes: {said}",
            torn.len()
        );
    }
}

#[test]
fn a_spooled_report_torn_anywhere_is_named_and_taken_again() {
    let mut site = Site::new();
    site.publish("2");
    site.start();
    site.deploy_web("[\"press-1\"]").expect(0, &[]);
    site.kill();
    let newest = open::<Announcement>(site.peer.with(|s| s.announced.last().cloned()).unwrap().as_slice()).unwrap();
    let (key, certificate) = site.agent("press-1", Usage::Agent);
    let spool = site.path("var/lib/fullmetal/gateway/spool");
    let bundle = Digest::of(&newest.document.bundles[0]);
    for (counter, part) in (1..).zip([0, 1, 7, 100, 500]) {
        let whole = sealed(&report("press-1", counter, 1, Some(bundle), &certificate), &key);
        let file = spool.join(format!("press-1@{counter}"));
        fs::write(&file, &whole[..part]).unwrap();
        fs::write(spool.join(".tmp-killed"), &whole[..part]).unwrap();
        let said = started(&mut site, |site| {
            site.peer.report(whole);
            let mine = |r: &fullmetal_proto::wire::Receipt| r.counter == counter;
            site.peer.wait("a receipt", |s| s.receipts.iter().any(mine).then_some(()));
        });
        let named = said.lines().any(|l| l.contains("cannot be read") && l.contains(&format!("press-1@{counter}")));
        assert!(named && !spool.join(".tmp-killed").exists(), "{said}");
        let reports = site.audit().into_iter().filter(|l| l["report"]["counter"] == counter).count();
        assert_eq!(reports, 1, "reports {counter}");
    }
}
