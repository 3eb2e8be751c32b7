//! Control groups (cgroups(7)): what the programs of one host cost, and a way to end whatever is left of them.
//!
//! CPU time is read from cgroup2, memory from cgroup2 or, where that has no memory controller, from the first version.

use super::Usage;
use super::process::is_gone_within;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the names of all groups begin with; the owner's process id follows.
pub(super) const PREFIX: &str = "fullmetal-lab-";
/// How long killed processes may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(5);

/// The control group of one host; whatever runs in it is killed when it is dropped.
#[derive(Debug)]
pub struct Cgroup {
    unified: PathBuf,
    memory: Option<PathBuf>,
}

/// Where cgroup2 is mounted, and the memory controller of the first version if that is in use.
fn mounts() -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    let text = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let mounts = || text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let unified = mounts().find(|m| m.get(2) == Some(&"cgroup2")).context("cgroup2 is not mounted")?;
    let memory = |m: &Vec<&str>| m.get(2) == Some(&"cgroup") && m[3].split(',').any(|option| option == "memory");
    Ok((unified[1].into(), mounts().find(memory).map(|m| m[1].into())))
}

impl Cgroup {
    /// Makes the group of a host, which the name of its namespace names.
    pub fn new(netns: &str) -> anyhow::Result<Self> {
        let (unified, memory) = mounts()?;
        let name = format!("{PREFIX}{}-{netns}", std::process::id());
        let group = Cgroup { unified: unified.join(&name), memory: memory.map(|dir| dir.join(&name)) };
        for dir in group.dirs() {
            fs::create_dir(dir).with_context(|| format!("making control group {}", dir.display()))?;
        }
        Ok(group)
    }

    fn dirs(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.unified.as_path()).chain(self.memory.as_deref())
    }

    /// Moves a process in, with its children; what they start from now on is in, too.
    pub fn add(&self, pid: u32) -> anyhow::Result<()> {
        for dir in self.dirs() {
            fs::write(dir.join("cgroup.procs"), pid.to_string())
                .with_context(|| format!("moving process {pid} into {}", dir.display()))?;
        }
        // Those that it started before; one that has ended meanwhile is no matter.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(|child| drop(self.add(child)));
        Ok(())
    }

    /// User and system time of all that ever ran in it, in microseconds.
    pub fn cpu_us(&self) -> u64 {
        let text = fs::read_to_string(self.unified.join("cpu.stat")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Anonymous memory of all that runs in it now, in bytes; files that it maps or caches are not counted.
    pub fn anonymous(&self) -> u64 {
        let (dir, key) = match &self.memory {
            Some(dir) => (dir, "total_rss "),
            None => (&self.unified, "anon "),
        };
        let text = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(key)).and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Proportional set size of all that runs in it now, in KiB: what is shared counts in parts.
    pub fn proportional_kib(&self) -> u64 {
        let pids = fs::read_to_string(self.unified.join("cgroup.procs")).unwrap_or_default();
        pids.lines().filter_map(|pid| Some(Usage::of(pid.parse().ok()?).ok()?.pss_kib)).sum()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.dirs().for_each(remove);
    }
}

/// Kills what runs in a group and its children, and removes them.
pub(super) fn remove(dir: &Path) {
    is_gone_within(GONE_MAX, || {
        let all = tree(dir);
        let inside = |dir: &PathBuf| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<Pid> = all
            .iter()
            .flat_map(|d| inside(d).lines().filter_map(|l| Pid::from_raw(l.parse().ok()?)).collect::<Vec<_>>())
            .collect();
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
        }
        all.iter().rev().all(|dir| fs::remove_dir(dir).is_ok() || !dir.exists())
    });
}

/// A group and all below it, parents first.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while next < all.len() {
        let below = fs::read_dir(&all[next]).into_iter().flatten().flatten();
        let below: Vec<PathBuf> = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        all.extend(below);
        next += 1;
    }
    all
}

/// Ends the containers of a device: their runtime puts them into groups of their own, in every hierarchy, and leaves these
/// when it is killed while it makes them.
pub(super) fn end_containers(device: &str) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let roots = mounts.filter(|m| m.get(2).is_some_and(|kind| kind.starts_with("cgroup")));
    let groups = roots.flat_map(|m| fs::read_dir(m[1])).flatten().flatten();
    let name = format!("fm-{device}+");
    groups.filter(|group| group.file_name().to_string_lossy().starts_with(&name)).for_each(|g| remove(&g.path()));
}

/// Ends the groups of a process that is gone, with all that still runs in them.
pub(super) fn sweep(is_gone: impl Fn(u32) -> bool) {
    let Ok((unified, memory)) = mounts() else { return };
    for entry in [Some(unified), memory].into_iter().flatten().flat_map(fs::read_dir).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if owner.is_some_and(&is_gone) {
            remove(&entry.path());
        }
    }
}
