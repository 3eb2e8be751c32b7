//! The gateway program at a site: real processes, the real local socket, a peer played by a thread.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod offered;
mod operations;
mod plain;
mod sick;
#[allow(dead_code, reason = "shared with power_loss")]
mod site;
mod steered;
mod torn;

use fullmetal::identity::{Usage, issue_ca, issue_member, new_key, save_key};
use fullmetal_proto::wire::local::{CentralObject, FromPeer, ToPeer};
use fullmetal_proto::wire::{Announcement, Hint, Mode, PartKind, PublicKey, Revocations, Trust, open, seal};
use fullmetal_proto::{Bitmap, Digest};
use site::{OS_REF, REF, Site, commit, commitmeta, fleet, manifest, now, report, sealed};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

fn announcements(site: &Site) -> Vec<Announcement> {
    site.peer.with(|s| s.announced.iter().map(|b| open::<Announcement>(b).unwrap().document).collect())
}

/// The digest of the bundle in the newest announcement's first row.
fn bundle(site: &Site) -> Digest {
    let newest = announcements(site).pop().unwrap();
    Digest::of(&newest.bundles[usize::from(newest.rows[0].1)])
}

#[test]
fn a_decision_is_announced_and_what_devices_report_is_kept_and_acknowledged() {
    let mut site = Site::new();
    let commit = site.publish("2");
    site.start();
    let ran = site.deploy_web("[\"press-1\", \"press-2\"]");
    assert_eq!((ran.code, ran.out.as_str()), (0, "action 1: announced (1.1); never heard of yet: press-1, press-2\n"));

    let newest = site.peer.wait("the announcement", |s| s.newest.clone());
    let opened = open::<Announcement>(&newest.1).unwrap();
    assert_eq!(opened.envelope.signers([&PublicKey::of(&site.gateway)]).len(), 1);
    let row = opened.document.row(&"press-2".parse().unwrap()).unwrap();
    assert_eq!((row.2, row.3), (1, Mode::Now));
    let part = opened.document.bundle(row).unwrap().document.parts.remove(0);
    assert_eq!((part.name.as_str(), part.version.as_str(), part.commit), ("web", "2", commit));
    let want = ToPeer::Want { manifest: part.manifest.clone(), commit, need: Bitmap::default() };
    let retain = ToPeer::Retain { manifests: vec![part.manifest.sha256] };
    let blob = ToPeer::Blob { blob: part.commit_object, central: CentralObject::Commit(commit) };
    for message in [want, retain, blob] {
        site.peer.wait("what devices will ask for", |s| s.told.contains(&message).then_some(()));
    }

    let (key, certificate) = site.agent("press-1", Usage::Agent);
    let envelope = sealed(&report("press-1", 1, 1, Some(bundle(&site)), &certificate), &key);
    site.peer.report(envelope.clone());
    let receipt = site.peer.wait("a receipt", |s| s.receipts.first().cloned());
    assert_eq!((receipt.device.as_str(), receipt.counter), ("press-1", 1));
    site.peer.report(envelope);
    site.peer.say(&FromPeer::Heard(vec![("press-2".parse().unwrap(), 3)]), None);
    let status = site.until("press-2", |s| s["devices"]["press-2"]["heard_s"].as_u64() >= Some(3));
    let device = &status["devices"]["press-1"]["progress"];
    assert_eq!((&device["state"], &device["bytes_from_peers"]), (&"succeeded".into(), &700.into()));
    let text = site.run(&["status"]).out;
    assert!(text.contains("the gateway runs; announcement 1.1") && text.contains("1 announced, 1 succeeded"), "{text}");
    let reports = site.audit().iter().filter(|l| l.get("report").is_some()).count();
    assert_eq!(reports, 1, "a report that comes twice counts once");
}

#[test]
fn what_devices_would_refuse_is_refused_at_once_with_what_to_do() {
    let mut site = Site::new();
    site.start();
    site.deploy_web("[\"a\"]").expect(1, &["refused: central has no ref apps/web/x86_64", "fullmetal publish"]);
    let good = commit(&[REF], "1", &[]);
    let signed = commitmeta(&good, &site.build);
    let id = site.put(&good, None, true);
    site.deploy_web("[\"a\"]").expect(1, &["signed by 0 of the 1 build keys", &format!("publish --commit {id}")]);
    site.put(&good, Some(commitmeta(&good, &new_key())), true);
    site.deploy_web("[\"a\"]").expect(1, &["signed by 0 of the 1 build keys"]);
    site.put(&good, Some(signed.clone()), true);
    site.peer.with(|s| s.central.remove(&CentralObject::Manifest(id)));
    let root = Digest([1; 32]);
    site.deploy_web("[\"a\"]").expect(1, &[&format!("central lacks directory {root} of commit {id}"), "ostree fsck"]);
    site.run(&["withdraw", "4"]).expect(0, &[]);
    site.peer.with(|s| s.central.insert(CentralObject::Manifest(id), manifest(Digest::of(b"x"))));
    site.deploy_web("[\"a\"]").expect(1, &["the repo is damaged"]);
    site.peer.with(|s| s.central.insert(CentralObject::Commit(id), b"other".to_vec()));
    site.deploy_web("[\"a\"]").expect(1, &["has another hash"]);
    let other = commit(&["apps/shop/x86_64"], "1", &[]);
    site.put(&other, Some(commitmeta(&other, &site.build)), true);
    site.deploy_web("[\"a\"]").expect(1, &["is bound to apps/shop/x86_64, not to ref apps/web/x86_64"]);
    let unknown = Digest::of(b"nowhere");
    site.deploy(&format!("devices = [\"a\"]\n[[part]]\nref = \"{REF}\"\ncommit = \"{unknown}\"\n"))
        .expect(1, &[&format!("central has no commit {unknown}")]);
    site.put(b"rubbish", None, true);
    assert_eq!(site.deploy_web("[\"a\"]").code, 1);
    site.deploy_web("\"all\"").expect(1, &["no device is known yet"]);
    site.run(&["withdraw", "99"]).expect(1, &["there is no action 99"]);
    site.deploy("devices = \"all\"\nmoed = \"now\"\n").expect(2, &["decision.toml: line 2", "moed"]);
    assert!(announcements(&site).is_empty(), "nothing was announced");
}

#[test]
fn a_commit_of_other_tools_that_the_fleet_signed_is_announced_without_a_binding() {
    let mut site = Site::new();
    site.start();
    let foreign = commit(&[], "1", &[]);
    site.put(&foreign, None, true);
    site.deploy_web("[\"a\"]").expect(1, &["signed by 0 of the 1 build keys"]);
    site.put(&foreign, Some(commitmeta(&foreign, &site.build)), true);
    site.deploy_web("[\"a\"]").expect(0, &[]);
    site.peer.wait("the announcement", |s| s.newest.clone());
    assert_eq!(announcements(&site).len(), 1);
}

#[test]
fn a_decision_brings_an_operating_system_and_none_as_an_app() {
    let mut site = Site::new();
    let commit = site.publish_os("2026.11");
    site.start();
    let decision = |kind: &str| format!("devices = [\"a\"]\n[[part]]\nref = \"{OS_REF}\"\n{kind}");
    let words = ["refused", &commit.to_string(), "is an operating system, not an app; say so: kind = \"os\""];
    site.deploy(&decision("")).expect(1, &words);
    site.deploy(&decision("kind = \"os\"\n")).expect(0, &[]);
    let newest = announcements(&site).pop().unwrap();
    let part = newest.bundle(&newest.rows[0]).unwrap().document.parts.remove(0);
    assert_eq!((part.kind, part.name.as_str(), part.version.as_str()), (PartKind::Os, "floor", "2026.11"));
    assert!(site.run(&["status"]).out.contains("os floor 2026.11"), "{}", site.run(&["status"]).out);
}

#[test]
fn with_central_out_of_reach_an_action_waits_and_says_so() {
    let mut site = Site::new();
    site.publish("1");
    site.peer.with(|s| s.central_down = true);
    site.start();
    let words = ["action 1: nothing is announced yet", "central is out of reach", "withdraw 1"];
    site.deploy_web("[\"press-1\"]").expect(1, &words);
    assert!(announcements(&site).is_empty());
    assert!(site.run(&["status"]).out.contains("\n    central is out of reach: connection refused\n"));
    site.kill();
    site.peer.with(|s| s.central_down = false);
    site.start();
    site.peer.wait("the announcement", |s| s.newest.clone());
    assert_eq!(announcements(&site)[0].rows.len(), 1);
}

#[test]
fn a_gateway_that_was_killed_goes_on_where_it_was() {
    let mut site = Site::new();
    site.publish("1");
    site.start();
    assert_eq!(site.deploy_web("[\"press-1\"]").code, 0);
    let (key, certificate) = site.agent("press-1", Usage::Agent);
    let digest = bundle(&site);
    site.peer.report(sealed(&report("press-1", 1, 1, Some(digest), &certificate), &key));
    site.peer.wait("a receipt", |s| s.receipts.first().cloned());
    site.kill();
    let kept = site.run(&["status"]);
    assert!(kept.out.contains("does not run; this is what it kept"), "{}", kept.out);
    site.deploy_web("[\"press-1\"]").expect(1, &["start it with `fullmetal-gateway run`"]);

    site.start();
    site.peer.wait("the same again", |s| (s.announced.len() == 2).then_some(()));
    site.peer.with(|s| assert_eq!(s.announced[0], s.announced[1]));
    site.peer.report(sealed(&report("press-1", 1, 1, Some(digest), &certificate), &key));
    site.peer.wait("a receipt again", |s| (s.receipts.len() >= 2).then_some(()));
    assert_eq!(site.status()["devices"]["press-1"]["progress"]["state"], "succeeded");
    site.peer.hang_up();
    site.peer.wait("and again at connect", |s| (s.announced.len() == 3).then_some(()));
    assert_eq!(site.run(&["withdraw", "1"]).code, 0);
    assert_eq!(site.deploy_web("[\"press-2\"]").code, 0);
    assert_eq!(announcements(&site).last().unwrap().rows.len(), 1, "a finished and withdrawn row goes");
    let audit = site.audit();
    let ids: Vec<u64> = audit.iter().filter_map(|l| l["entry"].as_u64()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "each line once, in order");
    assert_eq!(audit.iter().filter(|l| l.get("report").is_some()).count(), 1);
}

#[test]
fn reports_that_do_not_prove_their_device_are_refused() {
    let mut site = Site::new();
    site.start();
    let (key, certificate) = site.agent("press-1", Usage::Agent);
    let (peer_key, peer_certificate) = site.agent("press-1", Usage::Peer);
    let foreign_ca = new_key();
    let ca = issue_ca(&fleet(), &foreign_ca).unwrap();
    let subject = (&fleet(), &"press-1".parse().unwrap());
    let foreign = issue_member((&ca, &foreign_ca), subject, &PublicKey::of(&key), Usage::Agent, now()).unwrap();
    let mut tampered = sealed(&report("press-1", 4, 0, None, &certificate), &key);
    let at = tampered.windows(10).position(|w| w == b"elapsed_ms").unwrap() + 12;
    tampered[at] ^= 1;
    let cases = [
        (
            "of press-2 comes with the certificate of press-1",
            sealed(&report("press-2", 1, 0, None, &certificate), &key),
        ),
        ("not signed by the key", sealed(&report("press-1", 2, 0, None, &certificate), &new_key())),
        ("certificate refused", sealed(&report("press-1", 3, 0, None, &foreign), &key)),
        ("certificate refused", sealed(&report("press-1", 3, 0, None, &peer_certificate), &peer_key)),
        ("certificate refused", sealed(&report("press-1", 3, 0, None, b""), &key)),
        ("not signed by the key", tampered),
        ("a report was refused", b"no envelope".to_vec()),
    ];
    for (words, envelope) in cases {
        site.peer.report(envelope);
        site.peer.say(&FromPeer::Heard(vec![]), None);
        site.until(words, |s| s["trouble"].to_string().contains(words));
    }
    assert_eq!(std::fs::read_dir(site.path("var/lib/fullmetal/gateway/spool")).unwrap().count(), 0);
    site.peer.report(sealed(&report("press-1", 1, 0, None, &certificate), &key));
    let receipt = site.peer.wait("the receipt of a good one", |s| s.receipts.first().cloned());
    assert_eq!((receipt.device.as_str(), receipt.counter), ("press-1", 1), "one that proves nothing got a receipt");
}

fn foreign(site: &Site, counter: u64) -> (Hint, Vec<u8>) {
    let a = Announcement {
        fleet: fleet(),
        epoch: 1,
        counter,
        issued: now(),
        expires: now().after(std::time::Duration::from_secs(1000)),
        bundles: vec![],
        rows: vec![],
    };
    let bytes = seal(&a, &[&site.gateway]).unwrap();
    (Hint { epoch: 1, counter, digest: Digest::of(&bytes), length: bytes.len() as u32 }, bytes)
}

#[test]
fn a_new_gateway_learns_the_counter_and_two_gateways_stop() {
    let mut site = Site::new();
    site.publish("1");
    let old = foreign(&site, 41);
    site.peer.with(|s| s.newest = Some(old));
    site.start_settling("1");
    assert_eq!(site.deploy_web("[\"press-1\"]").out.split(';').next(), Some("action 1: announced (1.42)"));
    let (hint, bytes) = foreign(&site, 42);
    let mut unsigned = open::<Announcement>(&bytes).unwrap().envelope;
    unsigned.signatures.clear();
    site.peer.say(&FromPeer::Announcement(hint), Some(&unsigned.encode()));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(site.status()["alarm_text"], "", "an unsigned one proves nothing");
    site.peer.say(&FromPeer::Announcement(hint), Some(&bytes));
    site.until("the alarm", |s| s["alarm_text"] != "");
    site.deploy_web("[\"press-1\"]").expect(1, &["1.42 exists with other content", "fullmetal-gateway resume"]);
    assert!(site.run(&["status"]).out.contains("ALARM: announcement 1.42"));
    assert_eq!(site.run(&["resume"]).code, 0);
    site.peer.wait("the next counter", |s| s.newest.clone().filter(|n| n.0.counter == 43));
}

#[test]
fn a_gateway_that_cannot_work_says_why_and_ends() {
    let mut site = Site::new();
    site.start();
    site.run(&["run"]).expect(1, &["another gateway runs on"]);
    site.kill();
    let key = site.path("etc/fullmetal/gateway.key");
    std::fs::remove_file(&key).unwrap();
    site.run(&["run"]).expect(2, &["gateway.key"]);
    save_key(&key, &new_key()).unwrap();
    site.run(&["run"]).expect(2, &["is not in the gateway role of trust file version 1"]);
    let config = site.path("etc/fullmetal/fullmetal.toml");
    std::fs::write(&config, "[device]\nid = \"gateway\"\nfleet = \"other\"\n").unwrap();
    site.run(&["run"]).expect(2, &["[device] fleet = \"other\" is not fleet plant", "fullmetal.toml"]);
    std::fs::write(&config, "[gatewya]\n").unwrap();
    site.run(&["run"]).expect(2, &["fullmetal.toml: line 1", "gatewya"]);
    assert_eq!(site.run(&["deploy"]).code, 2);
    site.run(&["deploy", "/nowhere.toml"]).expect(2, &["reading /nowhere.toml"]);
}

#[test]
fn a_running_gateway_follows_a_newer_trust_file_and_ends_when_its_key_is_revoked() {
    let mut site = Site::new();
    site.publish("1");
    site.start();
    site.deploy_web("[\"press-1\"]").expect(0, &[]);
    let next = Trust { version: 2, epoch: 2, ..site.trust() };
    site.install("trust", &next);
    site.peer.wait("an announcement of the new epoch", |s| {
        let newest = open::<Announcement>(s.announced.last()?).unwrap().document;
        (newest.rank() == (2, 1) && newest.rows.len() == 1).then_some(())
    });
    let (report_key, certificate) = site.agent("press-1", Usage::Agent);
    let mut revoked = Revocations { version: 1, ..Revocations::none(&fleet()) };
    revoked.devices.insert("press-1".parse().unwrap());
    site.install("revocations", &revoked);
    let mut counter = 0;
    let refused = || site.status()["trouble"].as_str().unwrap().contains("revoked");
    while !refused() {
        assert!(counter < 600, "a revoked device's reports are still taken");
        counter += 1;
        let envelope = seal(&report("press-1", counter, 0, None, &certificate), &[&report_key]).unwrap();
        site.peer.report(envelope);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    revoked.version = 2;
    revoked.keys.insert(PublicKey::of(&site.gateway).id());
    site.install("revocations", &revoked);
    assert_eq!(site.ended(), 2);
}

/// Runs a command as a user who has nothing to do with the gateway.
fn as_nobody(site: &Site, args: &[&str]) -> site::Ran {
    let copy = site.path("fullmetal-gateway");
    std::fs::copy(env!("CARGO_BIN_EXE_fullmetal-gateway"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.arg("--root").arg(site.dir.path()).args(args).uid(65_534).gid(65_534).stdin(Stdio::null());
    site::Ran::of(command.output().unwrap())
}

#[test]
fn a_user_who_may_not_use_the_gateway_is_told_who_may() {
    let mut site = Site::new();
    site.start();
    let open = |path: &std::path::Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(site.dir.path(), 0o755);
    for args in [&["status"][..], &["withdraw", "1"]] {
        as_nobody(&site, args).expect(1, &["refused: user 65534 may not use this gateway; become root"]);
    }
    open(&site.path("run/fullmetal"), 0o700);
    as_nobody(&site, &["status"]).expect(1, &["connecting to", "gateway.sock: Permission denied", "become root"]);
    open(&site.path("run/fullmetal"), 0o755);
}

/// A name is durable when the directory that holds it was synced after it was made.
#[test]
fn what_a_gateway_makes_at_its_first_start_survives_a_power_cut() {
    let mut site = Site::new();
    let log = site.path("strace");
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-y", "-qq", "-e", "trace=openat,mkdir,mkdirat,fsync,fdatasync", "-o"]).arg(&log);
    traced
        .arg(env!("CARGO_BIN_EXE_fullmetal-gateway"))
        .arg("--root")
        .arg(site.dir.path())
        .args(["run", "--settle", "0"]);
    site.start_as(traced);
    site.kill();
    let dir = site.path("var/lib/fullmetal/gateway");
    let calls = std::fs::read_to_string(&log).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|line| !line.contains("= -1")).collect();
    for (made, how) in [("gateway", "mkdir"), ("spool", "mkdir"), ("audit.jsonl", "O_CREAT")] {
        let path = if made == "gateway" { dir.clone() } else { dir.join(made) };
        let quoted = format!("\"{}\"", path.display());
        let at = calls.iter().position(|line| line.contains(&quoted) && line.contains(how)).expect(made);
        let synced = format!("<{}>)", path.parent().unwrap().display());
        let after = calls[at..].iter().any(|line| line.contains("fsync(") && line.contains(&synced));
        assert!(after, "{made} is not durable: {calls:#?}");
    }
}
