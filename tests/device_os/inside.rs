//! What the tests do on the device; each is run by its outer half, never by itself.

use super::VERSION;
use fullmetal::sysroot::{OsDeployment, Sysroot, SysrootError};
use fullmetal_proto::{DeploymentId, Digest};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a second version has beside its number: a kernel of its own.
const KERNEL: &str = "usr/lib/modules/6.1.0-lab/vmlinuz";

/// And a directory of device trees.
const TREE: &str = "usr/lib/modules/6.1.0-lab/dtb/press.dtb";

/// A /boot that has no room for a large kernel; unmounted it is the real one again.
const SMALL_BOOT: &str = "mkdir -p /tmp/boot; mount -t tmpfs -o size=4m boot /tmp/boot; cp -a /boot/. /tmp/boot; \
    mount --move /tmp/boot /boot";

/// Runs a script and gives what it printed.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Commits what runs with another kernel as a version.
pub fn version(number: &str, kernel_len: usize) -> Digest {
    version_with(number, kernel_len, &[])
}

/// The same with other files.
pub fn version_with(number: &str, kernel_len: usize, files: &[(&str, &str)]) -> Digest {
    let tree = Path::new("/tmp").join(number);
    fs::create_dir_all(tree.join(KERNEL).parent().unwrap()).unwrap();
    fs::create_dir_all(tree.join("usr/share")).unwrap();
    fs::write(tree.join(KERNEL), number.repeat(kernel_len)).unwrap();
    fs::write(tree.join(VERSION.trim_start_matches('/')), number).unwrap();
    for (file, text) in files {
        let file = tree.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let commit = format!(
        "ostree commit -b v{number} --no-bindings --add-metadata-string=version={number} --tree=ref=first --tree=dir={}",
        tree.display()
    );
    sh(&commit).parse().unwrap()
}

pub fn known(branch: &str) -> Digest {
    sh(&format!("ostree rev-parse {branch}")).parse().unwrap()
}

pub fn sysroot() -> Sysroot {
    Sysroot::of(Path::new("/")).unwrap()
}

pub fn deployments() -> Vec<OsDeployment> {
    sysroot().deployments().unwrap()
}

/// The only deployment of a commit.
pub fn id(commit: Digest) -> DeploymentId {
    DeploymentId { commit, serial: 0 }
}

fn first() -> OsDeployment {
    OsDeployment { id: id(known("first")), version: None, booted: true, staged: false, pinned: false, ours: false }
}

/// Something was to be put in its place.
fn replaced() -> OsDeployment {
    OsDeployment { ours: true, ..first() }
}

fn second() -> OsDeployment {
    OsDeployment { id: id(known("v2")), version: Some("2".into()), booted: false, ours: true, ..first() }
}

#[test]
#[ignore = "runs on a device"]
fn the_running_system_is_told() {
    assert_eq!(Sysroot::of(Path::new("/tmp")).map(|_| ()), None);
    assert_eq!(deployments(), [first()]);
    sysroot().check_next(&id(known("first"))).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn a_second_system_is_staged() {
    let second_commit = version_with("2", 10, &[(TREE, "a press")]);
    sysroot().check_boot_space(&second_commit).unwrap();
    for _ in 0..2 {
        assert_eq!(sysroot().stage(&second_commit).unwrap(), id(second_commit));
        assert_eq!(deployments(), [OsDeployment { staged: true, ..second() }, first()]);
    }
    let error = sysroot().check_next(&id(second_commit)).unwrap_err();
    assert!(
        matches!(&error, SysrootError::NotNext { instead, .. } if *instead == id(known("first")).to_string()),
        "{error}"
    );
    // Another takes its place, and it the other's.
    sysroot().stage(&version("3", 1)).unwrap();
    let error = sysroot().finalize(&id(second_commit)).unwrap_err();
    assert!(matches!(error, SysrootError::NotStaged { .. }), "{error}");
    sysroot().stage(&second_commit).unwrap();
    assert_eq!(deployments()[0].id.commit, second_commit);
}

#[test]
#[ignore = "runs on a device"]
fn a_reboot_has_forgotten_what_was_staged() {
    assert_eq!(deployments(), [first()]);
    let error = sysroot().finalize(&id(known("v2"))).unwrap_err();
    assert!(error.to_string().contains("nothing is"), "{error}");
    sysroot().drop_all_but(&[]).unwrap();
    assert_eq!(deployments(), [first()]);
}

#[test]
#[ignore = "runs on a device"]
fn a_kernel_that_does_not_fit_is_refused() {
    let large = version("4", 8 << 20);
    sh(SMALL_BOOT);
    let refused = sysroot().check_boot_space(&large);
    sh("umount /boot");
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("/boot") && error.contains("needs 8.0 MiB"), "{error}");
    sysroot().check_boot_space(&large).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn what_cannot_be_finalized_is_withdrawn() {
    let (second_commit, large) = (known("v2"), known("v4"));
    sysroot().stage(&second_commit).unwrap();
    // Others write to the sysroot: what writes waits for them, and does not wait for ever.
    let holder = ostree::Sysroot::new_default();
    holder.load(ostree::gio::Cancellable::NONE).unwrap();
    holder.lock().unwrap();
    let waiting = std::thread::spawn(move || sysroot().withdraw(&id(second_commit)));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!waiting.is_finished() && deployments().len() == 2);
    holder.unlock();
    waiting.join().unwrap().unwrap();
    assert_eq!(deployments(), [first()], "what is staged can be withdrawn");
    sysroot().stage(&large).unwrap();
    sh(SMALL_BOOT);
    let failed = sysroot().finalize(&id(large));
    sysroot().withdraw(&id(large)).unwrap();
    let left = deployments();
    sh("umount /boot");
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!((left, deployments()), (vec![replaced()], vec![replaced()]));
}

#[test]
#[ignore = "runs on a device"]
fn nothing_is_finalized_above_what_would_not_boot() {
    let (kernel, second) = (sh("ls /boot/ostree/*/vmlinuz*"), id(known("v2")));
    let bytes = fs::read(&kernel).unwrap();
    sysroot().stage(&second.commit).unwrap();
    fs::remove_file(&kernel).and_then(|()| fs::write(&kernel, "another")).unwrap();
    let failed = sysroot().finalize(&second);
    sysroot().withdraw(&second).unwrap();
    let left = deployments();
    fs::write(&kernel, &bytes).unwrap();
    let error = failed.unwrap_err().to_string();
    assert!(error.contains(&kernel) && error.contains("differs"), "{error}");
    assert_eq!(left, [replaced()]);
    // The checkout goes, too.
    sysroot().drop_all_but(&[]).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn a_staged_system_is_made_to_boot_next() {
    let second_commit = known("v2");
    fs::write("/etc/local", "kept").unwrap();
    // What somebody else has deployed stays, and is pinned no more than it was.
    sh("ostree admin deploy --os=lab --not-as-default v3");
    let third = OsDeployment { id: id(known("v3")), version: Some("3".into()), booted: false, ..first() };
    // But what follows the same ref as what runs is replaced with it.
    sh("ostree admin deploy --os=lab --not-as-default --retain $(ostree rev-parse first)");
    let same = OsDeployment { id: DeploymentId { commit: known("first"), serial: 1 }, booted: false, ..first() };
    assert_eq!(deployments(), [replaced(), same, third.clone()]);
    sysroot().stage(&second_commit).unwrap();
    // systemd may not have seen yet that something is staged.
    sh("systemctl stop ostree-finalize-staged.path ostree-finalize-staged.service");
    for _ in 0..2 {
        sysroot().finalize(&id(second_commit)).unwrap();
    }
    assert_eq!(deployments(), [second(), replaced(), third]);
    sh("ostree admin undeploy 2");
    // Device trees are looked at, too.
    let tree = sh("ls /boot/ostree/*/dtb/press.dtb");
    let config = sh("cat /boot/loader/entries/*");
    assert!(config.contains("fdtdir "), "{config}");
    fs::write(&tree, "a lathe").unwrap();
    let error = sysroot().check_next(&id(second_commit)).unwrap_err();
    assert!(matches!(error, SysrootError::Damaged { .. }), "{error}");
    fs::write(&tree, "a press").unwrap();
    sysroot().check_next(&id(second_commit)).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn the_second_system_runs() {
    let (was, runs) = (OsDeployment { booted: false, ..replaced() }, OsDeployment { booted: true, ..second() });
    assert_eq!(deployments(), [runs.clone(), was.clone()]);
    assert_eq!(fs::read_to_string("/etc/local").unwrap(), "kept");
    assert!(fs::read_to_string("/proc/cmdline").unwrap().contains("rw"), "arguments are kept");
    sysroot().drop_all_but(&[was.id.commit]).unwrap();
    assert_eq!(deployments(), [runs.clone(), was.clone()]);
    sysroot().put_first(&[was.id]).unwrap();
    assert_eq!(deployments(), [was, runs]);
}

#[test]
#[ignore = "runs on a device"]
fn a_damaged_kernel_is_found() {
    assert_eq!(deployments(), [replaced(), second()]);
    let kernels = sh("ls /boot/ostree/*/vmlinuz*");
    let damages: [fn(&str); 2] = [
        // The deployed tree and the repository have the same file.
        |kernel| fs::write(kernel, "another").unwrap(),
        |kernel| fs::remove_file(kernel).and_then(|()| fs::write(kernel, "another")).unwrap(),
    ];
    for damage in damages {
        let found = kernels.lines().filter(|kernel| {
            let bytes = fs::read(kernel).unwrap();
            damage(kernel);
            let checked = sysroot().check_next(&id(known("first")));
            fs::write(kernel, &bytes).unwrap();
            checked.is_err_and(|error| matches!(error, SysrootError::Damaged { path, .. } if path == Path::new(kernel)))
        });
        assert_eq!(found.count(), 1, "of {kernels}");
    }
    sysroot().check_next(&id(known("first"))).unwrap();
    sysroot().drop_all_but(&[]).unwrap();
    assert_eq!(deployments(), [replaced()], "the second is ours, and neither runs nor is kept");
}
