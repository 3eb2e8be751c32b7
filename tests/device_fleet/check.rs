//! After each case: what is there of apps on a device is what its journal says, and what was reported is single and true.

use super::LIMIT;
use super::bench::{Bench, Host};
use fullmetal::current;
use fullmetal::host::UnitFiles;
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{Installed, Record};
use fullmetal_sim::lab::wait_for;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One process of a device.
struct Process {
    pid: u32,
    /// Its control group below the device's, in the hierarchy that systemd keeps.
    group: String,
    root: PathBuf,
    line: String,
}

/// Nothing is under way; units, containers, control groups, mounts, processes and files are what the journal says,
/// and `fullmetal verify` agrees.
pub fn as_its_journal_says(host: &Host) {
    wait_for(&format!("{} comes to rest", host.name), LIMIT, || {
        let record = host.record();
        Ok((record.deployment.is_none() && record.next.is_none()).then_some(()))
    })
    .unwrap();
    let record = host.record();
    let all: BTreeSet<String> = record.apps.keys().map(ToString::to_string).collect();
    for (name, app) in &record.apps {
        assert!(!app.lost, "{}: {name} is lost", host.name);
        runs(host, name, &app.current);
        let mut kept = BTreeSet::from([app.current.commit.to_string()]);
        kept.extend(app.previous.iter().map(|p| p.commit.to_string()));
        checkouts(host, name, &kept);
    }
    units(host, &all);
    processes(host, &record);
    groups(host, &all);
    mounts(host);
    // What ends a deployment may still be put away, and then it looked at two states.
    let told = wait_for("a look at one state", LIMIT, || match host.fullmetal(&["verify"]) {
        Err(again) if again.to_string().contains("verify again") => Ok(None),
        told => Ok(Some(told)),
    })
    .unwrap();
    assert!(told.is_ok(), "{}: {}", host.name, told.unwrap_err());
}

/// The unit is that of the version in force, and so is all that starts it.
fn runs(host: &Host, name: &AppName, version: &Installed) {
    let unit = format!("{name}.service");
    let state = wait_for(&format!("{name} of {} runs", host.name), LIMIT, || {
        let state = ["ActiveState", "SubState"].map(|key| host.property(&unit, key));
        Ok((state == ["active", "running"]).then_some(state))
    });
    assert!(state.is_ok(), "{}: {name} is {}", host.name, host.property(&unit, "ActiveState"));
    let paths = host.paths();
    let files = UnitFiles::new(&paths);
    let marked = files.marked(name).unwrap().unwrap();
    let (current, _) = current::get(&paths.app_dir(name)).unwrap();
    assert_eq!((marked.commit, current), (version.commit, version.commit), "{}: {name}", host.name);
    assert_eq!(host.property(&unit, "NeedDaemonReload"), "no");
    let wanted = host.device.seen("/run/systemd/system/fullmetal-apps.target.wants").unwrap().join(&unit);
    assert!(fs::symlink_metadata(wanted).is_ok(), "{}: {name} is not wanted", host.name);
}

fn checkouts(host: &Host, name: &AppName, kept: &BTreeSet<String>) {
    let entries = || fs::read_dir(host.paths().app_dir(name)).unwrap().flatten();
    let names = || entries().filter_map(|e| e.file_name().into_string().ok());
    let pruned = wait_for("what is not kept goes", LIMIT, || {
        let checkouts: BTreeSet<String> = names().filter(|n| n.len() == 64).collect();
        // What goes is renamed first, and then taken away file by file.
        Ok((checkouts == *kept && !names().any(|n| n.starts_with(".trash-"))).then_some(()))
    });
    let all: Vec<String> = names().collect();
    assert!(pruned.is_ok(), "{}: kept of {name} is {kept:?}, there are {all:?}", host.name);
    let others = all.iter().filter(|n| !kept.contains(n.split('.').next().unwrap_or_default()));
    assert_eq!(others.collect::<Vec<_>>(), ["current"], "{}: {all:?}", host.name);
}

fn units(host: &Host, all: &BTreeSet<String>) {
    let ours: BTreeSet<String> = UnitFiles::new(&host.paths()).all().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(ours, *all, "{}: units", host.name);
    let wants = fs::read_dir(host.device.seen("/run/systemd/system/fullmetal-apps.target.wants").unwrap());
    let wants = wants.into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let wants: BTreeSet<String> = wants.filter_map(|n| n.strip_suffix(".service").map(str::to_owned)).collect();
    assert_eq!(wants, *all, "{}: wanted", host.name);
    let failed = host.device.run(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).unwrap();
    let failed: Vec<&str> = failed.lines().filter(|l| l.contains("fullmetal") || l.contains("not-found")).collect();
    assert!(failed.is_empty(), "{}: {failed:?}", host.name);
    let run = fs::read_dir(host.device.seen("/run/fullmetal/apps").unwrap()).into_iter().flatten().flatten();
    let run: BTreeSet<String> = run.filter_map(|e| e.file_name().into_string().ok()).collect();
    assert!(run.is_subset(all), "{}: {run:?} in /run", host.name);
}

fn all_processes(host: &Host) -> Vec<Process> {
    let read = |pid: &u32| {
        let of = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        let groups = String::from_utf8(of("cgroup")?).ok()?;
        let group = groups.lines().find_map(|l| l.split_once("name=systemd:").or(l.split_once("0::")))?.1;
        let line = String::from_utf8_lossy(&of("cmdline")?).replace('\0', " ");
        let root = fs::read_link(format!("/proc/{pid}/root")).ok()?;
        Some(Process { pid: *pid, group: group.to_owned(), root, line })
    };
    host.device.processes().unwrap().iter().filter_map(read).collect()
}

/// Each running app has one runtime and one container, all of whose processes are in its unit's control group; there is no
/// other runtime and nothing else in a container.
fn processes(host: &Host, record: &Record) {
    let all = wait_for(&format!("the agent of {} runs", host.name), LIMIT, || {
        let all = all_processes(host);
        Ok(all.iter().any(|p| p.line.contains("fullmetal agent")).then_some(all))
    })
    .unwrap();
    let mut in_units: BTreeMap<&str, Vec<&Process>> = BTreeMap::new();
    for process in &all {
        let unit = process.group.split('/').find_map(|part| part.strip_suffix(".service"));
        if let Some(name) = unit.filter(|unit| record.apps.keys().any(|name| name.as_str() == *unit)) {
            in_units.entry(name).or_default().push(process);
        } else {
            // An agent that has just started asks which version it is.
            let runtime = process.line.contains("runc") && !process.line.contains("--version");
            let stray = runtime || process.group.ends_with("/ctr");
            assert!(!stray, "{}: process {} `{}` in {}", host.name, process.pid, process.line, process.group);
        }
    }
    for (name, app) in &record.apps {
        let of_app = in_units.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let runtimes: Vec<_> = of_app.iter().filter(|p| p.line.contains("runc ")).collect();
        assert_eq!(runtimes.len(), 1, "{}: runtimes of {name}", host.name);
        let inside: Vec<_> = of_app.iter().filter(|p| p.group.ends_with("/ctr")).collect();
        assert!(!inside.is_empty(), "{}: {name} has no process", host.name);
        let checkout = app.current.commit.to_string();
        assert!(inside.iter().all(|p| of_checkout(p, &checkout)), "{}: {name} runs another version", host.name);
    }
}

/// The root of a container's process is mounted from its checkout.
fn of_checkout(process: &Process, commit: &str) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).unwrap_or_default();
    let root = mounts.lines().find(|l| l.split(' ').nth(4) == Some("/"));
    // One that has just ended has no mounts any more.
    process.root == Path::new("/") && root.is_none_or(|line| line.contains(commit))
}

/// Control groups of units of ours, and of containers.
fn groups(host: &Host, all: &BTreeSet<String>) {
    let top = host.device.seen("/sys/fs/cgroup").unwrap();
    let mut next = vec![top];
    while let Some(dir) = next.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let unit = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let owner = unit.strip_suffix(".service").filter(|app| all.contains(*app));
            assert!(name != "ctr" || owner.is_some(), "{}: {}", host.name, entry.path().display());
            assert!(!name.starts_with("fm-"), "{}: {}", host.name, entry.path().display());
            if !entry.file_type().unwrap().is_symlink() {
                next.push(entry.path());
            }
        }
    }
}

/// Containers have their mounts for themselves.
fn mounts(host: &Host) {
    let mounts = fs::read_to_string(host.device.seen("/proc/1/mountinfo").unwrap()).unwrap();
    let ours = mounts.lines().filter(|l| ["/var/lib/fullmetal/", "/run/fullmetal/"].iter().any(|p| l.contains(p)));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0], "{}: mounts", host.name);
}

/// Each action of the device has exactly one terminal report, which says what became of it; what is installed is what the
/// newest success brought.
pub fn was_told_truly(bench: &Bench, host: &Host, expected: &[(u64, &str)]) {
    let ends = wait_for("all ends are told", LIMIT, || {
        let ends = bench.ends_told_by(&host.name);
        Ok((ends.len() >= expected.len()).then_some(ends))
    })
    .unwrap();
    let told: Vec<(u64, &str)> = ends.iter().map(|(action, state, _)| (*action, state.as_str())).collect();
    assert_eq!(told, expected, "{}: {ends:?}", host.name);
}
