//! Containers and `current` links: brings apps to a version, and back, and sees to it that they run.

use super::checkouts::{Checkouts, entries, file_name};
use super::needs;
use crate::config::Paths;
use crate::current;
use crate::durable;
use crate::host::{App, AppHost, AppStatus, HostError, Phase};
use crate::repo::ObjectStore;
use anyhow::Context as _;
use fullmetal_proto::deploy::{self, Installed, Move, Record};
use fullmetal_proto::wire::StartOptions;
use fullmetal_proto::{AppName, Digest};
use std::collections::{BTreeMap, BTreeSet};
use tracing::{info, warn};

/// Opens the object store, from which damaged checkouts are made again.
pub type OpenStore = Box<dyn Fn() -> anyhow::Result<Box<dyn ObjectStore>> + Send>;

/// All apps of the device.
pub struct Apps {
    paths: Paths,
    host: Box<dyn AppHost>,
    checkouts: Checkouts,
    store: OpenStore,
    /// What was said last of each app that could not be looked after.
    said: BTreeMap<AppName, String>,
}

/// Some parts are not as they were.
#[derive(Debug)]
pub struct NotReverted {
    pub apps: Vec<AppName>,
    /// Why, in one line.
    pub reason: String,
}

impl Apps {
    /// Over the checkouts below `paths` and the containers of `host`.
    pub fn new(paths: Paths, host: Box<dyn AppHost>, checkouts: Checkouts, store: OpenStore) -> Self {
        Apps { paths, host, checkouts, store, said: BTreeMap::new() }
    }

    /// After a start of the agent: what is installed runs, what is not does not, what runs already is untouched.
    ///
    /// Apps whose switch is under way are left to the machine.
    pub fn adopt(&mut self, record: &Record) {
        let in_motion = in_motion(record);
        let settled = record.apps.keys().filter(|name| !in_motion.contains(*name));
        let mut brought = Vec::new();
        for (name, app) in in_start_order(&self.paths, settled, &record.apps) {
            if self.paths.stopped(name).exists() {
                info!(app = %name, "stopped by hand, not started");
                continue;
            }
            let status = self.host.status(name).ok().flatten();
            if status.as_ref().is_some_and(|s| is_by_hand(s, &app.current) || is_halted(s, &app.current)) {
                continue;
            }
            match self.bring(name, &app.current) {
                Ok(()) if !is_as_wished(status.as_ref(), &app.current) => brought.push(name),
                Ok(()) => {}
                Err(error) => warn!(app = %name, error = %format!("{error:#}"), "app not started"),
            }
        }
        self.wake_or_warn(brought);
        self.remove_strays(|name| record.apps.contains_key(name) || in_motion.contains(name));
    }

    /// Some version is the one in force, whatever the journal says.
    pub fn are_in_force(&self) -> bool {
        entries(&self.paths.apps_dir()).unwrap_or_default().iter().any(|dir| current::get(dir).is_some())
    }

    /// When the journal cannot be read: every app runs what its `current` says.
    pub fn adopt_links(&mut self) {
        let dirs = entries(&self.paths.apps_dir()).unwrap_or_default();
        let names: Vec<AppName> = dirs.iter().filter_map(|dir| file_name(dir).parse().ok()).collect();
        for name in needs::start_order(&self.paths, &names) {
            let dir = self.paths.app_dir(&name);
            let Some((commit, start)) = current::get(&dir).filter(|(_, start)| start.autostart) else { continue };
            if self.paths.stopped(&name).exists() {
                continue;
            }
            if let Err(error) = self.host.start(&App { name, commit, job: start.job }) {
                warn!(%error, "app not started");
            }
        }
    }

    /// While nothing is in motion: what is installed runs, also when its supervisor was killed or it could not be
    /// started before. Gives those that count as lost and are in place again.
    pub fn look_after(&mut self, apps: &BTreeMap<AppName, deploy::App>) -> Vec<(AppName, Digest)> {
        let (mut back, mut brought) = (Vec::new(), Vec::new());
        let mut amiss = Vec::new();
        for (name, app) in apps.iter().filter(|(name, _)| !self.paths.stopped(name).exists()) {
            let status = self.host.status(name);
            if !app.lost && status.is_ok_and(|s| is_as_wished(s.as_ref(), &app.current)) {
                self.said.remove(name);
            } else {
                amiss.push(name);
            }
        }
        for (name, app) in in_start_order(&self.paths, amiss, apps) {
            match self.bring(name, &app.current) {
                Ok(()) => {
                    info!(app = %name, commit = %app.current.commit.short(), "app was not as it should be; it was set right");
                    back.extend(app.lost.then(|| (name.clone(), app.current.commit)));
                    brought.push(name);
                }
                Err(error) => self.say(name, &format!("{error:#}")),
            }
        }
        self.wake_or_warn(brought);
        self.remove_strays(|name| apps.contains_key(name));
        back
    }

    fn say(&mut self, name: &AppName, error: &str) {
        if self.said.insert(name.clone(), error.to_owned()).is_none_or(|before| before != error) {
            warn!(app = %name, error, "app does not run as it should; it is tried again");
        }
    }

    fn remove_strays(&mut self, is_known: impl Fn(&AppName) -> bool) {
        for name in self.host.traces().unwrap_or_default().into_iter().filter(|name| !is_known(name)) {
            info!(app = %name, "removing what is not installed");
            if let Err(error) = self.remove(&name) {
                warn!(app = %name, error = %format!("{error:#}"), "not removed");
            }
        }
    }

    /// Brings every part to its new version, and removes what has none.
    pub fn switch(&mut self, moves: &[Move]) -> anyhow::Result<()> {
        let coming = needs::in_order(&self.paths, moves)?;
        let ran = self.host.list()?;
        // What others need goes last.
        for (name, new) in coming.iter().rev().filter(|(name, _)| moves.len() > 1 && ran.contains(name)) {
            if self.host.status(name)?.is_some_and(|s| !is_version(&s, new)) {
                self.host.stop(name)?;
            }
        }
        // After all that changes, which may have needed it until now.
        for name in needs::leaving(&self.paths, moves) {
            self.take_away(&name).with_context(|| format!("removing {name}"))?;
        }
        for (name, new) in &coming {
            durable::remove(&self.paths.stopped(name))?;
            let brought = self.bring(name, new).and_then(|()| self.settle(name, new));
            brought.with_context(|| format!("switching {name} to {}", new.version))?;
        }
        self.wake(coming.iter().map(|(name, _)| name))
    }

    /// Starts again what went down with one of these apps, because it requires that. What systemd stopped with them can be
    /// told by nothing else, least of all after a crash in between.
    fn wake<'a>(&mut self, apps: impl IntoIterator<Item = &'a AppName>) -> anyhow::Result<()> {
        for (name, _) in needs::with_those_that_require(&self.paths, apps) {
            let halted = self.host.status(&name)?.is_some_and(|s| s.phase == Phase::Halted);
            let starts = |start: &StartOptions| start.autostart && halted && !self.paths.stopped(&name).exists();
            let current = current::get(&self.paths.app_dir(&name)).filter(|(_, start)| starts(start));
            if let Some((commit, start)) = current {
                self.host.start(&App { name, commit, job: start.job })?;
            }
        }
        Ok(())
    }

    fn wake_or_warn<'a>(&mut self, apps: impl IntoIterator<Item = &'a AppName>) {
        if let Err(error) = self.wake(apps) {
            warn!(error = %format!("{error:#}"), "an app that requires another was not started again");
        }
    }

    /// Brings every part back to its old version, or removes it where there was none; as many as can be.
    pub fn revert(&mut self, moves: &[Move]) -> Result<(), NotReverted> {
        let mut failed = NotReverted { apps: Vec::new(), reason: String::new() };
        let ran = self.host.list().unwrap_or_default();
        // What others need goes last. One that cannot be stopped here is told of below.
        for m in needs::needed_last(&self.paths, moves).iter().filter(|m| moves.len() > 1 && ran.contains(&m.name)) {
            let back = |s: AppStatus| m.old.as_ref().is_some_and(|old| is_version(&s, old));
            if self.host.status(&m.name).ok().flatten().is_some_and(|s| !back(s)) {
                let _ = self.host.stop(&m.name);
            }
        }
        for m in &needs::back_in_order(&self.paths, moves) {
            let reverted = match &m.old {
                Some(old) => self
                    .bring(&m.name, old)
                    .and_then(|()| self.settle(&m.name, old))
                    .with_context(|| format!("bringing {} {} back", m.name, old.version)),
                None => self.remove(&m.name).with_context(|| format!("removing {}", m.name)),
            };
            if let Err(error) = reverted {
                let between = if failed.apps.is_empty() { "" } else { "; " };
                failed.reason += &format!("{between}{error:#}");
                failed.apps.push(m.name.clone());
            }
        }
        self.wake_or_warn(moves.iter().map(|m| &m.name));
        if failed.apps.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Stops whatever else runs of it, sets `current`, starts this version as it is to be started. Idempotent.
    ///
    /// What a person stopped stays stopped, also one that is stopped while this works.
    fn bring(&mut self, name: &AppName, version: &Installed) -> anyhow::Result<()> {
        let mark = self.paths.stopped(name);
        let runs = version.start.autostart && !mark.exists();
        let running = self.host.status(name)?.filter(|s| s.phase != Phase::Stopped);
        if running.is_some_and(|s| !runs || !is_version(&s, version)) {
            self.host.stop(name)?;
        }
        let dir = self.paths.app_dir(name);
        durable::make_dir(&dir, 0o755)?;
        self.prepare(name, version)?;
        current::set(&dir, version)?;
        if runs {
            self.start(name, version)?;
            return if mark.exists() { Ok(self.host.stop(name)?) } else { Ok(()) };
        }
        match self.checkouts.flaw(name, &version.commit) {
            Some(_) => self.checkouts.make(&*(self.store)()?, name, &version.commit),
            None => Ok(()),
        }?;
        Ok(self.host.place(&App::of(name, version))?)
    }

    /// Before `current` names it: what starts apps at boot has only the disk. A damaged checkout, and a policy that has
    /// changed meanwhile, are told by the start.
    fn prepare(&mut self, name: &AppName, version: &Installed) -> anyhow::Result<()> {
        let app = App::of(name, version);
        match self.host.prepare(&app) {
            Err(HostError::Refused { .. } | HostError::Policy { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// After a reboot or a start of the agent in the midst of a switch, the app may be on its way already: its probation
    /// begins when it is up, as without that.
    fn settle(&mut self, name: &AppName, version: &Installed) -> anyhow::Result<()> {
        Ok(self.host.settle(&App::of(name, version))?)
    }

    fn start(&mut self, name: &AppName, version: &Installed) -> anyhow::Result<()> {
        let app = App::of(name, version);
        match self.host.start(&app) {
            Err(HostError::Occupied { .. }) => {
                self.host.stop(name)?;
                self.host.start(&app)?;
            }
            // Its checkout may be damaged or gone; if it is as it was published, a fresh one is refused again.
            Err(ref refused @ HostError::Refused { ref source, .. }) if source.may_be_damage() => {
                let again = (self.store)().and_then(|store| self.checkouts.make_again(&*store, name, &app.commit));
                again.with_context(|| refused.to_string())?;
                self.host.start(&app)?;
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Nothing of it is left for the system to start. What it takes to bring it back stays until it is pruned: checkouts,
    /// and that a person stopped it.
    fn take_away(&mut self, name: &AppName) -> anyhow::Result<()> {
        self.host.remove(name)?;
        Ok(durable::remove(&self.paths.current(name))?)
    }

    fn remove(&mut self, name: &AppName) -> anyhow::Result<()> {
        self.take_away(name)?;
        Ok(durable::remove(&self.paths.stopped(name))?)
    }
}

/// Whether what is there of an app is this version, started as this version is started.
fn is_version(status: &AppStatus, version: &Installed) -> bool {
    status.commit == version.commit && status.job == version.start.job
}

/// Somebody stopped this version by the means of the system, which is not ours to fight.
fn is_halted(status: &AppStatus, version: &Installed) -> bool {
    status.phase == Phase::Halted && is_version(status, version)
}

/// An app that does not start by itself and that a person has started.
fn is_by_hand(status: &AppStatus, version: &Installed) -> bool {
    !version.start.autostart && status.is_alive() && is_version(status, version)
}

fn is_as_wished(status: Option<&AppStatus>, version: &Installed) -> bool {
    match status {
        Some(s) if s.is_alive() => is_version(s, version),
        Some(s) if is_halted(s, version) => true,
        Some(s) => !version.start.autostart && s.phase == Phase::Stopped,
        None => !version.start.autostart,
    }
}

fn in_start_order<'a>(
    paths: &Paths,
    names: impl IntoIterator<Item = &'a AppName>,
    apps: &'a BTreeMap<AppName, deploy::App>,
) -> Vec<(&'a AppName, &'a deploy::App)> {
    needs::start_order(paths, names).iter().filter_map(|name| apps.get_key_value(name)).collect()
}

fn in_motion(record: &Record) -> BTreeSet<AppName> {
    match &record.deployment {
        Some(deployment) if deployment.phase != deploy::Phase::Staging => {
            record.moves().into_iter().map(|m| m.name).collect()
        }
        _ => BTreeSet::new(),
    }
}
