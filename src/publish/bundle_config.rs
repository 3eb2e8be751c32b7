//! Makes an app bundle of what is published: `config.json` (OCI runtime specification) and `rootfs/`.

use super::error::PublishError;
use super::program::{self, Search};
use super::source::{Dir, Leaf, Meta, Node, S_IFDIR, S_IFMT, S_IFREG};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The OCI configuration's name in a bundle.
const CONFIG: &str = "config.json";
/// The longest configuration.
const CONFIG_LEN_MAX: u64 = 1 << 20;

/// Where the generated configuration looks for programs.
pub(super) const PATH_DIRS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a root file system is to run.
#[derive(Clone, Copy)]
pub(super) struct Commands<'a> {
    /// Its main process; empty for what has its own configuration.
    pub cmd: &'a [String],
    /// Its health check, if any.
    pub health: &'a [String],
}

/// What an app runs, and as whom.
#[derive(Debug)]
pub(super) struct Process {
    pub args: Vec<String>,
    /// `NAME=VALUE`, `PATH` among them.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Of `config.json`; for people, devices leave them out.
    pub annotations: BTreeMap<String, String>,
    pub volumes: Vec<Volume>,
}

/// A place outside of the app's data that it writes to: scratch space.
#[derive(Debug)]
pub(super) struct Volume {
    /// Absolute.
    pub at: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Whether the root file system has something there, with which it begins.
    pub filled: bool,
}

impl Process {
    /// Root's, in `/`, with nothing but a `PATH`.
    fn of_command(cmd: &[String]) -> Self {
        Process {
            args: cmd.to_vec(),
            env: vec![format!("PATH={PATH_DIRS}")],
            cwd: "/".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            annotations: BTreeMap::new(),
            volumes: Vec::new(),
        }
    }

    /// Where its program is looked for.
    pub fn search(&self) -> Search<'_> {
        let path = self.env.iter().rev().find_map(|e| e.strip_prefix("PATH="));
        Search { path: path.unwrap_or(PATH_DIRS), cwd: &self.cwd }
    }
}

/// The bundle in `tree`, or `tree` wrapped as the root of one that runs `cmd`. `path` is for messages.
pub(super) fn bundle(tree: Dir, Commands { cmd, health }: Commands<'_>, path: &Path) -> Result<Dir, PublishError> {
    match (tree.children.contains_key(CONFIG), cmd.is_empty()) {
        (true, true) => {
            check_bundle(&tree, path)?;
            Ok(tree)
        }
        (true, false) => Err(PublishError::CmdForBundle(path.to_owned())),
        (false, true) => Err(PublishError::NoConfig(path.to_owned())),
        (false, false) => {
            let process = Process::of_command(cmd);
            program::check(&tree, "--cmd", cmd, process.search())?;
            program::check(&tree, "--health", health, process.search())?;
            Ok(wrap(tree, &process))
        }
    }
}

fn check_bundle(tree: &Dir, path: &Path) -> Result<(), PublishError> {
    let bad = |problem: String| Err(PublishError::source(path.join(CONFIG).display().to_string(), problem));
    if !matches!(tree.children.get("rootfs"), Some(Node::Dir(_))) {
        return bad("an app bundle has its root file system in rootfs/ beside it, which is missing".into());
    }
    let Some(Node::Leaf(leaf)) = tree.children.get(CONFIG) else {
        return bad("is a directory; it must be the OCI configuration".into());
    };
    if leaf.meta.mode & S_IFMT != S_IFREG || leaf.length > CONFIG_LEN_MAX {
        return bad(format!("must be a regular file of at most {CONFIG_LEN_MAX} bytes"));
    }
    let mut bytes = Vec::new();
    if let Err(e) = leaf.content.open(leaf.length).and_then(|mut r| r.read_to_end(&mut bytes)) {
        return bad(format!("cannot be read: {e}"));
    }
    let spec: Spec = match serde_json::from_slice(&bytes) {
        Ok(spec) => spec,
        Err(e) => return bad(format!("is no OCI runtime configuration: {e}")),
    };
    if spec.root().as_ref().is_none_or(|root| root.path() != Path::new("rootfs")) {
        return bad("root.path must be \"rootfs\"".into());
    }
    let args = spec.process().as_ref().and_then(|p| p.args().as_ref());
    if args.is_none_or(Vec::is_empty) { bad("process.args names no program".into()) } else { Ok(()) }
}

/// Where the generated configuration mounts something. The root is read-only, so they must be there before.
const MOUNT_POINTS: [(&str, u32); 6] =
    [("data", 0o755), ("dev", 0o755), ("proc", 0o555), ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777)];

/// The bundle of `rootfs`, which runs `process`.
pub(super) fn wrap(mut rootfs: Dir, process: &Process) -> Dir {
    for (name, mode) in MOUNT_POINTS {
        let new = || Node::Dir(Dir::new(Meta::root(S_IFDIR | mode)));
        rootfs.children.entry(name.into()).or_insert_with(new);
    }
    let text = format!("{:#}\n", config(process));
    let mut bundle = Dir::new(Meta::root(S_IFDIR | 0o755));
    bundle.children.insert(CONFIG.into(), Node::Leaf(Leaf::generated(text.into_bytes())));
    bundle.children.insert("rootfs".into(), Node::Dir(rootfs));
    bundle
}

/// The default bundle: no capabilities, no new privileges, the host's network, everything else its own, a
/// read-only root. No host path appears in it: the device binds the app's data to `/data` when it starts it.
fn config(process: &Process) -> Value {
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": process.uid, "gid": process.gid },
            "args": process.args,
            "env": process.env,
            "cwd": process.cwd,
            "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": mounts(&process.volumes),
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    });
    // Left out where they are empty, so that what was published before them stays what it is.
    if !process.groups.is_empty() {
        config["process"]["user"]["additionalGids"] = json!(process.groups);
    }
    if !process.annotations.is_empty() {
        config["annotations"] = json!(process.annotations);
    }
    config
}

fn mounts(volumes: &[Volume]) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let scratch = ["nosuid", "noexec", "nodev", "mode=1777", "size=32m"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", "shm", &scratch),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/run", "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755", "size=32m"]),
        mount("/tmp", "tmpfs", "tmpfs", &scratch),
    ];
    for Volume { at, uid, gid, mode, filled } in volumes {
        let (owner, mode) = ([format!("uid={uid}"), format!("gid={gid}")], format!("mode={mode:04o}"));
        let mut options = vec!["nosuid", "nodev", &owner[0], &owner[1], &mode, "size=64m"];
        if *filled {
            options.push("tmpcopyup");
        }
        mounts.push(mount(at, "tmpfs", "tmpfs", &options));
    }
    mounts.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cmd: &[String]) -> Commands<'_> {
        Commands { cmd, health: &[] }
    }

    #[test]
    fn the_generated_configuration_is_valid_and_gives_nothing_away() {
        let cmd = ["/bin/httpd".to_owned(), "-f".to_owned()];
        let spec: Spec = serde_json::from_value(config(&Process::of_command(&cmd))).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.args().as_ref().unwrap(), &cmd);
        assert_eq!(process.no_new_privileges(), Some(true));
        assert!(process.capabilities().as_ref().unwrap().effective().as_ref().unwrap().is_empty());
        assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
        let host_path = |m: &oci_spec::runtime::Mount| m.source().as_ref().is_some_and(|s| s.is_absolute());
        assert!(!spec.mounts().as_ref().unwrap().iter().any(host_path));
    }

    #[test]
    fn a_root_file_system_is_wrapped_and_gains_its_mount_points() {
        let tree = Dir::new(Meta::root(S_IFDIR | 0o700));
        let tree = bundle(tree, run(&["/data/x".into()]), Path::new("p")).unwrap();
        check_bundle(&tree, Path::new("p")).unwrap();
        let Some(Node::Dir(rootfs)) = tree.children.get("rootfs") else { panic!("no rootfs") };
        assert_eq!(rootfs.meta.mode, S_IFDIR | 0o700);
        let names: Vec<_> = rootfs.children.keys().map(String::as_str).collect();
        assert_eq!(names, MOUNT_POINTS.map(|(name, _)| name));
    }

    #[test]
    fn what_is_no_bundle_and_has_no_command_is_refused_as_usage() {
        let plain = Dir::new(Meta::root(S_IFDIR | 0o755));
        assert!(bundle(plain.clone(), run(&[]), Path::new("p")).unwrap_err().is_usage());
        let mut broken = plain;
        broken.children.insert(CONFIG.into(), Node::Leaf(Leaf::generated(b"{}".to_vec())));
        assert!(bundle(broken.clone(), run(&["x".into()]), Path::new("p")).unwrap_err().is_usage());
        assert!(bundle(broken.clone(), run(&[]), Path::new("p")).unwrap_err().to_string().contains("rootfs/"));
        broken.children.insert("rootfs".into(), Node::Dir(Dir::new(Meta::root(S_IFDIR | 0o755))));
        let text = |config: &Value| Leaf::generated(config.to_string().into_bytes());
        let mut other_root = config(&Process::of_command(&["x".into()]));
        other_root["root"]["path"] = "/".into();
        for (config, expected) in [
            (json!({ "ociVersion": 1 }), "no OCI runtime configuration"),
            (other_root, "root.path must be"),
            (config(&Process::of_command(&[])), "names no program"),
        ] {
            broken.children.insert(CONFIG.into(), Node::Leaf(text(&config)));
            let error = bundle(broken.clone(), run(&[]), Path::new("p")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
