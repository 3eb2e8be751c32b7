//! A release whose kernel hangs before the agent, on a machine with a watchdog.

use crate::site::Site;
use fullmetal_sim::lab::device::Loader;
use std::fs;
use std::path::Path;
use std::process::Command;

/// systemd keeps the watchdog from biting, from its first moment on.
const WATCHDOG: (&str, &str) =
    ("usr/lib/systemd/system.conf.d/watchdog.conf", "[Manager]\nRuntimeWatchdogSec=20s\nRebootWatchdogSec=60s\n");
/// A panic after which nothing reboots, whatever the command line says: nothing runs any more.
const HANGS: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n\
    ExecStart=/bin/sh -c 'echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger'\n";
const SERVICE: &str = "usr/lib/systemd/system/hangs.service";
const WANTED: (&str, &str) =
    ("usr/lib/systemd/system/sysinit.target.d/hangs.conf", "[Unit]\nRequires=hangs.service\nAfter=hangs.service\n");
/// What systemd says of the watchdog, and the kernel before it hangs.
const KEPT: &str = "hardware watchdog 'i6300ESB timer'";
const HANGING: &str = "Kernel panic - not syncing: sysrq triggered crash";

/// Only the watchdog ends each of them.
pub fn is_left_after_three_boots() {
    let mut site = Site::new(Some(Loader::Grub));
    site.comes_up();
    let dir = tempfile::tempdir().unwrap();
    let kernel = site.kernel_with_watchdog();
    let copied = Command::new("cp").arg("-a").arg(kernel.join(".")).arg(dir.path()).status();
    assert!(copied.unwrap().success());
    for (path, text) in [WATCHDOG, (SERVICE, HANGS), WANTED] {
        put(&dir.path().join(path), text);
    }
    let (action, before) = site.decides_for(Some(dir.path()));
    assert_eq!(site.ends(action, before), ("failed".to_owned(), before));
    let boots = site.boots_since_the_decision();
    let hung: Vec<bool> = boots.iter().map(|said| said.contains(KEPT) && said.contains(HANGING)).collect();
    assert_eq!(hung[..4], [false, true, true, true], "{boots:#?}");
    let reason = site.reason(action);
    assert!(reason.contains("rolled back by the boot loader, since it did not come up"), "{reason}");
    println!("a hang: {} boots, {reason}", boots.len() - 1);
    let (action, before) = site.decides();
    site.succeeds(action, before);
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
