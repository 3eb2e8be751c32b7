//! The second line of defence: what a lab has left that was killed before it could clean up.

use crate::lab::{cgroup, net};
use std::fs;
use std::path::Path;

/// Where labs put their directories.
pub const DIR: &str = "/var/tmp";
/// What their names begin with; the owner's process id follows.
const PREFIX: &str = "fullmetal-lab-";

/// The beginning of the name of this process's directories.
pub fn prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Ends and removes what belongs to labs whose process is gone.
pub fn sweep() {
    let is_gone = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
    // Processes first: they hold on to the rest.
    cgroup::sweep(is_gone);
    net::sweep(is_gone);
    for entry in fs::read_dir(DIR).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        // One that was kept on purpose has another name.
        if owner.is_some_and(is_gone) {
            let hosts = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            hosts.for_each(|host| cgroup::end_containers(&host.file_name().to_string_lossy()));
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
