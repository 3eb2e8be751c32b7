//! FullMetalUpdate's hello-world, deployed as its servers have it.

use super::{LIMIT, OPTIONS, run};
use fullmetal_sim::lab::{Site, SiteOptions};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

const REF: &str = "hello-world";

/// Its `config.json`: user 1000, three capabilities in all sets, the control groups and /sys read-only.
fn config() -> String {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
    let ro = ["nosuid", "noexec", "nodev", "ro"];
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": true, "user": { "uid": 1000, "gid": 1000 }, "args": ["./entry.sh"], "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "capabilities": { "bounding": caps, "effective": caps, "inheritable": caps, "permitted": caps, "ambient": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }], "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runc",
        "mounts": [
            mount("/proc", "proc", &[]), mount("/dev", "tmpfs", &dev), mount("/dev/pts", "devpts", &pts),
            mount("/dev/shm", "tmpfs", &shm), mount("/dev/mqueue", "mqueue", &ro[..3]), mount("/sys", "sysfs", &ro),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/asound"]
        }
    })
    .to_string()
}

fn tree(at: &Path, script: &str) {
    let rootfs = at.join("rootfs");
    for dir in ["bin", "dev", "proc", "sys"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let _ = fs::remove_file(rootfs.join("bin/sh"));
    symlink("busybox", rootfs.join("bin/sh")).unwrap();
    fs::write(rootfs.join("entry.sh"), script).unwrap();
    fs::set_permissions(rootfs.join("entry.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(rootfs.join("own"), "Hello World\n").unwrap();
    fs::set_permissions(rootfs.join("own"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at.join("config.json"), config()).unwrap();
    fs::write(at.join("auto.start"), "").unwrap();
    let unit = "[Unit]\nDescription=hello-world\nAfter=network.target\n\n\
                [Service]\nWorkingDirectory=/apps/hello-world/\nExecStart=/usr/bin/runc run hello-world\n";
    fs::write(at.join("systemd.service"), unit).unwrap();
    run(Command::new("chown").args(["-hR", "1000:1000"]).arg(at));
}

#[test]
fn hello_world_of_fullmetalupdate_prints_its_line_and_that_is_a_success() {
    let options = SiteOptions { plain: true, unsigned: &[REF], ..OPTIONS };
    let mut site = Site::start(SiteOptions { devices: 2, ..options }).unwrap();
    let at = site.fleet.dir().join("hello-world");
    for (script, state) in
        [("#!/bin/sh\nexec busybox cat /own\n", "succeeded"), ("#!/bin/sh\necho no disk\nexit 3\n", "failed")]
    {
        tree(&at, script);
        site.commit_foreign(&at, REF).unwrap();
        site.deploy_ref(REF).unwrap();
        let ends = site.wait_for_ends(LIMIT).unwrap();
        assert!(ends.values().all(|a| a.state == state), "{ends:?}");
    }
    for device in &site.devices {
        let status = device.status().unwrap();
        let app = &status["apps"][0];
        assert_eq!((&app["name"], &app["unsigned"]), (&json!("hello-world"), &json!(true)), "{status}");
        // Its files are copies that belong to its user, as in the commit.
        let (net, fullmetal) =
            (format!("--net=/run/netns/{}", device.netns().unwrap()), &site.fleet.programs().fullmetal);
        run(Command::new("nsenter").arg(net).arg(fullmetal).arg("--root").arg(device.root()).arg("verify"));
    }
}
