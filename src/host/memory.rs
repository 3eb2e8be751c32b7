//! [`AppHost`] without containers, for tests of what drives it.

use super::{App, AppHost, AppStatus, Health, HostError, Phase, Started};
use fullmetal_proto::wire::report::ExitStatus;
use fullmetal_proto::{AppName, Digest, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(test)]
#[path = "../../tests/host/conformance.rs"]
mod conformance;

/// What the app of a commit does when it is started.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// It ends so at once; `None`: it stays.
    pub exit: Option<ExitStatus>,
    /// What its health command says.
    pub healthy: bool,
    /// What it prints.
    pub log: Vec<String>,
}

impl Default for Behaviour {
    /// Stays and is healthy.
    fn default() -> Self {
        Behaviour { exit: None, healthy: true, log: Vec::new() }
    }
}

/// Pretends to run apps. Clones share one device, so that a test can look at what the agent holds; it outlives
/// the agent as supervisors do.
#[derive(Clone, Debug, Default)]
pub struct MemoryHost {
    shared: Arc<Mutex<Device>>,
}

#[derive(Debug, Default)]
struct Device {
    behaviours: BTreeMap<Digest, Behaviour>,
    apps: BTreeMap<AppName, (App, AppStatus)>,
}

impl MemoryHost {
    /// A device on which every app stays and is healthy, but those that `behave` says otherwise of.
    pub fn new() -> Self {
        MemoryHost::default()
    }

    /// Says what apps of `commit` do from their next start on.
    pub fn behave(&self, commit: Digest, behaviour: Behaviour) {
        self.device().behaviours.insert(commit, behaviour);
    }

    /// A running app ends; unless it is a job that is done, it counts as waiting for its restart.
    pub fn exit(&self, name: &AppName, exit: ExitStatus) {
        if let Some((_, status)) = self.device().apps.get_mut(name) {
            (status.phase, status.last_exit) = (Phase::Exited, Some(exit));
        }
    }

    /// The supervisor of an app is killed.
    pub fn lose(&self, name: &AppName) {
        if let Some((_, status)) = self.device().apps.get_mut(name) {
            status.phase = Phase::Lost;
        }
    }

    /// Somebody stops an app by other means than ours.
    pub fn halt(&self, name: &AppName) {
        if let Some((_, status)) = self.device().apps.get_mut(name) {
            status.phase = Phase::Halted;
        }
    }

    /// The device reboots: nothing runs and nothing is known.
    pub fn reboot(&self) {
        self.device().apps.clear();
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AppHost for MemoryHost {
    fn start(&mut self, app: &App) -> Result<Started, HostError> {
        let mut device = self.device();
        let mut generation = 1;
        if let Some((old, status)) = device.apps.get(&app.name) {
            let done = old.job && status.phase == Phase::Exited && status.last_exit == Some(ExitStatus::Code(0));
            let alive = !done && !matches!(status.phase, Phase::Stopped | Phase::Lost | Phase::Halted);
            if (alive || done) && status.commit == app.commit {
                return Ok(Started::Adopted);
            }
            if alive {
                let (name, running, wanted) = (app.name.clone(), status.commit, app.commit);
                return Err(HostError::Occupied { name, running, wanted });
            }
            generation = status.generation + 1;
        }
        let behaviour = device.behaviours.get(&app.commit).cloned().unwrap_or_default();
        let status = AppStatus {
            phase: if behaviour.exit.is_some() { Phase::Exited } else { Phase::Running },
            commit: app.commit,
            job: app.job,
            generation,
            since: Timestamp::ZERO,
            restarts: 0,
            last_exit: behaviour.exit,
            log: behaviour.log,
        };
        device.apps.insert(app.name.clone(), (app.clone(), status));
        Ok(Started::New)
    }

    fn stop(&mut self, name: &AppName) -> Result<(), HostError> {
        if let Some((_, status)) = self.device().apps.get_mut(name) {
            status.phase = Phase::Stopped;
        }
        Ok(())
    }

    fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError> {
        Ok(self.device().apps.get(name).map(|(_, status)| status.clone()))
    }

    fn health(&self, name: &AppName, _argv: &[String], _limit: Duration) -> Result<Health, HostError> {
        let device = self.device();
        let Some((app, _)) = device.apps.get(name).filter(|(_, s)| s.phase == Phase::Running) else {
            return Ok(Health::NotRunning);
        };
        if device.behaviours.get(&app.commit).is_none_or(|b| b.healthy) {
            return Ok(Health::Healthy);
        }
        Ok(Health::Unhealthy { exit: ExitStatus::Code(1), output: Vec::new() })
    }

    fn list(&self) -> Result<Vec<AppName>, HostError> {
        let running = |s: &AppStatus| !matches!(s.phase, Phase::Stopped | Phase::Halted);
        Ok(self.device().apps.iter().filter(|(_, (_, s))| running(s)).map(|(name, _)| name.clone()).collect())
    }

    fn traces(&self) -> Result<Vec<AppName>, HostError> {
        Ok(self.device().apps.keys().cloned().collect())
    }

    fn remove(&mut self, name: &AppName) -> Result<(), HostError> {
        self.device().apps.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conformance::Fixture;

    #[test]
    fn the_memory_host_is_an_app_host() {
        let host = MemoryHost::new();
        let app = |name: &str, commit: &[u8], job| App { name: name.parse().unwrap(), commit: Digest::of(commit), job };
        let exits = |code| Some(ExitStatus::Code(code));
        let says = |exit, log: &str| Behaviour { exit, healthy: true, log: vec![log.to_owned()] };
        host.behave(Digest::of(b"sick"), Behaviour { healthy: false, ..Behaviour::default() });
        host.behave(Digest::of(b"job"), says(exits(0), "work done"));
        host.behave(Digest::of(b"failing"), says(exits(3), "no disk"));
        conformance::an_app_host(Fixture {
            host: Box::new(host),
            stays: app("web", b"stays", false),
            sick: app("web", b"sick", false),
            job: app("job", b"job", true),
            failing: app("bad", b"failing", false),
            healthy: vec!["true".to_owned()],
        });
    }
}
