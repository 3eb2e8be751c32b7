//! The agent's unit, which may do little, writes an operating system into the sysroot's repository.

use super::Bench;
use fullmetal::repo::{Objects as _, StoreError, SystemStore};
use fullmetal::sysroot::Sysroot;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use ostree::gio::prelude::*;
use ostree::{ObjectType, gio};
use rustix::fs::XattrFlags;
use std::path::Path;
use std::process::Command;

const AGENT: &str = include_str!("../../systemd/fullmetal-agent.service");
const SERVICE: [&str; 5] = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect"];
/// Where the agent may write, so that both halves have it.
const SOURCE: &str = "/var/lib/fullmetal/source";
const SYSROOT: &str = "/sysroot/ostree/repo";

/// Files that are anything but plain, in a repository that keeps that as data; and what ostree says of their copies.
const TREE: &str =
    "mkdir -p /var/lib/fullmetal /tmp/tree/usr/bin; cd /tmp/tree/usr/bin; echo x >tool; echo y >su; ln -s x link
    chown 1000:117 tool; chmod 2755 tool; chmod 4755 su";
const COMMIT: &str = "ostree init --repo=SOURCE --mode=bare-user; ostree commit --repo=SOURCE -b os /tmp/tree";
/// `cap_net_raw` in a file's attribute: version 2, permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CHECK: &str = "ostree fsck; ostree ls -RX $(ostree refs --list fullmetal | head -n1) /usr/bin";

/// A service that may do what the unit may.
pub fn sandbox() -> Vec<String> {
    let service = AGENT.split_once("[Service]\n").unwrap().1.split_once("[Install]").unwrap().0;
    let lines = service.lines().filter(|line| !line.is_empty());
    let says = lines.filter(|line| !["#", "Exec", "Restart"].iter().any(|no| line.starts_with(no)));
    let options = says.map(|line| format!("--property={line}"));
    SERVICE.map(str::to_owned).into_iter().chain(options).collect()
}

pub fn by_the_agents_unit(bench: &Bench) {
    let sh = |script: &str| bench.device.run(&["sh", "-euc", script]).unwrap();
    bench.inside_of(&SERVICE.map(str::to_owned), "imported::a_system_is_published");
    bench.inside_of(&sandbox(), "imported::an_operating_system_is_imported");
    let read_only = [&SERVICE.map(str::to_owned)[..], &[format!("--property=ReadOnlyPaths={SYSROOT}")]].concat();
    bench.inside_of(&read_only, "imported::a_repository_that_is_mounted_read_only_is_refused");
    let said = sh(CHECK);
    assert!(said.contains("-02755 1000 117"), "{said}");
    assert!(said.contains("security.capability"), "{said}");
    assert!(said.contains("-04755 0 0"), "{said}");
    bench.inside_of(&SERVICE.map(str::to_owned), "imported::what_is_not_deployed_is_let_go");
    assert_eq!(sh("ostree refs --list fullmetal; find /sysroot/ostree/repo/objects -perm -4000 -links 1"), "");
}

#[test]
#[ignore = "runs on a device"]
fn a_system_is_published() {
    let sh = |script: &str| assert!(Command::new("sh").args(["-euc", script]).status().unwrap().success(), "{script}");
    sh(TREE);
    rustix::fs::setxattr("/tmp/tree/usr/bin/tool", "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    sh(&COMMIT.replace("SOURCE", SOURCE));
}

#[test]
#[ignore = "runs on a device"]
fn what_is_not_deployed_is_let_go() {
    Sysroot::of(Path::new("/")).unwrap().drop_all_but(&[]).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn a_repository_that_is_mounted_read_only_is_refused() {
    let refused = SystemStore::open(Path::new(SYSROOT)).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
}

#[test]
#[ignore = "runs on a device"]
fn an_operating_system_is_imported() {
    let none = gio::Cancellable::NONE;
    assert!(Command::new("touch").arg("/usr/x").status().is_ok_and(|status| !status.success()), "it may do more");
    let source = ostree::Repo::new_for_path(SOURCE);
    source.open(none).unwrap();
    let commit = source.resolve_rev("os", false).unwrap().unwrap();
    let mut objects: Vec<_> = source.traverse_commit(&commit, 0, none).unwrap().into_iter().collect();
    objects.sort_by_key(|object| object.object_type() == ObjectType::Commit);
    let mut store = SystemStore::open(Path::new(SYSROOT)).unwrap();
    for object in objects {
        let kind = match object.object_type() {
            ObjectType::File => ObjectKind::File,
            ObjectType::DirTree => ObjectKind::DirTree,
            ObjectType::DirMeta => ObjectKind::DirMeta,
            _ => ObjectKind::Commit,
        };
        let (stream, length) = source.load_object_stream(object.object_type(), object.checksum(), none).unwrap();
        let id = ObjectId { kind, checksum: object.checksum().parse().unwrap() };
        if kind == ObjectKind::Commit {
            store.commit_slice().unwrap();
        }
        store.write(&id, length, &mut stream.into_read()).unwrap();
    }
    store.commit_slice().unwrap();
}
