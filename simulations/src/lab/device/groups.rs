//! The control groups of a device: one in each hierarchy that it sees, as the root of what it sees.

use crate::lab::cgroup;
use anyhow::Context as _;
use std::fs;
use std::path::PathBuf;

/// A hierarchy of control groups of this host.
pub struct Hierarchy {
    /// Where it is mounted.
    pub mounted: PathBuf,
    /// Its options: controllers, or `name=…`; none for the second version.
    pub options: Vec<String>,
}

impl Hierarchy {
    /// Whether it is the second version.
    pub fn is_second(&self) -> bool {
        self.options.is_empty()
    }
}

/// The name of a device's groups; by its beginning the lab knows whose they are.
pub fn name(device: &str) -> String {
    format!("{}{}-{device}", cgroup::PREFIX, std::process::id())
}

/// All hierarchies of this host.
pub fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in text.lines().map(|line| line.split(' ').collect::<Vec<_>>()) {
        let plain = ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "xattr", "clone_children"];
        let own = |option: &&str| !plain.contains(option) && !option.starts_with("release_agent=");
        let options = match mount.get(2) {
            Some(&"cgroup2") => Vec::new(),
            Some(&"cgroup") => mount[3].split(',').filter(own).map(str::to_owned).collect(),
            _ => continue,
        };
        if !found.iter().any(|h| h.options == options) {
            found.push(Hierarchy { mounted: mount[1].into(), options });
        }
    }
    Ok(found)
}

/// Moves this process into groups of that name, made if need be.
pub fn enter(group: &str, second: bool) -> anyhow::Result<()> {
    for hierarchy in hierarchies()?.into_iter().filter(|h| !second || h.is_second()) {
        let dir = hierarchy.mounted.join(group);
        fs::create_dir_all(&dir).with_context(|| format!("making control group {}", dir.display()))?;
        if hierarchy.options.iter().any(|o| o == "cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = fs::read(hierarchy.mounted.join(file)).with_context(|| format!("reading {file}"))?;
                fs::write(dir.join(file), value).with_context(|| format!("writing {file}"))?;
            }
            fs::write(dir.join("cgroup.clone_children"), "1")?;
        }
        fs::write(dir.join("cgroup.procs"), "0").with_context(|| format!("entering {}", dir.display()))?;
    }
    Ok(())
}

/// Kills what is left in the groups of that name, and removes them.
pub fn remove(group: &str) {
    for hierarchy in hierarchies().into_iter().flatten() {
        cgroup::remove(&hierarchy.mounted.join(group));
    }
}
