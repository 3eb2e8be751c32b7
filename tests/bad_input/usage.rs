//! Commands that are called wrongly, or with files that are not what they should be.

use super::desk::Desk;
use super::said::run;
use std::path::Path;

#[test]
fn publishing_what_is_no_app_says_what_is_missing_and_writes_nothing() {
    let desk = Desk::new();
    let tree = desk.at("tree");
    std::fs::create_dir_all(Path::new(&tree).join("bin")).unwrap();
    let bad_key = desk.file("bad.key", "-----BEGIN RUBBISH-----\n");
    let run = desk.file("tree/bin/x", "#!");
    std::fs::set_permissions(run, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = desk.names();
    desk.publish(&[&tree, "--cmd", "/bin/y"]).fails(2, &["--cmd", "/bin/y does not exist", "config.json"]);
    let gateway = desk.at("keys/gateway.key");
    let repo = desk.at("repo");
    let wrong = ["publish", &tree, "--repo", &repo, "--ref", "apps/x", "--cmd", "x", "--key", &gateway];
    desk.fullmetal(&wrong).fails(2, &["may not sign apps/x", "keys/trust", "gateway key", "sign with build key"]);
    // Another fleet's trust file decides when it is given.
    desk.fullmetal(&["keys", "generate", "--fleet", "g", "--out", &desk.at("other/keys")]).succeeds();
    let theirs = desk.at("other/keys/trust");
    desk.publish(&[&tree, "--cmd", "x", "--trust", &theirs]).fails(2, &["no role", "other/keys/trust"]);
    let before = [before, vec!["other".into()]].concat();
    desk.publish(&[&tree]).fails(2, &[&tree, "no config.json", "give --cmd"]);
    desk.publish(&[&desk.at("nowhere"), "--cmd", "/bin/x"]).fails(1, &["opening", "nowhere", "No such file"]);
    desk.publish(&[&tree, "--cmd", "/bin/x", "--frame-size", "1K"]).fails(2, &["--frame-size", "64"]);
    desk.publish(&[&tree, "--cmd", "/bin/x", "--release", "many"]).fails(2, &["--release", "many"]);
    desk.publish(&["--commit", "apps/none"]).fails(1, &["repo"]);
    let unsigned = ["publish", &tree, "--repo", &desk.at("repo"), "--ref", "apps/x", "--cmd", "/bin/x"];
    desk.fullmetal(&unsigned).fails(2, &["--key", "--unsigned"]);
    let with = [&unsigned[..], &["--key", &bad_key]].concat();
    desk.fullmetal(&with).fails(2, &["bad.key", "build key"]);
    let mut now = desk.names();
    now.sort_by_key(|name| name == "other");
    assert_eq!(now, before, "something was written");
    // It is said who signed.
    desk.publish(&[&tree, "--cmd", "x"]).prints(&["signed by", "a build key of fleet f"]);
}

#[test]
fn keys_and_certificates_are_never_overwritten() {
    let desk = Desk::new();
    let trust = std::fs::read(desk.at("keys/trust")).unwrap();
    let again = desk.fullmetal(&["keys", "generate", "--fleet", "g", "--out", &desk.at("keys")]);
    again.fails(1, &["already holds a fleet's keys", "new directory", "--out"]);
    assert_eq!(std::fs::read(desk.at("keys/trust")).unwrap(), trust);
    let days = ["keys", "generate", "--fleet", "g", "--days", "0", "--out", &desk.at("other")];
    desk.fullmetal(&days).fails(2, &["--days 0", "between 1 and 36500"]);
    assert!(!Path::new(&desk.at("other")).exists());
    desk.file("full/notes", "mine");
    let full = ["keys", "generate", "--fleet", "g", "--out", &desk.at("full")];
    desk.fullmetal(&full).fails(1, &["full has other files", "new directory"]);
    assert_eq!(std::fs::read_dir(desk.at("full")).unwrap().count(), 1);
    let before = desk.names();
    let file = ["keys", "generate", "--fleet", "g", "--out", &desk.at("full/notes/keys")];
    desk.fullmetal(&file).fails(1, &["full/notes"]);
    assert_eq!(desk.names(), before, "something half-made is left");
}

#[test]
fn lists_of_revocations_only_grow() {
    let desk = Desk::new();
    let (keys, list) = (desk.at("keys"), desk.at("keys/revocations"));
    desk.fullmetal(&["keys", "revoke", "--keys", &keys, "--device", "a", "--out", &list]).succeeds();
    let more = ["keys", "revoke", "--keys", &keys, "--device", "b", "--out"];
    desk.fullmetal(&[&more[..], &[&list]].concat()).fails(2, &["--out", "exists already"]);
    desk.fullmetal(&[&more[..], &[&desk.at("new")]].concat()).fails(2, &["in force", "--previous", &list]);
    desk.fullmetal(&[&more[..], &[&list, "--previous", &list]].concat()).prints(&["version 2 with 2 entries"]);
}

#[test]
fn documents_that_are_none_are_named() {
    let desk = Desk::new();
    let (keys, out) = (desk.at("keys"), desk.at("answer"));
    let rubbish = desk.file("rubbish", [0xff; 300]);
    desk.fullmetal(&["inspect", &rubbish]).fails(1, &["rubbish", "none of our documents"]);
    desk.fullmetal(&["inspect", &desk.file("empty", "")]).fails(1, &["empty is empty", "fetch it again"]);
    desk.fullmetal(&["inspect", &desk.at("absent")]).fails(1, &["reading", "absent", "No such file"]);
    desk.fullmetal(&["keys", "certify", &rubbish, "--keys", &keys, "--out", &out]).fails(1, &["rubbish"]);
    let trust = desk.at("keys/trust");
    let certify = desk.fullmetal(&["keys", "certify", &trust, "--keys", &keys, "--out", &out]);
    certify.fails(1, &["keys/trust", "this is a trust, expected a enrolment-request"]);
    assert!(!Path::new(&out).exists());
    let root = desk.at("device");
    desk.fullmetal(&["--root", &root, "enroll", "--answer", &rubbish]).fails(1, &["rubbish"]);
    desk.fullmetal(&["--root", &root, "enroll", "--fleet", "f"]).fails(2, &["--device"]);
    assert!(!Path::new(&root).join("etc").exists(), "something was written");
}

#[test]
fn a_request_of_another_fleet_is_not_certified() {
    let desk = Desk::new();
    let (root, request) = (desk.at("device"), desk.at("request"));
    let ask = ["--root", &root, "enroll", "--fleet", "other", "--device", "d", "--request", &request];
    desk.fullmetal(&ask).succeeds();
    let out = desk.at("answer");
    let certify = desk.fullmetal(&["keys", "certify", &request, "--keys", &desk.at("keys"), "--out", &out]);
    certify.fails(1, &[&request, "other", "keys are of fleet f"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_device_takes_its_own_answer_of_its_own_fleet_only() {
    let desk = Desk::new();
    let (root, answer) = desk.answer("press-1", "keys");
    let enroll = |root: &str, answer: &str| desk.fullmetal(&["--root", root, "enroll", "--answer", answer]);
    enroll(&desk.at("nobody"), &answer).fails(2, &["has no keys", &answer, "make a request first"]);
    assert!(!Path::new(&desk.at("nobody")).exists());
    let (other, _) = desk.answer("press-2", "keys");
    enroll(&other, &answer).fails(2, &["is for press-1", "this device is press-2"]);
    assert!(!Path::new(&other).join("etc/fullmetal/trust").exists());
    let (program, place) = (&desk.programs.fullmetal, "etc/fullmetal/identity/peer.crt");
    run(program, &["--root", &root, "peer"]).fails(2, &[place, "no member yet", "fullmetal enroll"]);
    enroll(&root, &answer).succeeds();
    enroll(&root, &answer).succeeds();
    // Another fleet of the same name: the trust file in force decides.
    desk.fullmetal(&["keys", "generate", "--fleet", "f", "--out", &desk.at("false")]).succeeds();
    let before = std::fs::read(Path::new(&root).join(place)).unwrap();
    let (_, wrong) = desk.answer("press-1", "false");
    enroll(&root, &wrong).fails(2, &["etc/fullmetal/trust is in force", "no device CA of this fleet issued it"]);
    assert_eq!(std::fs::read(Path::new(&root).join(place)).unwrap(), before);
    let asks = ["--root", &root, "enroll", "--fleet", "f", "--device", "press-9", "--request", &desk.at("again")];
    desk.fullmetal(&asks).fails(2, &["[device] id is press-1, not press-9"]);
}

#[test]
fn a_peer_that_is_started_as_the_wrong_user_touches_nothing() {
    let desk = Desk::new();
    let (root, request) = (desk.at("press-1"), desk.at("press-1.request"));
    let ask = ["--root", &root, "enroll", "--fleet", "f", "--device", "press-1", "--request", &request];
    desk.fullmetal(&[&ask[..], &["--peer-uid", "61616"]].concat()).succeeds();
    desk.fullmetal(&["--root", &root, "peer"])
        .fails(2, &["this is user 0", "peer_uid = 61616", "setpriv --reuid 61616"]);
    assert_eq!(std::fs::read_dir(Path::new(&root).join("var/cache/fullmetal")).unwrap().count(), 0);
}

#[test]
fn a_decision_that_cannot_be_read_is_a_usage_error_with_file_and_line() {
    let desk = Desk::new();
    let root = desk.at("gateway");
    let deploy = |file: &str| run(&desk.programs.gateway, &["--root", &root, "deploy", file]);
    deploy(&desk.file("a.toml", "devices = [\n")).fails(2, &["a.toml", "line"]);
    let unknown = "devices = \"all\"\n[[part]]\nref = \"apps/x\"\ncomit = \"1\"\n";
    deploy(&desk.file("b.toml", unknown)).fails(2, &["b.toml", "line 4", "comit", "commit"]);
    deploy(&desk.file("c.toml", "devices = \"all\"\n")).fails(2, &["c.toml", "[[part]]"]);
    deploy(&desk.at("absent.toml")).fails(2, &["absent.toml", "No such file"]);
    let good = desk.file("d.toml", "devices = \"all\"\n[[part]]\nref = \"apps/x\"\n");
    deploy(&good).fails(1, &["gateway", "run"]);
}
