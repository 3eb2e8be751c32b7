//! A device in a temporary directory, with apps made of busybox; whatever it started is gone when it is dropped.

use super::{App, AppHost, AppName, Digest, SupervisorHost, SupervisorOptions};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long the test apps may take to end.
pub const GRACE: Duration = Duration::from_millis(1500);

pub struct Site {
    pub dir: tempfile::TempDir,
    pub device: String,
}

impl Site {
    pub fn new() -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "these tests start containers: run them as root");
        for tool in ["/bin/busybox", "/usr/sbin/runc"] {
            assert!(Path::new(tool).exists(), "{tool} is missing: apt-get install busybox-static runc");
        }
        let device = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Site { dir: tempfile::tempdir().unwrap(), device }
    }

    /// What an agent on the device uses.
    pub fn host(&self) -> SupervisorHost {
        host_at(self.dir.path(), &self.device)
    }

    /// Checks out an app that runs a shell script as user 1000.
    pub fn app(&self, name: &str, script: &str) -> App {
        self.app_with(name, script, |_, _| {})
    }

    /// See [`check_out`].
    pub fn app_with(&self, name: &str, script: &str, change: impl FnOnce(&Path, &mut Value)) -> App {
        check_out(self.dir.path(), name, script, change)
    }

    /// A file of the app's run directory.
    pub fn run_file(&self, name: &AppName, file: &str) -> PathBuf {
        self.dir.path().join("run/fullmetal/apps").join(name.as_str()).join(file)
    }

    /// The main process of the app.
    pub fn container_pid(&self, name: &AppName) -> i32 {
        fs::read_to_string(self.run_file(name, "container.pid")).unwrap().trim().parse().unwrap()
    }

    /// The process that supervises the app.
    pub fn supervisor_pid(&self, name: &AppName) -> i32 {
        let state: Value = serde_json::from_slice(&fs::read(self.run_file(name, "state.json")).unwrap()).unwrap();
        i32::try_from(state["supervisor"].as_i64().unwrap()).unwrap()
    }

    /// Cgroups of this device, in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let ours = format!("fm-{}+", self.device);
        let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
        let top: Vec<PathBuf> = entries(Path::new("/sys/fs/cgroup"));
        let all = top.iter().flat_map(|dir| entries(dir)).chain(top.iter().cloned());
        all.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&ours))).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let mut host = self.host();
        for name in host.list().unwrap_or_default() {
            if let Err(error) = host.stop(&name) {
                eprintln!("{error}");
                kill(self.supervisor_pid(&name), "KILL");
                let (id, runc) = (format!("fm-{}+{name}", self.device), self.dir.path().join("run/fullmetal/runc"));
                let root = runc.join(&self.device);
                Command::new("runc").arg("--root").arg(root).args(["delete", "-f", &id]).status().ok();
            }
        }
        if !std::thread::panicking() {
            assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "left behind");
        }
    }
}

/// Checks out an app that runs a shell script as user 1000 on the device at `root`, after `change` had its way with the
/// root file system and `config.json`.
pub fn check_out(root: &Path, name: &str, script: &str, change: impl FnOnce(&Path, &mut Value)) -> App {
    let commit = Digest::of(script.as_bytes());
    let checkout = root.join(format!("var/lib/fullmetal/apps/{name}/{commit}"));
    let rootfs = checkout.join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "test", "touch", "cat", "httpd", "id", "date"] {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    let mut config = config(script);
    change(&rootfs, &mut config);
    fs::write(checkout.join("config.json"), config.to_string()).unwrap();
    App { name: name.parse().unwrap(), commit, job: false }
}

pub fn host_at(root: &Path, device: &str) -> SupervisorHost {
    let mut options = SupervisorOptions::new(root, &device.parse().unwrap()).unwrap();
    options.program = env!("CARGO_BIN_EXE_fullmetal").into();
    options.grace = GRACE;
    SupervisorHost::new(options)
}

pub fn kill(pid: i32, signal: &str) {
    let killed = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(killed.success(), "kill -{signal} {pid}");
}

/// Whether the process is there and no zombie.
pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Makes a file that everyone may run.
pub fn script_file(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a program prints, which must end well.
pub fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn config(script: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 1000, "gid": 1000}, "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"], "cwd": "/"
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=32m"]}
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}
    })
}
