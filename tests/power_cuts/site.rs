//! A site with one device, which is a machine.

use crate::LIMIT;
use crate::bench::Bench;
use crate::phases::Phase;
use fullmetal_sim::lab::device::{Loader, SYSTEM_REF, Version};
use fullmetal_sim::lab::machine::{self, Lost, Machine, Mark};
use fullmetal_sim::lab::wait_for;
use fullmetal_sim::sim::engine::Random;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The device's number in its network.
const NUMBER: u8 = 11;
const NAME: &str = "press-1";

pub struct Site {
    machine: Machine,
    bench: Bench,
    kernel: PathBuf,
    /// The newest release of the operating system.
    release: u64,
    /// What runs, as far as that is known.
    runs: u64,
    /// Where in what the machine says the newest decision was made.
    decided: Mark,
}

impl Site {
    /// The machine is off; release 1 of its system is on its disk.
    pub fn new(loader: Loader) -> Self {
        let bench = Bench::new(1, |_| {});
        let device = &bench.host().device;
        let kernel = machine::kernel(device).unwrap();
        let first = bench.fleet.publish_first_system(device, Some(&kernel)).unwrap();
        let (repo, dir) = (bench.fleet.repo(), bench.dir.path().join("machine"));
        let commit = first["commit"].as_str().unwrap();
        let machine = Machine::new(device, (&bench.net, NAME, NUMBER), (&repo, commit), loader, &dir).unwrap();
        let decided = machine.mark();
        Site { machine, bench, kernel, release: 1, runs: 1, decided }
    }

    /// Switches the machine on; the release that it comes up on.
    pub fn comes_up(&mut self) -> u64 {
        let begin = Instant::now();
        let runs = self.machine.boot().unwrap();
        println!("a boot took {:.1} s", begin.elapsed().as_secs_f64());
        assert!(runs == self.runs || runs == self.release, "it runs {runs}");
        runs
    }

    /// Agent, peer and runtime work.
    pub fn an_app_is_deployed(&mut self) {
        self.bench.publish("web", 1, false, &["--probation", "1"]);
        let action = self.bench.decide(&["web"]);
        let end = self.bench.end_of(action);
        assert_eq!(end.state, "succeeded", "{end:?}\n{}", self.machine.said());
    }

    /// The tree of the kernel that all releases have.
    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// Publishes the next release and decides for it; the action, and what ran before.
    pub fn decides(&mut self) -> (u64, u64) {
        let kernel = self.kernel.clone();
        self.decides_for(&kernel)
    }

    /// The same of one with another kernel.
    pub fn decides_for(&mut self, kernel: &Path) -> (u64, u64) {
        self.release = self.runs.max(self.release) + 1;
        let version = Version { release: self.release, kernel: Some(kernel), ..Version::default() };
        self.bench.fleet.publish_system(&version).unwrap();
        self.decided = self.machine.mark();
        let part = format!("[[part]]\nkind = \"os\"\nref = {SYSTEM_REF:?}\n");
        (self.bench.decide_parts("now", &part, &[]), self.runs)
    }

    /// Waits until the update is so far.
    pub fn until(&mut self, phase: &Phase) {
        let (begin, boots) = (self.decided, self.machine.boots());
        wait_for(phase.name, LIMIT, || {
            self.machine.follow()?;
            let is_it = match phase.says {
                Some(words) => self.machine.said_since(begin).contains(words),
                None => self.machine.boots() > boots,
            };
            Ok(is_it.then_some(()))
        })
        .unwrap();
    }

    /// What the machine has said since the newest decision, boot by boot; first that in which it was made.
    pub fn boots_since_the_decision(&self) -> Vec<String> {
        self.machine.boots_since(self.decided)
    }

    /// Why an action ended, as the gateway was told.
    pub fn reason(&self, action: u64) -> String {
        let told = self.bench.ends_told_by(NAME);
        told.into_iter().find(|(a, ..)| *a == action).map(|(_, _, reason)| reason).unwrap()
    }

    /// Kills the machine and looks at its disk.
    pub fn loses_power(&mut self, draw: &mut Random) -> Lost {
        let lost = self.machine.cut_power(draw).unwrap();
        self.machine.check_disk().unwrap();
        lost
    }

    /// Waits for the end of an action, which ran `before`: how it ended, and what runs then. It is told once.
    pub fn ends(&mut self, action: u64, before: u64) -> (String, u64) {
        let ended = wait_for("the end", LIMIT, || {
            self.machine.follow()?;
            self.bench.gateway.check()?;
            let newest = self.bench.gateway.newest_actions()?;
            Ok(newest.get(NAME).filter(|a| a.action == action && a.has_ended()).cloned())
        });
        let end = ended.unwrap_or_else(|e| panic!("{e}\n{}", self.machine.said()));
        let runs = if end.state == "succeeded" { self.release } else { before };
        assert_eq!(self.machine.release(), Some(runs), "{end:?}\n{}", self.machine.said());
        let told = self.bench.ends_told_by(NAME);
        assert_eq!(told.iter().filter(|(a, ..)| *a == action).count(), 1, "{told:?}");
        self.runs = runs;
        (end.state, runs)
    }
}
