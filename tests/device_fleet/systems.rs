//! A site whose devices have a root that OSTree deployed, and a boot loader that counts.

use crate::LIMIT;
use crate::bench::{Bench, Host};
use fullmetal_sim::lab::device::{Device, SYSTEM_REF, VERSION_FILE, Version};
use fullmetal_sim::lab::wait_for;
use serde_json::Value;
use std::fs;

/// What a boot of a device is of: the loader's entry, and what it has left of the tries.
pub type Booted = (usize, Option<u8>);

/// The site; all devices are told the same.
pub struct Site {
    pub bench: Bench,
    /// The newest release of the operating system.
    pub release: u64,
}

impl Site {
    /// Devices that run release 1, which is published.
    pub fn new(devices: u8) -> Self {
        Site::with(devices, |_| {})
    }

    /// The same; `given` has its way with each before it gets a root.
    pub fn with(devices: u8, given: impl Fn(&mut Device)) -> Self {
        let mut bench = Bench::new(devices, |_| {});
        for host in &mut bench.hosts {
            given(&mut host.device);
            host.device.see(&std::env::current_exe().unwrap());
        }
        bench.boot_deployed();
        Site { bench, release: 1 }
    }

    /// Publishes the next release with files (path, text, mode) beyond those of the first; its commit.
    pub fn publish(&mut self, files: &[(&str, &str, u32)]) -> String {
        self.publish_above(None, files)
    }

    /// The same, which nobody goes back from to one below `floor`.
    pub fn publish_above(&mut self, floor: Option<u64>, files: &[(&str, &str, u32)]) -> String {
        self.release += 1;
        let version = Version { release: self.release, floor, files, ..Version::default() };
        commit(&self.bench.fleet.publish_system(&version).unwrap()).to_owned()
    }

    /// Decides that all take the newest release, and apps with it; the action.
    pub fn decide(&mut self, apps: &[&str]) -> u64 {
        self.decide_in("now", apps)
    }

    /// The same in another mode.
    pub fn decide_in(&mut self, mode: &str, apps: &[&str]) -> u64 {
        let apps: String = apps.iter().map(|app| format!("[[part]]\nref = \"apps/{app}/x86_64\"\n")).collect();
        self.bench.decide_parts(mode, &format!("[[part]]\nkind = \"os\"\nref = {SYSTEM_REF:?}\n{apps}"), &[])
    }

    /// Decides that all take this commit of the operating system.
    pub fn decide_commit(&mut self, commit: &str) -> u64 {
        let part = format!("[[part]]\nkind = \"os\"\nref = {SYSTEM_REF:?}\ncommit = {commit:?}\n");
        self.bench.decide_parts("now", &part, &[])
    }

    pub fn host(&self) -> &Host {
        self.bench.host()
    }

    /// Waits for the end of an action of the first device; which release runs then, why it ended so, and the boots on the way.
    pub fn ends(&mut self, action: u64, state: &'static str, release: u64) -> (String, Vec<Booted>) {
        let before = self.host().device.boots().len();
        self.ends_since(before, action, state, release)
    }

    /// The same with the boots after the first `before` of the device.
    pub fn ends_since(
        &mut self,
        before: usize,
        action: u64,
        state: &'static str,
        release: u64,
    ) -> (String, Vec<Booted>) {
        let reason = self.bench.ends(action, state);
        assert_eq!(self.host().system(), release, "after action {action}");
        assert_eq!(self.host().on_trial(), None, "after action {action}");
        (reason, self.boots_since(before))
    }

    /// The boots of the first device after its first `before`.
    pub fn boots_since(&self, before: usize) -> Vec<Booted> {
        self.host().device.boots()[before..].iter().map(|boot| (boot.entry, boot.tries_left)).collect()
    }

    /// Waits until the second device runs the newest release, proven.
    pub fn the_other_has_the_newest(&mut self) {
        wait_for("the other device has the newest release", LIMIT, || {
            let other = &mut self.bench.hosts[1];
            other.device.follow()?;
            Ok((other.system() == self.release && other.on_trial().is_none()).then_some(()))
        })
        .unwrap();
    }

    /// Waits until it is so on the first device, which may reboot meanwhile.
    pub fn until(&mut self, what: &str, is_it: impl Fn(&Host) -> bool) {
        wait_for(what, LIMIT, || {
            self.bench.follow()?;
            Ok(is_it(self.bench.host()).then_some(()))
        })
        .unwrap();
    }
}

impl Bench {
    /// Publishes release 1 of the operating system and boots all devices with it as their root.
    pub fn boot_deployed(&mut self) {
        let first = self.fleet.publish_first_system(&self.hosts[0].device, None).unwrap();
        for host in &mut self.hosts {
            host.device.deploy_from(&self.fleet.repo(), commit(&first)).unwrap();
            host.device.boots_halfway();
            host.device.boot().unwrap();
        }
    }
}

impl Host {
    /// The release of the operating system that runs.
    pub fn system(&self) -> u64 {
        let said = self.device.seen(VERSION_FILE).and_then(|path| Ok(fs::read_to_string(path)?));
        said.ok().and_then(|said| said.trim().parse().ok()).unwrap_or(0)
    }

    /// What the boot loader counts.
    pub fn on_trial(&self) -> Option<String> {
        self.device.loader_variable("fullmetal_trial").unwrap().filter(|trial| !trial.is_empty())
    }
}

fn commit(published: &Value) -> &str {
    published["commit"].as_str().unwrap()
}
