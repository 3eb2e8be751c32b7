//! What apps ask for and a policy allows, with published commits, real checkouts and control groups. Needs ostree, too.

use super::says;
use crate::conformance::wait_until;
use crate::site::{Site, run, script_file};
use fullmetal::host::{App, AppHost, HostError, Phase, Refusal};
use fullmetal::repo::{LibostreeStore, ObjectStore as _};
use fullmetal_proto::Digest;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

fn policy(site: &Site, text: &str) {
    let dir = site.dir.path().join("etc/fullmetal/fullmetal.d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("policy.toml"), text).unwrap();
}

/// Publishes what `Site::app_with` lays out, pulls it into the device's store and checks it out as the agent does:
/// by hard links where it can.
fn published(site: &Site, script: &str, args: &[&str], change: impl FnOnce(&Path, &mut Value)) -> App {
    let root = site.dir.path();
    let source = site.app_with("web", script, change);
    let at = root.join(format!("var/lib/fullmetal/apps/web/{}", source.commit));
    let tree = root.join("tree");
    fs::rename(at, &tree).unwrap();
    let path = |p: &str| root.join(p).display().to_string();
    let (central, store) = (path("central"), path("var/lib/fullmetal/repo"));
    let publish = ["publish", &path("tree"), "--repo", &central, "--ref", "apps/web", "--unsigned"];
    let said = run(env!("CARGO_BIN_EXE_fullmetal"), &[&publish[..], args].concat());
    let commit: Digest = said.lines().next().unwrap().parse().unwrap();
    run("ostree", &["init", "--repo", &store, "--mode=bare-user"]);
    run("ostree", &["pull-local", "--repo", &store, &central, &commit.to_string()]);
    let checkout = path(&format!("var/lib/fullmetal/apps/web/{commit}"));
    LibostreeStore::open_or_create(Path::new(&store)).unwrap().checkout(&commit, Path::new(&checkout)).unwrap();
    App { commit, ..source }
}

fn cgroup_file(site: &Site, controller: &str, file: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(controller).join(format!("fm-{}+web", site.device)).join(file)
}

/// On a machine with the second version of control groups, its name of the same.
fn cgroup_value(site: &Site, controller: &str, first: &str, second: &str) -> String {
    let v1 = cgroup_file(site, controller, first);
    let path = if v1.exists() { v1 } else { cgroup_file(site, "", second) };
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

#[test]
fn memory_that_a_commit_limits_is_held() {
    let site = Site::new();
    let mut host = site.host();
    let script = "echo up; head -c 64m /dev/zero | busybox tail -n 1 >/dev/null; echo end $?; exec sleep 1000";
    let script = script.replace("head", "busybox head");
    let app = published(&site, &script, &["--memory", "16M"], |_, _| {});
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, |s| s.log.iter().any(|l| l.starts_with("end"))).log;
    assert!(log.iter().any(|l| l == "end 137"), "killed for its memory: {log:?}");
    assert_eq!(cgroup_value(&site, "memory", "memory.limit_in_bytes", "memory.max"), (16 << 20).to_string());
}

#[test]
fn processes_that_a_commit_limits_are_held() {
    let site = Site::new();
    let mut host = site.host();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all; wait";
    let app = published(&site, script, &["--pids", "6"], |_, _| {});
    host.start(&app).unwrap();
    let status = wait_until(&host, &app.name, |s| s.log.iter().any(|l| l.contains("can't fork")));
    assert!(!says("all")(&status), "{:?}", status.log);
}

#[test]
fn cpu_time_that_a_commit_limits_is_held() {
    let site = Site::new();
    let mut host = site.host();
    let app = published(&site, "echo up; while :; do :; done", &["--cpu", "0.2"], |_, _| {});
    host.start(&app).unwrap();
    wait_until(&host, &app.name, |s| {
        s.phase == Phase::Running
            && cgroup_value(&site, "cpu", "cpu.stat", "cpu.stat")
                .lines()
                .any(|l| l.strip_prefix("nr_throttled ").is_some_and(|n| n.parse::<u64>().unwrap() > 3))
    });
    let quota = cgroup_value(&site, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "20000" || quota == "20000 100000", "{quota}");
}

#[test]
fn a_weight_of_io_is_held_or_said_not_to_be() {
    let site = Site::new();
    let mut host = site.host();
    let app = published(&site, "echo up; exec sleep 1000", &["--io", "300"], |_, _| {});
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("up")).log;
    let told = log.iter().any(|l| l.starts_with("fullmetal: the limit of disk I/O is not held"));
    let weights = ["blkio.weight", "blkio.bfq.weight"].map(|f| cgroup_file(&site, "blkio", f));
    let held = weights
        .iter()
        .chain(&[cgroup_file(&site, "", "io.weight")])
        .any(|f| fs::read_to_string(f).is_ok_and(|text| text.trim().ends_with("300")));
    assert!(told != held, "told {told}, held {held}: {log:?}");
}

#[test]
fn the_bounds_of_the_policy_are_the_limits_of_an_app_that_asks_for_none() {
    let site = Site::new();
    let mut host = site.host();
    policy(&site, "[policy]\nmemory_max = \"24M\"\npids_max = 9\n");
    let app = site.app("web", "echo up; exec sleep 1000");
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    assert_eq!(cgroup_value(&site, "memory", "memory.limit_in_bytes", "memory.max"), (24 << 20).to_string());
    assert_eq!(cgroup_value(&site, "pids", "pids.max", "pids.max"), "9");
}

#[test]
fn more_than_the_policy_gives_is_refused_before_anything_starts() {
    let site = Site::new();
    policy(&site, "[policy]\nmemory_max = \"24M\"\n");
    let app = published(&site, "exec sleep 1000", &["--memory", "32M"], |_, _| {});
    let refused = site.host().prepare(&app).unwrap_err();
    assert!(matches!(refused, HostError::Refused { source: Refusal::Limit { .. }, .. }));
    assert!(refused.to_string().ends_with("must say: policy.app.web.memory_max = \"32M\""), "{refused}");
    policy(&site, "policy.app.web.memory_max = \"32M\"\n");
    site.host().prepare(&app).unwrap();
    assert!(site.host().list().unwrap().is_empty());
}

#[test]
fn an_app_opens_the_device_that_it_is_granted_and_no_other() {
    let site = Site::new();
    let mut host = site.host();
    let script =
        "exec 3<>/dev/loop-control && echo opened; test -e /dev/kmsg || echo no other; echo end; exec sleep 1000";
    let app = published(&site, script, &["--grant", "device:loop-control"], |_, config| {
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    });
    let refused = host.start(&app).unwrap_err().to_string();
    assert!(refused.ends_with("must say: policy.app.web.grants = [\"device:loop-control\"]"), "{refused}");
    policy(&site, "policy.app.web.grants = [\"device:loop-control\"]\n");
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("end")).log;
    assert_eq!(log[..2], ["opened", "no other"]);
    let meta = fs::metadata("/dev/loop-control").unwrap();
    let numbers = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    // Only the first version of control groups lets the rules be read.
    if let Ok(rules) = fs::read_to_string(cgroup_file(&site, "devices", "devices.list")) {
        assert!(rules.contains(&format!("c {}:{} rw\n", numbers.0, numbers.1)), "{rules}");
        assert!(!rules.contains("a *:* rwm"), "{rules}");
    }
}

#[test]
fn an_app_without_a_network_has_its_own_loopback_only() {
    let site = Site::new();
    let mut host = site.host();
    policy(&site, "[policy]\nnetwork = \"none\"\n");
    let app = site.app("web", "while read n rest; do echo $n; done </proc/net/dev; echo end; exec sleep 1000");
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("end")).log;
    let interfaces: Vec<_> = log.iter().filter(|l| l.ends_with(':')).collect();
    assert_eq!(interfaces, ["lo:"], "{log:?}");
}

#[test]
fn a_path_of_the_host_is_bound_as_the_policy_says() {
    let site = Site::new();
    let mut host = site.host();
    let shared = site.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(site.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(shared.join("hello"), "from the host\n").unwrap();
    policy(&site, &format!("policy.app.web.binds = [{:?}]\n", shared.display().to_string()));
    let app = site.app_with("web", "cat /mnt/hello; touch /mnt/x; echo end; exec sleep 1000", |rootfs, config| {
        fs::create_dir(rootfs.join("mnt")).unwrap();
        let bind = json!({"destination": "/mnt", "type": "bind", "source": shared, "options": ["rbind"]});
        config["mounts"].as_array_mut().unwrap().push(bind);
    });
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("end")).log;
    assert!(log[0] == "from the host" && log[1].contains("Read-only file system"), "{log:?}");
}

/// FullMetalUpdate's way: user 1000 runs `./entry.sh`; its client gave every checkout to 1000:1000.
#[test]
fn an_app_of_user_1000_has_files_of_its_own_in_a_checkout_that_it_cannot_change() {
    let site = Site::new();
    let mut host = site.host();
    let app = published(&site, "", &[], |rootfs, config| {
        let script = "#!/bin/sh\nid -u\necho mine >/data/x && cat /data/x\ncat /secret\ncat /roots\n\
                      echo worse >>/entry.sh\necho end\nexec sleep 1000\n";
        script_file(&rootfs.join("entry.sh"), script);
        for (name, mode, owner) in [("secret", 0o600, 1000), ("roots", 0o600, 0), ("bin/tool", 0o4711, 1000)] {
            fs::write(rootfs.join(name), format!("{name} of {owner}\n")).unwrap();
            chown(rootfs.join(name), Some(owner), Some(owner)).unwrap();
            fs::set_permissions(rootfs.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for name in ["entry.sh", "bin/id"] {
            lchown(rootfs.join(name), Some(1000), Some(1000)).unwrap();
        }
        config["process"]["args"] = json!(["./entry.sh"]);
    });
    let checkout = site.dir.path().join(format!("var/lib/fullmetal/apps/web/{}", app.commit));
    let of = |name: &str| fs::symlink_metadata(checkout.join("rootfs").join(name)).unwrap();
    let facts = |name: &str| (of(name).uid(), of(name).gid(), of(name).mode() & 0o7777, of(name).nlink() > 1);
    let expected = [
        ("entry.sh", (1000, 1000, 0o755, false)),
        ("secret", (1000, 1000, 0o600, false)),
        ("bin/tool", (1000, 1000, 0o711, false)),
        ("bin/id", (1000, 1000, 0o777, false)),
        ("roots", (0, 0, 0o600, true)),
        ("bin/busybox", (0, 0, 0o755, true)),
    ];
    for (name, expected) in expected {
        assert_eq!(facts(name), expected, "{name}: owner, group, mode, whether a hard link of the store's object");
    }
    assert_eq!((of("secret").mtime(), of("roots").mtime()), (0, 0));
    assert_eq!(fs::metadata(&checkout).unwrap().mode() & 0o777, 0o700, "no other user 1000 gets at them");
    let entry = checkout.join("rootfs/entry.sh");
    let before = fs::read(&entry).unwrap();
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("end")).log;
    assert_eq!(log[..3], ["1000", "mine", "secret of 1000"], "{log:?}");
    assert!(log[3].contains("'/roots': Permission denied") && log[4].contains("can't create /entry.sh"), "{log:?}");
    assert_eq!(fs::read(&entry).unwrap(), before);
    let store = site.dir.path().join("var/lib/fullmetal/repo").display().to_string();
    run("ostree", &["fsck", "--repo", &store]);
}
