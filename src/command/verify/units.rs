//! Apps that are units of systemd: each unit is ours and starts the version in force, now and at the next boot.

use super::Device;
use fullmetal::console;
use fullmetal::host::{Hosts, Marked, UnitFiles, marked, stored};
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::App;
use std::fs;
use std::path::Path;

const RESTART: &str = "restart the agent: it writes the unit anew";

/// Nothing where a supervisor runs the apps.
pub fn check(device: &mut Device) {
    match Hosts::of(&device.settings) {
        Ok(Hosts::Systemd(_)) => units(device),
        Ok(Hosts::Supervisor(_)) => {}
        Err(error) => device.find(console::one_line(&error.into()), "this program", "install fullmetal again"),
    }
}

fn units(device: &mut Device) {
    let files = UnitFiles::new(device.paths());
    for (name, app) in device.apps() {
        at_boot(device, &name, &app);
        running(device, &files, &name, &app);
    }
    strays(device, &files);
}

/// What `fullmetal-boot` copies, without which the app does not start with the device.
fn at_boot(device: &mut Device, name: &AppName, app: &App) {
    let path = stored(&device.paths().app_dir(name), &app.current.commit);
    let found = fs::read_to_string(&path).map(|text| marked(&text));
    let problem = match found {
        Ok(Some(found)) if found == wanted(app) => return,
        Ok(_) => "its stored unit is damaged".to_owned(),
        Err(error) => format!("its stored unit cannot be read: {error}"),
    };
    device.find(format!("{name} would not start with the device: {problem}"), path.display(), RESTART);
}

/// An app that does not start by itself, or was stopped by hand, may have none yet or its last version's.
fn running(device: &mut Device, files: &UnitFiles, name: &AppName, app: &App) {
    let path = files.path(name);
    let starts = app.current.start.autostart && !device.paths().stopped(name).exists();
    let problem = match files.marked(name) {
        Ok(Some(found)) if found == wanted(app) => return,
        Ok(Some(found)) if starts => {
            format!("{name} is a unit of {}, in force is {}", words(found), words(wanted(app)))
        }
        Ok(Some(_)) => return,
        Ok(None) if fs::symlink_metadata(&path).is_ok() => {
            let remedy = format!("find out who wrote it, remove it, `systemctl daemon-reload`, then {RESTART}");
            return device.find(format!("the unit of {name} is not ours"), path.display(), remedy);
        }
        Ok(None) if starts => format!("{name} has no unit"),
        Ok(None) => return,
        Err(error) => console::one_line(&error.into()),
    };
    device.find(problem, path.display(), RESTART);
}

fn wanted(app: &App) -> Marked {
    Marked { commit: app.current.commit, job: app.current.start.job }
}

fn words(Marked { commit, job }: Marked) -> String {
    if job { format!("{commit} as a job") } else { commit.to_string() }
}

/// Units with our mark of what is not installed.
fn strays(device: &mut Device, files: &UnitFiles) {
    let in_motion = device.record.moves();
    let known = |name: &AppName| device.record.apps.contains_key(name) || in_motion.iter().any(|m| m.name == *name);
    let found = files.all().map(|names| names.into_iter().filter(|name| !known(name)).collect::<Vec<_>>());
    match found {
        Ok(names) => names.iter().for_each(|name| stray(device, name, &files.path(name))),
        Err(error) => device.find(console::one_line(&error.into()), "/run/systemd/system", "call this as root"),
    }
}

fn stray(device: &mut Device, name: &AppName, path: &Path) {
    let remedy = format!("`systemctl stop {name}`, `rm {}`, `systemctl daemon-reload`", path.display());
    device.find(format!("{name} is a unit of ours, but no such app is installed"), path.display(), remedy);
}
