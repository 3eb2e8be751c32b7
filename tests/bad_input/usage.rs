//! Commands that are called wrongly, or with files that are not what they should be.

use super::said::{Said, run};
use fullmetal_sim::lab::Programs;
use std::path::Path;

struct Desk {
    programs: Programs,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Desk { programs: Programs::find(None).unwrap(), dir: tempfile::tempdir_in("/var/tmp").unwrap() };
        desk.fullmetal(&["keys", "generate", "--fleet", "f", "--out", &desk.at("keys")]).succeeds();
        desk
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.at(name)
    }

    fn fullmetal(&self, args: &[&str]) -> Said {
        run(&self.programs.fullmetal, args)
    }

    fn publish(&self, args: &[&str]) -> Said {
        let (repo, key) = (self.at("repo"), self.at("keys/build.key"));
        let mut all = vec!["publish", "--repo", &repo, "--ref", "apps/x", "--key", &key];
        all.extend(args);
        self.fullmetal(&all)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn publishing_what_is_no_app_says_what_is_missing_and_writes_nothing() {
    let desk = Desk::new();
    let tree = desk.at("tree");
    std::fs::create_dir_all(Path::new(&tree).join("bin")).unwrap();
    let bad_key = desk.file("bad.key", "-----BEGIN RUBBISH-----\n");
    let before = desk.names();
    desk.publish(&[&tree]).fails(2, &[&tree, "no config.json", "give --cmd"]);
    desk.publish(&[&desk.at("nowhere"), "--cmd", "/bin/x"]).fails(1, &["opening", "nowhere", "No such file"]);
    desk.publish(&[&tree, "--cmd", "/bin/x", "--frame-size", "1K"]).fails(2, &["--frame-size", "64"]);
    desk.publish(&[&tree, "--cmd", "/bin/x", "--release", "many"]).fails(2, &["--release", "many"]);
    desk.publish(&["--commit", "apps/none"]).fails(1, &["repo"]);
    let unsigned = ["publish", &tree, "--repo", &desk.at("repo"), "--ref", "apps/x", "--cmd", "/bin/x"];
    desk.fullmetal(&unsigned).fails(2, &["--key", "--unsigned"]);
    let with = [&unsigned[..], &["--key", &bad_key]].concat();
    desk.fullmetal(&with).fails(2, &["bad.key", "build key"]);
    assert_eq!(desk.names(), before, "something was written");
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
}

#[test]
fn documents_that_are_none_are_named() {
    let desk = Desk::new();
    let (keys, out) = (desk.at("keys"), desk.at("answer"));
    let rubbish = desk.file("rubbish", [0xff; 300]);
    desk.fullmetal(&["inspect", &rubbish]).fails(1, &["rubbish", "none of our documents"]);
    desk.fullmetal(&["inspect", &desk.file("empty", "")]).fails(1, &["empty", "none of our documents"]);
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
    certify.fails(1, &["other", "fleet f"]);
    assert!(!Path::new(&out).exists());
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
