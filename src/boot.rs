//! What `fullmetal-boot` does early at each boot: which operating system runs is told, a clock that is far behind is raised, unit
//! files are written to `/run` from the state in `/var`, then the target of all apps is started.
//!
//! It needs neither the agent nor the bus, and what it writes needs nothing of us: apps start although `fullmetal` is
//! broken. An app of which something is missing is left out and told; the agent sets it right when it comes.

use crate::boot_loader::{self, Places};
use crate::config::Paths;
use crate::current;
use crate::host::{APPS_TARGET, UnitFiles, stored};
use crate::identity::{Clock, system_time};
use crate::journal::{self, RECORD_NAME};
use crate::untrusted;
use anyhow::{Context as _, ensure};
use fullmetal_proto::deploy::{FOREIGN_UNIT_LEN_MAX, Installed, Phase, Record};
use fullmetal_proto::wire::{Opened, StartOptions, Trust, open};
use fullmetal_proto::{AppName, DeploymentId, Digest, Timestamp};
use rustix::time::{ClockId, Timespec, clock_settime};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::UNIX_EPOCH;
use std::{fs, io};

/// Which deployment of the operating system runs and what the journal has it for, in one line; none where OSTree deployed nothing.
pub fn running_system(paths: &Paths) -> Option<String> {
    let booted = boot_loader::booted(&Places::below(paths.root()))?;
    let record = journal::peek(&paths.journal_dir());
    let what = match record {
        Ok(record) => what_runs(&booted, &record.unwrap_or_default()),
        Err(error) => format!("whether it was proven here is unknown: {error}"),
    };
    Some(format!("the operating system is deployment {booted}: {what}"))
}

/// What a journal has a deployment for that was booted.
fn what_runs(booted: &DeploymentId, record: &Record) -> String {
    let deployment = record.deployment.as_ref();
    if let Some((phase, os)) = deployment.and_then(|deployment| Some((&deployment.phase, deployment.os.as_ref()?))) {
        let name = format!("{} {}", os.part.name, os.part.installed.version);
        match phase {
            Phase::RollingBack { .. } if os.new == Some(*booted) => {
                return format!("{name}, which failed: it is left again");
            }
            Phase::Proven if os.new == Some(*booted) => return format!("{name}, just proven here"),
            _ if os.new == Some(*booted) => return format!("{name}, on trial"),
            Phase::RollingBack { .. } if os.old == *booted => return format!("the one before {name}, which failed"),
            Phase::Staging if os.old == *booted => return format!("the one before {name}, which is under way"),
            _ if os.old == *booted => return format!("the one before {name}, which did not come up or had no time to"),
            _ => {}
        }
    }
    match &record.os {
        Some(system) if system.app.current.commit == booted.commit => {
            format!("{} {}, the last one proven here", system.name, system.app.current.version)
        }
        Some(_) => "which was not proven here: see `fullmetal status`".to_owned(),
        None => "it came with the device".to_owned(),
    }
}

/// Writes the units of all apps whose version in force has one; gives those that could not be, and why.
///
/// # Errors
/// When the apps cannot be listed.
pub fn write_units(paths: &Paths) -> anyhow::Result<Vec<(AppName, anyhow::Error)>> {
    let files = UnitFiles::new(paths);
    let mut left_out = Vec::new();
    let dir = paths.apps_dir();
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(left_out),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    let instead = instead(paths);
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().and_then(|n| n.parse::<AppName>().ok()) else { continue };
        let version = match instead.get(&name) {
            None => current::get(&paths.app_dir(&name)),
            Some(version) => version.as_ref().map(|version| (version.commit, version.start.clone())),
        };
        if let Err(error) = write_unit(paths, &files, &name, version) {
            left_out.push((name, error));
        }
    }
    Ok(left_out)
}

/// When the boot loader went back to the operating system before, its apps' versions run too, whatever is in force on the
/// disk: what came with the new one may need it. A journal that cannot be read holds nothing up.
fn instead(paths: &Paths) -> BTreeMap<AppName, Option<Installed>> {
    let record = journal::peek(&paths.journal_dir()).ok().flatten();
    let booted = || boot_loader::booted(&Places::below(paths.root()));
    record
        .filter(|record| record.deployment.is_some())
        .map(|record| record.at_boot(booted().as_ref()))
        .unwrap_or_default()
}

/// An app without a version in force has none.
fn write_unit(
    paths: &Paths,
    files: &UnitFiles,
    name: &AppName,
    version: Option<(Digest, StartOptions)>,
) -> anyhow::Result<()> {
    let dir = paths.app_dir(name);
    let Some((commit, start)) = version else { return Ok(()) };
    if let Some(path) = files.namesake(name) {
        anyhow::bail!("{} is a unit of this device, which an app must not replace", path.display());
    }
    let path = stored(&dir, &commit);
    let text = untrusted::read(&path, FOREIGN_UNIT_LEN_MAX as u64);
    let text = text.and_then(|text| String::from_utf8(text).map_err(io::Error::other));
    let text = text.with_context(|| format!("reading {}", path.display()))?;
    let marked = crate::host::marked(&text).is_some_and(|marked| marked.commit == commit);
    ensure!(marked, "{} is damaged: it is not the unit of {commit}", path.display());
    files.place_unit(name, &text, start.autostart && !paths.stopped(name).exists())?;
    Ok(())
}

/// Sets a clock that is behind what this device has seen, as after years without a battery, to the last time that it knows
/// of; gives that time if it did.
///
/// # Errors
/// When the clock cannot be set.
pub fn raise_clock(paths: &Paths) -> anyhow::Result<Option<Timestamp>> {
    let (now, known) = (system_time(), last_known(paths));
    if now >= known {
        return Ok(None);
    }
    let time = Timespec { tv_sec: i64::try_from(known.as_secs())?, tv_nsec: 0 };
    clock_settime(ClockId::Realtime, time).with_context(|| format!("setting the clock from {now} to {known}"))?;
    Ok(Some(known))
}

/// The latest of: this program's release, the issue of the trust file, and the newest record of the journal, unless that was
/// written by a clock that was far ahead. The files are root's: whoever can write them can set the clock as well.
fn last_known(paths: &Paths) -> Timestamp {
    let clock = Clock::new();
    let trust: Option<Opened<Trust>> = fs::read(paths.trust_file()).ok().and_then(|bytes| open(&bytes).ok());
    if let Some(trust) = trust {
        clock.raise(trust.document.issued);
    }
    let written = fs::metadata(paths.journal_dir().join(RECORD_NAME)).and_then(|record| record.modified()).ok();
    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    clock.judge(Timestamp::ZERO.after(written))
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
    use crate::identity::tests::trust_of;
    use fullmetal_proto::deploy::{App, Cause, Deployment, NewOs, NewPart, System, Wish};
    use fullmetal_proto::wire::{Mode, PublicKey, SigningKey, seal};
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

    fn trust(issued: Timestamp) -> Vec<u8> {
        let signer = SigningKey::from_bytes(&[7; 32]);
        let trust = trust_of("plant-7", PublicKey::of(&signer), issued, vec![1]);
        seal(&trust, &[&signer]).unwrap()
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
    fn what_runs_is_told_by_the_phase_of_the_journal() {
        let id = |name: &str| DeploymentId { commit: Digest::of(name.as_bytes()), serial: 0 };
        let version = |name: &str| {
            let (commit, start) = (id(name).commit, StartOptions::default());
            Installed { commit, version: name.to_owned(), manifest: commit, start, unsigned: false }
        };
        let told = |booted: &str, record: &Record| what_runs(&id(booted), record);
        let mut record = Record::default();
        assert_eq!(told("1", &record), "it came with the device");
        let name: AppName = "lab".parse().unwrap();
        let app = App { current: version("1"), previous: None, floor: 0, lost: false };
        record.os = Some(System { name: name.clone(), app });
        assert_eq!(told("1", &record), "lab 1, the last one proven here");
        assert!(told("2", &record).contains("not proven here"));
        let (bundle, installed) = (id("bundle").commit, version("2"));
        let part = NewPart { name, installed, floor: 0, health: false, notify: false, may_stay: false };
        let (seen, expires) = (Timestamp::ZERO, Timestamp::MAX);
        let wish = Wish { action: 7, bundle, mode: Mode::Now, valid_until: None, expires, seen };
        let mut deployment = Deployment::of(wish);
        deployment.os = Some(NewOs { part, old: id("1"), new: Some(id("2")), boot: None });
        let down = "the one before lab 2, which did not come up or had no time to";
        for (phase, runs, other) in [
            (Phase::Staging, "lab 2, on trial", "the one before lab 2, which is under way"),
            (Phase::Arming, "lab 2, on trial", down),
            (Phase::Proving { restarts: 0 }, "lab 2, on trial", down),
            (Phase::Proven, "lab 2, just proven here", down),
            (
                Phase::RollingBack { cause: Cause::default() },
                "lab 2, which failed: it is left again",
                "the one before lab 2, which failed",
            ),
        ] {
            deployment.phase = phase;
            record.deployment = Some(deployment.clone());
            assert_eq!([told("2", &record), told("1", &record)], [runs, other]);
            assert!(told("3", &record).contains("not proven here"));
        }
    }

    #[test]
    fn the_last_time_that_is_known_is_that_of_the_newest_record_unless_its_clock_was_far_ahead() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let (released, year) = (last_known(&paths), std::time::Duration::from_secs(366 * 86_400));
        assert!(released > Timestamp::ZERO, "of a device without any files");
        fs::create_dir_all(paths.journal_dir()).unwrap();
        let record = fs::File::create(paths.journal_dir().join(RECORD_NAME)).unwrap();
        let written = |time: Timestamp| {
            record.set_modified(UNIX_EPOCH + std::time::Duration::from_millis(time.as_millis())).unwrap();
        };
        written(released.after(year / 2));
        assert_eq!(last_known(&paths), released.after(year / 2));
        let issued = released.after(year / 4);
        fs::create_dir_all(paths.trust_file().parent().unwrap()).unwrap();
        fs::write(paths.trust_file(), trust(issued)).unwrap();
        written(Timestamp::ZERO);
        assert_eq!(last_known(&paths), issued);
        written(issued.after(year / 2));
        assert_eq!(last_known(&paths), issued.after(year / 2));
        written(issued.after(year * 70));
        assert_eq!(last_known(&paths), issued);
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
