//! Bundles and everything that will happen to them.

use crate::deploy::{AppEvent, Candidate};
use crate::wire::bundle::{PartKind, StartOptions};
use crate::wire::report::ExitStatus;
use crate::{AppName, Digest, Timestamp};

/// How a work effect comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    Good,
    /// Fails the first time, to be tried again.
    Once,
    Bad,
    /// Fails because the disk is full.
    Full,
}

/// What an app does once it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Runs,
    Healthy,
    NeverHealthy,
    LosesHealth,
    Exits(i32),
    JobDone,
    JobFails,
    NotStarted,
    /// By its own unit it need not stay, and ends with this, or stays.
    UnitEnds(i32),
    UnitStays,
    /// Says that it is well.
    Says,
}

/// A bundle and everything that will happen to it.
#[derive(Clone, Debug)]
pub struct Script {
    pub parts: Vec<Candidate>,
    pub behaviours: Vec<Behaviour>,
    pub removed: Vec<AppName>,
    pub judge: Luck,
    pub space: Luck,
    pub fetch: Luck,
    pub checkout: Luck,
    pub switch: Luck,
    pub revert: Luck,
}

impl Script {
    /// A bundle of version `version` of these apps, all going well.
    pub fn new(version: &str, apps: &[(&str, Behaviour)]) -> Self {
        Script {
            parts: apps.iter().map(|(name, b)| candidate(name, version, *b)).collect(),
            behaviours: apps.iter().map(|(_, b)| *b).collect(),
            removed: Vec::new(),
            judge: Luck::Good,
            space: Luck::Good,
            fetch: Luck::Good,
            checkout: Luck::Good,
            switch: Luck::Good,
            revert: Luck::Good,
        }
    }

    /// The same with an operating system of the same version.
    pub fn with_os(mut self, version: &str, behaviour: Behaviour) -> Self {
        self.parts.push(system(version, behaviour));
        self.behaviours.push(behaviour);
        self
    }

    /// The same, and these apps leave.
    pub fn without(self, apps: &[&str]) -> Self {
        Script { removed: apps.iter().map(|app| name(app)).collect(), ..self }
    }

    /// What the checkouts tell.
    pub fn jobs(&self) -> Vec<AppName> {
        let by_unit = |b: &Behaviour| matches!(b, Behaviour::UnitEnds(_) | Behaviour::UnitStays);
        self.parts.iter().zip(&self.behaviours).filter(|(_, b)| by_unit(b)).map(|(p, _)| p.name.clone()).collect()
    }

    pub fn digest(&self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }
}

pub fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

pub fn candidate(app: &str, version: &str, behaviour: Behaviour) -> Candidate {
    Candidate {
        kind: PartKind::App,
        name: name(app),
        version: version.into(),
        commit: Digest::of(format!("{app} {version}").as_bytes()),
        manifest: Digest::of(format!("manifest of {app} {version}").as_bytes()),
        start: StartOptions {
            autostart: behaviour != Behaviour::NotStarted,
            job: matches!(behaviour, Behaviour::JobDone | Behaviour::JobFails),
        },
        release: None,
        floor: None,
        probation: None,
        notify: behaviour == Behaviour::Says,
        unsigned: false,
        health: matches!(behaviour, Behaviour::Healthy | Behaviour::NeverHealthy | Behaviour::LosesHealth),
    }
}

/// An operating system whose checks behave so.
pub fn system(version: &str, behaviour: Behaviour) -> Candidate {
    Candidate { kind: PartKind::Os, ..candidate("os", version, behaviour) }
}

impl Behaviour {
    /// What it does right after its start.
    pub fn events(self) -> Vec<AppEvent> {
        let exited = |code| AppEvent::Exited { status: ExitStatus::Code(code), log: vec!["last words".into()] };
        let healthy = AppEvent::Healthy { began: Timestamp::ZERO };
        let unhealthy = AppEvent::Unhealthy { reason: "no answer".into() };
        match self {
            Behaviour::Runs | Behaviour::UnitStays => vec![AppEvent::Running],
            Behaviour::Says => vec![AppEvent::SaysWell, AppEvent::Running],
            Behaviour::Healthy => vec![AppEvent::Running, unhealthy, healthy],
            Behaviour::NeverHealthy => vec![AppEvent::Running, unhealthy],
            Behaviour::LosesHealth => vec![AppEvent::Running, healthy, unhealthy],
            Behaviour::Exits(code) | Behaviour::UnitEnds(code) => vec![AppEvent::Running, exited(code)],
            Behaviour::JobDone => vec![AppEvent::Running, exited(0)],
            Behaviour::JobFails => vec![AppEvent::Running, exited(3)],
            Behaviour::NotStarted => vec![],
        }
    }
}
