//! `fullmetal app`: stops and starts single apps by hand.

use super::asking::is_root;
use super::options::{Nothing, OnDevice, Printing};
use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use fullmetal::agent::with_those_that_require;
use fullmetal::config::{Paths, Settings};
use fullmetal::console::{self, UsageError};
use fullmetal::durable::{self, Existing};
use fullmetal::host::{App, AppHost, Hosts, Phase};
use fullmetal::journal;
use fullmetal::status;
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{self, Record};
use serde_json::json;
use std::fmt::Write as _;

#[derive(Subcommand)]
pub enum AppCommand {
    /// Show the apps and what each is doing.
    List(OnDevice<Printing<Nothing>>),
    /// Stop an app; it stays stopped, also over a reboot, until `start` or the next deployment of it.
    Stop(OnDevice<NameArgs>),
    /// Start an app that was stopped by hand, or that does not start by itself.
    Start(OnDevice<NameArgs>),
}

#[derive(Args)]
pub struct NameArgs {
    /// The app, as `fullmetal app list` shows it.
    name: AppName,
}

pub fn run(command: AppCommand, before: &super::Before) -> anyhow::Result<()> {
    match command {
        AppCommand::List(on) => list(on.paths(before), on.args.json(before)),
        AppCommand::Stop(on) => stop(&Device::open(on.paths(before))?, &on.args.name),
        AppCommand::Start(on) => start(&Device::open(on.paths(before))?, &on.args.name),
    }
}

struct Device {
    settings: Settings,
    record: Record,
}

impl Device {
    fn open(paths: Paths) -> anyhow::Result<Self> {
        let settings = Settings::load(paths)?;
        let record = journal::peek(&settings.paths.journal_dir())?.unwrap_or_default();
        Ok(Device { settings, record })
    }

    fn host(&self) -> anyhow::Result<Box<dyn AppHost>> {
        Ok(Hosts::of(&self.settings)?.open())
    }

    /// The app as it is installed; an agent that is about to switch it is not interfered with.
    fn installed(&self, name: &AppName) -> anyhow::Result<App> {
        ensure!(is_root(), "apps are containers of root: call this as root");
        let Some(app) = self.record.apps.get(name) else {
            let names: Vec<&str> = self.record.apps.keys().map(AppName::as_str).collect();
            let there =
                if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
            return Err(UsageError(format!("no app {name} is installed here; {there}")).into());
        };
        let under_way = self.record.deployment.as_ref().filter(|d| d.phase != deploy::Phase::Staging);
        if let Some(deployment) = under_way.filter(|d| d.touches(name)) {
            ensure!(
                !deployment.by_hand,
                "{name} is being rolled back; try again when `fullmetal status` shows its end"
            );
            bail!(
                "action {} is switching {name} now; try again when `fullmetal status` shows its end",
                deployment.wish.action
            );
        }
        Ok(App::of(name, &app.current))
    }
}

/// The mark comes first: an agent that starts meanwhile leaves the app alone.
fn stop(device: &Device, name: &AppName) -> anyhow::Result<()> {
    device.installed(name)?;
    let mark = device.settings.paths.stopped(name);
    if let Some(dir) = mark.parent() {
        durable::make_dir(dir, 0o755)?;
    }
    durable::write(&mark, b"", 0o644, Existing::Replaced)?;
    device.host()?.stop(name).with_context(|| format!("stopping {name}"))?;
    console::print(&format!("{name} is stopped until `fullmetal app start {name}` or its next deployment\n"))
}

fn start(device: &Device, name: &AppName) -> anyhow::Result<()> {
    let app = device.installed(name)?;
    durable::remove(&device.settings.paths.stopped(name))?;
    let mut host = device.host()?;
    host.start(&app).with_context(|| format!("starting {name}"))?;
    console::print(&format!("{name} runs from commit {}\n", app.commit.short()))?;
    // What went down with it: nobody said that it should stay so.
    for (app, required) in with_those_that_require(&device.settings.paths, [name]) {
        let (Some(required), Ok(installed)) = (required, device.installed(&app)) else { continue };
        let starts = device.record.apps[&app].current.start.autostart;
        if starts && host.status(&app)?.is_some_and(|status| status.phase == Phase::Halted) {
            host.start(&installed).with_context(|| format!("starting {app}, which requires {required}"))?;
            console::print(&format!("{app} runs again, which requires {required}\n"))?;
        }
    }
    Ok(())
}

fn list(paths: Paths, json: bool) -> anyhow::Result<()> {
    let device = Device::open(paths)?;
    let host = device.host()?;
    let apps: Vec<_> = device
        .record
        .apps
        .iter()
        .map(|(name, app)| status::app_json(&device.settings.paths, &*host, name, app))
        .collect();
    if json {
        return console::print_json(&json!({ "device": device.settings.device.id, "apps": apps }));
    }
    let mut text = String::new();
    apps.iter().for_each(|app| super::status::app_line(&mut text, app));
    if apps.is_empty() {
        let _ = writeln!(text, "no apps on {}", device.settings.device.id);
    }
    console::print(&text)
}
