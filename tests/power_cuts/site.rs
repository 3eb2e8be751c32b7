//! A site with one device whose power goes.

use crate::bench::Bench;
use crate::phases::{self, Phase};
use crate::powered::{Namespaced, Powered};
use crate::{LIMIT, check};
use fullmetal_sim::lab::device::{Device, Loader, SYSTEM_REF, Version};
use fullmetal_sim::lab::machine::{self, Machine};
use fullmetal_sim::lab::{Lost, Mark, Said, wait_for};
use fullmetal_sim::sim::engine::Random;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The device's number in its network.
const NUMBER: u8 = 11;
const NAME: &str = "press-1";
/// How long what is not needed any more may be pruned.
const WHOLE_MAX: Duration = Duration::from_secs(30);
/// The disk of a device in namespaces.
const DISK_MIB: u64 = 1024;

pub struct Site {
    powered: Box<dyn Powered>,
    bench: Bench,
    /// The tree of the kernel that all releases have; a device in namespaces has its host's.
    kernel: Option<PathBuf>,
    /// The newest release of the operating system.
    release: u64,
    /// What runs, as far as that is known.
    runs: u64,
    /// Where in what the device says the newest decision was made.
    decided: Mark,
}

impl Site {
    /// A machine with this loader, or a device in namespaces. It is off; release 1 of its system is on its disk.
    pub fn new(loader: Option<Loader>) -> Self {
        let mut bench = Bench::new(1, |_| {});
        let device = &bench.host().device;
        let kernel = loader.map(|_| machine::kernel(device).unwrap());
        let first = bench.fleet.publish_first_system(device, kernel.as_deref()).unwrap();
        let (repo, dir) = (bench.fleet.repo(), bench.dir.path().join("machine"));
        let commit = first["commit"].as_str().unwrap();
        let powered: Box<dyn Powered> = match loader {
            Some(loader) => {
                Box::new(Machine::new(device, (&bench.net, NAME, NUMBER), (&repo, commit), loader, &dir).unwrap())
            }
            None => {
                fs::create_dir(&dir).unwrap();
                prepare(&mut bench.hosts[0].device, &repo, commit);
                Box::new(Namespaced::new(Said::new(dir)))
            }
        };
        let decided = powered.mark();
        Site { powered, bench, kernel, release: 1, runs: 1, decided }
    }

    /// Switches the device on; the release that it comes up on.
    pub fn comes_up(&mut self) -> u64 {
        let begin = Instant::now();
        let runs = self.powered.boots(&mut self.bench.hosts[0]).unwrap();
        println!("a boot took {:.1} s", begin.elapsed().as_secs_f64());
        assert!(runs == self.runs || runs == self.release, "it runs {runs}");
        runs
    }

    /// Agent, peer and runtime work.
    pub fn an_app_is_deployed(&mut self) {
        self.bench.publish("web", 1, false, &["--probation", "1"]);
        let action = self.bench.decide(&["web"]);
        let end = self.bench.end_of(action);
        assert_eq!(end.state, "succeeded", "{end:?}\n{}", self.said());
    }

    /// Publishes the next release and decides for it; the action, and what ran before.
    pub fn decides(&mut self) -> (u64, u64) {
        let kernel = self.kernel.clone();
        self.decides_for(kernel.as_deref())
    }

    /// The tree of the kernel that all releases of a machine have.
    pub fn kernel(&self) -> &Path {
        self.kernel.as_deref().unwrap()
    }

    /// One that drives the machine's watchdog.
    pub fn kernel_with_watchdog(&self) -> PathBuf {
        machine::kernel_with_watchdog(&self.bench.host().device).unwrap()
    }

    /// The same of one with another kernel.
    pub fn decides_for(&mut self, kernel: Option<&Path>) -> (u64, u64) {
        self.release = self.runs.max(self.release) + 1;
        let version = Version { release: self.release, kernel, ..Version::default() };
        self.bench.fleet.publish_system(&version).unwrap();
        self.decided = self.powered.mark();
        let part = format!("[[part]]\nkind = \"os\"\nref = {SYSTEM_REF:?}\n");
        (self.bench.decide_parts("now", &part, &[]), self.runs)
    }

    /// Waits until the update is so far.
    pub fn until(&mut self, phase: &Phase) {
        wait_for(phase.name, LIMIT, || {
            let host = &mut self.bench.hosts[0];
            let is_it = match phase.says {
                Some(words) => {
                    self.powered.follow(host)?;
                    self.powered.since(self.decided).iter().any(|said| said.contains(words))
                }
                None => self.powered.begins_to_reboot(host)?,
            };
            Ok(is_it.then_some(()))
        })
        .unwrap();
    }

    /// What the device has said since the newest decision, boot by boot; first that in which it was made.
    pub fn boots_since_the_decision(&self) -> Vec<String> {
        self.powered.since(self.decided)
    }

    fn said(&self) -> String {
        self.boots_since_the_decision().concat()
    }

    /// Why an action ended, as the gateway was told.
    pub fn reason(&self, action: u64) -> String {
        let told = self.bench.ends_told_by(NAME);
        told.into_iter().find(|(a, ..)| *a == action).map(|(_, _, reason)| reason).unwrap()
    }

    /// Takes the power away and looks at the disk; what that lost, and how far the update was.
    pub fn loses_power(&mut self, draw: &mut Random) -> (Lost, &'static str) {
        let host = &mut self.bench.hosts[0];
        self.powered.hear(host);
        let lost = self.powered.loses_power(host, draw).unwrap();
        (lost, phases::reached(&self.boots_since_the_decision()))
    }

    /// Waits for the end of an action, which ran `before`, and looks at the device: how it ended, and what runs then.
    pub fn ends(&mut self, action: u64, before: u64) -> (String, u64) {
        let ended = wait_for("the end", LIMIT, || {
            self.powered.follow(&mut self.bench.hosts[0])?;
            self.bench.gateway.check()?;
            let newest = self.bench.gateway.newest_actions()?;
            Ok(newest.get(NAME).filter(|a| a.action == action && a.has_ended()).cloned())
        });
        let end = ended.unwrap_or_else(|e| panic!("{e}\n{}", self.said()));
        let runs = if end.state == "succeeded" { self.release } else { before };
        assert_eq!(self.powered.release(self.bench.host()), Some(runs), "{end:?}\n{}", self.said());
        if self.kernel.is_none() {
            check::as_its_journal_says(self.bench.host());
            // What is pruned meanwhile may be missing to it.
            let is_whole = || Ok(self.bench.host().device.run(&["ostree", "fsck", "--quiet"]).ok().map(drop));
            wait_for("the system's repository is whole", WHOLE_MAX, is_whole).unwrap();
        }
        self.each_end_was_told_once();
        self.runs = runs;
        (end.state, runs)
    }

    /// One power cut is no reason to give an update up.
    pub fn succeeds(&mut self, action: u64, before: u64) -> u64 {
        let (state, runs) = self.ends(action, before);
        assert_eq!(state, "succeeded", "{}\n{}", self.reason(action), self.said());
        runs
    }

    /// Each action so far has one terminal report.
    fn each_end_was_told_once(&self) {
        let told = self.bench.ends_told_by(NAME);
        let actions: Vec<u64> = told.iter().map(|(action, ..)| *action).collect();
        assert_eq!(actions, (1..=self.bench.decisions).collect::<Vec<_>>(), "{told:?}");
    }
}

/// Gives a device a root on a disk that loses what was not flushed.
fn prepare(device: &mut Device, repo: &Path, commit: &str) {
    device.give_logged_disk(DISK_MIB).unwrap();
    device.see(&std::env::current_exe().unwrap());
    device.deploy_from(repo, commit).unwrap();
    device.boots_halfway();
}
