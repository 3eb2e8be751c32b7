//! A device's operating system around the machine: what libostree has deployed, and a boot loader that counts.

use super::world::World;
use crate::deploy::*;
use crate::{DeploymentId, Digest};
use std::collections::BTreeSet;

/// What survives a power cut, but for what is staged.
#[derive(Clone, Debug)]
pub struct OsWorld {
    pub booted: DeploymentId,
    pub entries: Vec<DeploymentId>,
    pub staged: Option<DeploymentId>,
    pub counted: Option<(DeploymentId, u8)>,
    /// Commits that never come up.
    pub dead: BTreeSet<Digest>,
    /// Commits whose kernel cannot be loaded.
    pub unloadable: BTreeSet<Digest>,
    pub boots: u32,
    /// What was proven, or ran from the beginning: only that may be booted without a counter.
    pub trusted: BTreeSet<Digest>,
    /// Commits from which the boot loader cannot be reached.
    pub hidden: BTreeSet<Digest>,
    /// Steps that fail for good.
    pub broken: BTreeSet<&'static str>,
    /// What the device and what it is given have both changed.
    pub etc_kept: Vec<String>,
    entry: Option<Entry>,
}

impl OsWorld {
    /// One that runs this version and has nothing else.
    pub fn new(version: &str) -> Self {
        let booted = DeploymentId { commit: commit(version), serial: 0 };
        OsWorld {
            booted,
            entries: vec![booted],
            staged: None,
            counted: None,
            dead: BTreeSet::new(),
            unloadable: BTreeSet::new(),
            boots: 1,
            trusted: BTreeSet::from([booted.commit]),
            hidden: BTreeSet::new(),
            broken: BTreeSet::new(),
            etc_kept: Vec::new(),
            entry: None,
        }
    }

    pub fn view(&self) -> OsView {
        OsView {
            booted: self.booted,
            version: "0".into(),
            boot: BootId(self.boots.to_string()),
            entries: self.entries.clone(),
            staged: self.staged,
            counted: self.counted.map(|(trial, tries_left)| Counted { trial: Some(trial), tries_left }),
            entry: self.entry,
            obstacle: self.hidden.contains(&self.booted.commit).then(|| "no configuration".to_owned()),
            etc_kept: Vec::new(),
        }
    }

    pub fn stage(&mut self, commit: Digest) -> StagedOs {
        let taken = |serial| self.entries.contains(&DeploymentId { commit, serial });
        let serial = (0..).find(|serial| !taken(*serial)).unwrap();
        let id = *self.staged.insert(DeploymentId { commit, serial });
        StagedOs { id, etc_kept: self.etc_kept.clone() }
    }

    pub fn keep(&mut self, commits: &[Digest]) {
        assert_eq!(self.counted, None, "nothing may be pruned during a trial");
        self.staged = None;
        let booted = self.booted;
        self.entries.retain(|e| *e == booted || commits.contains(&e.commit));
    }

    /// As often as it takes until something comes up.
    pub fn boot(&mut self) {
        self.staged = None;
        for _ in 0..10 {
            self.boots += 1;
            let (mut entry, tries) = (0, self.counted.map(|(_, tries)| tries));
            match &mut self.counted {
                Some((_, 0)) => entry = 1,
                Some((_, tries)) => *tries -= 1,
                None => {}
            }
            if self.entries.get(entry).is_none_or(|e| self.unloadable.contains(&e.commit)) {
                entry = 1 - entry;
            }
            self.booted = self.entries[entry];
            self.entry = Some(if entry == 0 { Entry::First } else { Entry::Second });
            let commit = self.booted.commit;
            assert!(tries.is_some() || self.trusted.contains(&commit), "booted uncounted: {self:?}");
            if !self.dead.contains(&commit) {
                return;
            }
        }
        panic!("bricked: {self:?}");
    }

    /// A part of a step at a time; true once it is done.
    fn step(&mut self, step: &OsStep) -> bool {
        match step {
            OsStep::Arm { old, new } if self.counted != Some((*new, 3)) => {
                assert!(self.booted == *old && self.trusted.contains(&old.commit));
                self.counted = Some((*new, 3));
            }
            OsStep::Arm { old, new } if self.entries.first() != Some(new) => {
                self.entries.retain(|e| e != new);
                assert_eq!((self.staged, self.entries.first()), (Some(*new), Some(old)));
                self.entries.insert(0, *new);
            }
            OsStep::GiveUp { new, .. } => self.counted = Some((*new, 0)),
            OsStep::Clear(id) => {
                assert_eq!(self.booted, *id);
                self.trusted.insert(id.commit);
                self.counted = None;
            }
            OsStep::Clean { old, new } if self.entries.contains(new) => {
                assert_eq!(self.booted, *old);
                if self.counted == Some((*old, 5)) {
                    self.entries.retain(|e| e != new);
                } else {
                    self.counted = Some((*old, 5));
                }
                return false;
            }
            OsStep::Clean { .. } => self.counted = None,
            _ => return true,
        }
        !matches!(step, OsStep::Arm { .. })
    }
}

impl World {
    pub fn os_step(&mut self, ticket: Ticket, step: OsStep) {
        let name = effect_name(&Effect::Os { ticket, step: step.clone() });
        let Some(os) = &mut self.os else {
            return self.inbox.push_back(Input::OsDone { ticket, view: None, last_boot: None });
        };
        if os.broken.contains(name) {
            let reason = format!("{name} failed");
            return self.inbox.push_back(Input::Failed { ticket, retry: false, reason });
        }
        if !os.step(&step) {
            return self.effects.push_front(Effect::Os { ticket, step });
        }
        let boot = BootId((os.boots - 1).to_string());
        let last_boot = Some(LastBoot { boot, lines: vec!["the last line".to_owned()] });
        self.inbox.push_back(Input::OsDone { ticket, view: Some(os.view()), last_boot });
    }

    /// How far the deployment is by the record on the disk.
    pub fn durable_phase(&self) -> Option<Phase> {
        self.disk.as_ref()?;
        self.durable().deployment.map(|d| d.phase)
    }

    /// The device goes down and comes up.
    pub fn cut_power(&mut self) {
        if let Some(os) = &mut self.os {
            os.boot();
        }
        self.crash();
    }
}

/// As [`super::script::system`] has it.
pub fn commit(version: &str) -> Digest {
    Digest::of(format!("os {version}").as_bytes())
}

/// For traces.
pub fn effect_name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Persist { .. } => "persist",
        Effect::Judge { .. } => "judge",
        Effect::CheckSpace { .. } => "space",
        Effect::Fetch { .. } => "fetch",
        Effect::Checkout { .. } => "checkout",
        Effect::Switch { .. } => "switch",
        Effect::Revert { .. } => "revert",
        Effect::Cancel { .. } => "cancel",
        Effect::Os { step, .. } => match step {
            OsStep::Look => "look",
            OsStep::Arm { .. } => "arm",
            OsStep::GiveUp { .. } => "give up",
            OsStep::Clear(_) => "clear",
            OsStep::Clean { .. } => "clean",
            OsStep::Room(_) | OsStep::Stage(_) | OsStep::Keep(_) => "not asked for by the machine",
        },
        Effect::Reboot { .. } => "reboot",
        Effect::Report { .. } => "report",
        Effect::Prune { .. } => "prune",
        Effect::Ignored { .. } => "ignored",
    }
}
