//! What `fullmetal-boot` does early at each boot: unit files in `/run` from the state in `/var`, then the target of all apps.
//!
//! It needs neither the agent nor the bus, and what it writes needs nothing of us: apps start although `fullmetal` is
//! broken. An app of which something is missing is left out and told; the agent sets it right when it comes.

use crate::config::Paths;
use crate::current;
use crate::host::{APPS_TARGET, UnitFiles, stored};
use anyhow::{Context as _, ensure};
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::FOREIGN_UNIT_LEN_MAX;
use std::fs;
use std::process::Command;

/// Writes the units of all apps whose version in force has one; gives those that could not be, and why.
///
/// # Errors
/// When the apps cannot be listed.
pub fn write_units(paths: &Paths) -> anyhow::Result<Vec<(AppName, anyhow::Error)>> {
    let files = UnitFiles::new(paths);
    let mut left_out = Vec::new();
    let dir = paths.apps_dir();
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(left_out),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().and_then(|n| n.parse::<AppName>().ok()) else { continue };
        if let Err(error) = write_unit(paths, &files, &name) {
            left_out.push((name, error));
        }
    }
    Ok(left_out)
}

/// An app without a version in force has none.
fn write_unit(paths: &Paths, files: &UnitFiles, name: &AppName) -> anyhow::Result<()> {
    let dir = paths.app_dir(name);
    let Some((commit, start)) = current::get(&dir) else { return Ok(()) };
    if let Some(path) = files.namesake(name) {
        anyhow::bail!("{} is a unit of this device, which an app must not replace", path.display());
    }
    let path = stored(&dir, &commit);
    let length = fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?.len();
    ensure!(length <= FOREIGN_UNIT_LEN_MAX as u64, "{} has {length} bytes, which no unit of ours has", path.display());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let marked = crate::host::marked(&text).is_some_and(|marked| marked.commit == commit);
    ensure!(marked, "{} is damaged: it is not the unit of {commit}", path.display());
    files.place_unit(name, &text, start.autostart && !paths.stopped(name).exists())?;
    Ok(())
}

/// Has systemd read the units and start what is to be started, which goes on when this is over.
///
/// # Errors
/// When systemctl cannot be run or fails.
pub fn start_apps() -> anyhow::Result<()> {
    for args in [&["daemon-reload"][..], &["--no-block", "start", APPS_TARGET]] {
        let status = Command::new("systemctl").args(args).status().context("running systemctl")?;
        ensure!(status.success(), "systemctl {} ended with {status}", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Digest;
    use fullmetal_proto::deploy::Installed;
    use fullmetal_proto::wire::StartOptions;
    use std::path::Path;

    fn install(paths: &Paths, name: &str, autostart: bool) -> Digest {
        let (name, commit): (AppName, _) = (name.parse().unwrap(), Digest::of(name.as_bytes()));
        let dir = paths.app_dir(&name);
        fs::create_dir_all(&dir).unwrap();
        let start = StartOptions { autostart, job: false };
        let version = Installed { commit, version: "1".into(), manifest: commit, start, unsigned: false };
        fs::write(stored(&dir, &commit), format!("[X-Fullmetal]\nCommit={commit}\nJob=no\n")).unwrap();
        current::set(&dir, &version).unwrap();
        commit
    }

    fn units(root: &Path) -> Vec<String> {
        let dir = root.join("run/systemd/system");
        let names = |dir: &Path| {
            fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.file_name().into_string().unwrap())
                .collect::<Vec<_>>()
        };
        let mut all = names(&dir.join("fullmetal-apps.target.wants"))
            .iter()
            .map(|n| format!("wanted {n}"))
            .chain(names(&dir))
            .collect::<Vec<_>>();
        all.sort();
        all
    }

    #[test]
    fn units_are_written_for_what_is_in_force_and_wanted_only_if_they_start_by_themselves() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        assert!(write_units(&paths).unwrap().is_empty(), "a device without apps");
        install(&paths, "web", true);
        install(&paths, "tool", false);
        install(&paths, "halted", true);
        fs::create_dir_all(paths.app_dir(&"never".parse().unwrap())).unwrap();
        let mark = paths.stopped(&"halted".parse().unwrap());
        fs::create_dir_all(mark.parent().unwrap()).unwrap();
        fs::write(mark, "").unwrap();
        assert!(write_units(&paths).unwrap().is_empty());
        let expected =
            ["fullmetal-apps.target.wants", "halted.service", "tool.service", "wanted web.service", "web.service"];
        assert_eq!(units(root.path()), expected);
        assert!(write_units(&paths).unwrap().is_empty(), "again is no harm");
    }

    #[test]
    fn what_is_damaged_or_the_systems_own_is_left_out_with_the_reason() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let commit = install(&paths, "web", true);
        install(&paths, "dbus", true);
        install(&paths, "well", true);
        fs::write(stored(&paths.app_dir(&"web".parse().unwrap()), &commit), "[Unit]\n").unwrap();
        let own = root.path().join("usr/lib/systemd/system/dbus.service");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(own, "").unwrap();
        let mut left_out: Vec<_> = write_units(&paths).unwrap().iter().map(|(n, e)| format!("{n}: {e}")).collect();
        left_out.sort();
        assert!(left_out[0].contains("dbus.service is a unit of this device"), "{left_out:?}");
        assert!(left_out[1].contains("is damaged"), "{left_out:?}");
        assert_eq!(left_out.len(), 2);
        assert!(units(root.path()).contains(&"wanted well.service".to_owned()));
    }
}
