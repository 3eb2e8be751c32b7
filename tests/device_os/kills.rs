//! Every step of an operating system's update is ended at a call that changes or syncs the disk: killed and asked for again,
//! as by an agent that was restarted, or with the power of the whole device, whose disk loses what was not flushed and whose boot
//! loader replays no journal.
//!
//! `FULLMETAL_KILL=all` takes all calls that count, otherwise it is what fits [`BUDGET`].

use super::{Bench, PROGRAM};
use fullmetal::os::{GENERATOR, Os as _, Step, words};
use fullmetal_proto::deploy::{Counted, OsView};
use fullmetal_proto::{DeploymentId, Digest};
use fullmetal_sim::lab::wait_for;
use fullmetal_sim::sim::engine::Random;
use fullmetal_sim::trace::Points;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(300);
const TRACER: &str = "/run/lab/fullmetal-sim";
const COUNT: &str = "/run/lab/count";
/// libostree's own unit does part of a step when it is stopped.
const FINALIZER: &str = "/run/systemd/system/ostree-finalize-staged.service.d/traced.conf";

/// What is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Stage,
    Arm,
    /// Of arming, what libostree's unit does.
    Finalize,
    Clear,
    KeepProven,
    GiveUp,
    Clean,
    KeepOld,
}

impl Part {
    /// So many calls count in each at least.
    fn calls_min(self) -> u64 {
        match self {
            Part::Stage => 30,
            Part::Arm => 6,
            Part::Finalize => 55,
            Part::KeepProven | Part::Clean => 15,
            Part::Clear | Part::GiveUp => 2,
            Part::KeepOld => 20,
        }
    }
}

struct Kills<'a> {
    bench: &'a mut Bench,
    points: Points,
    /// Where all are taken: those that are left of each, once its calls were counted.
    left: BTreeMap<Part, Vec<u64>>,
    rounds: u32,
    /// What somebody else has deployed beside: it stays whatever is ended where.
    other: Option<DeploymentId>,
    cuts: u32,
    kills: u32,
    missed: u32,
}

/// Updates that are proven and updates that fail, in turn.
pub fn every_step_is_cut_off(bench: &mut Bench) {
    let mut kills = Kills {
        bench,
        points: Points::chosen(),
        left: BTreeMap::new(),
        rounds: 0,
        other: None,
        cuts: 0,
        kills: 0,
        missed: 0,
    };
    kills.points.begin();
    while kills.rounds < 4 || !kills.is_over() {
        if kills.rounds == 2 {
            kills.somebody_else_deploys();
        }
        kills.round();
    }
    let Kills { rounds, kills, cuts, missed, points, .. } = kills;
    println!("{rounds} updates in {:?}: {kills} kills, {cuts} cuts, {missed} missed", points.elapsed());
    // The last of all calls may come or not.
    assert!(missed * 10 < kills + cuts, "calls were missed");
}

impl Kills<'_> {
    fn is_over(&self) -> bool {
        let none_left = self.left.values().all(Vec::is_empty);
        if self.points.all { none_left } else { self.points.is_over(BUDGET) }
    }

    fn round(&mut self) {
        self.rounds += 1;
        let (old, new) = self.is_put_on_trial();
        if self.rounds % 2 == 1 {
            self.is_proven(old, new);
        } else {
            self.is_left(old, new);
        }
    }

    /// Gives what ran and what runs then.
    fn is_put_on_trial(&mut self) -> (DeploymentId, DeploymentId) {
        let before = self.ask(&Step::Look);
        let (old, commit) = (before.booted, self.bench.new_commit(self.rounds));
        let stage = Step::Stage(commit);
        let view = self.cut_off(Part::Stage, &stage);
        assert_eq!((view.booted, view.counted, &view.entries), (old, None, &before.entries));
        let mut new = self.staged(commit, &before);
        let one = if self.rounds > 2 { self.points.draw() } else { self.rounds.into() };
        let part = [Part::Finalize, Part::Arm][usize::from(one % 2 == 1)];
        let view = self.cut_off(part, &Step::Arm { old, new });
        if view.booted == new {
            is_counted(&view, new);
            return (old, new);
        }
        assert_eq!(view.booted, old);
        // Where it was cut off outside of itself, it has taken all back.
        if view.boot != before.boot || part == Part::Finalize && view.counted.is_none() {
            let view = self.ask(&Step::Clean { old, new });
            assert_eq!((view.entries.first(), &view.counted), (Some(&old), &None));
            // What was there besides has gone, if it had been finalized and the boot loader could not see that yet.
            new = self.staged(commit, &view);
        }
        let view = self.ask(&Step::Arm { old, new });
        assert_eq!((&view.entries[..], view.staged), (&[new, old][..], None));
        assert_eq!(view.counted, Some(Counted { trial: Some(new), tries_left: 3 }));
        self.bench.device.reboot().unwrap();
        let view = self.ask(&Step::Look);
        assert_eq!(view.booted, new);
        is_counted(&view, new);
        (old, new)
    }

    fn staged(&mut self, commit: Digest, before: &OsView) -> DeploymentId {
        let view = self.ask(&Step::Stage(commit));
        assert_eq!((view.booted, view.counted, &view.entries), (before.booted, None, &before.entries));
        let staged = view.staged.unwrap();
        assert_eq!(staged.commit, commit);
        staged
    }

    fn is_proven(&mut self, old: DeploymentId, new: DeploymentId) {
        let clear = Step::Clear(new);
        assert_eq!(self.cut_off(Part::Clear, &clear).booted, new);
        let view = self.ask(&clear);
        assert_eq!((&view.entries[..], view.counted), (&[new, old][..], None));
        let keep = Step::Keep(vec![new.commit, old.commit]);
        assert_eq!(self.cut_off(Part::KeepProven, &keep).booted, new);
        let view = self.ask(&keep);
        assert_eq!((&view.entries[..], view.counted, view.staged), (&[new, old][..], None, None));
    }

    fn is_left(&mut self, old: DeploymentId, new: DeploymentId) {
        let give_up = Step::GiveUp { old, new };
        let view = self.cut_off(Part::GiveUp, &give_up);
        if view.booted == new {
            is_counted(&view, new);
            let view = self.ask(&give_up);
            assert_eq!(view.counted, Some(Counted { trial: Some(new), tries_left: 0 }));
            self.bench.device.reboot().unwrap();
        }
        assert_eq!(self.ask(&Step::Look).booted, old);
        let clean = Step::Clean { old, new };
        assert_eq!(self.cut_off(Part::Clean, &clean).booted, old);
        let view = self.ask(&clean);
        assert_eq!((view.entries.contains(&new), view.entries[0], view.counted), (false, old, None));
        let keep = Step::Keep(vec![old.commit]);
        assert_eq!(self.cut_off(Part::KeepOld, &keep).booted, old);
        let view = self.ask(&keep);
        assert_eq!((view.entries[0], view.counted, view.staged), (old, None, None));
    }

    fn somebody_else_deploys(&mut self) {
        let commit = self.bench.new_commit(1000);
        let grub = format!("{}={}", GENERATOR.0, GENERATOR.1);
        let deploy = ["ostree", "admin", "deploy", "--os=lab", "--not-as-default", &commit.to_string()];
        self.bench.device.run(&[&["env", &*grub][..], &deploy].concat()).unwrap();
        self.other = Some(DeploymentId { commit, serial: 0 });
    }

    /// Without what somebody else has deployed, which is there.
    fn ask(&self, step: &Step) -> OsView {
        let mut view = self.bench.ask(step).unwrap_or_else(|error| panic!("{step:?}: {error}")).unwrap();
        let before = view.entries.len();
        view.entries.retain(|entry| Some(*entry) != self.other);
        assert_eq!(before - view.entries.len(), usize::from(self.other.is_some()), "{step:?}: {view:?}");
        if let Step::Keep(_) = step {
            let pinned = self.bench.device.run(&["sh", "-c", "grep -l pinned /ostree/deploy/lab/deploy/*.origin; :"]);
            assert_eq!(pinned.unwrap(), "", "it is pinned no more than it was");
        }
        view
    }

    /// Has a step done that is ended in its midst, unless its calls are to be counted first; what is to be seen then.
    fn cut_off(&mut self, part: Part, step: &Step) -> OsView {
        let point = self.next_point(part);
        let cut = self.points.draw().is_multiple_of(2);
        let done = self.traced(part, step, point, cut);
        match (done, point) {
            (Ended::Not, 0) => {
                let order = self.points.order(self.count());
                assert!(order.len() as u64 >= part.calls_min(), "{part:?} has {} calls", order.len());
                self.left.insert(part, order);
            }
            (Ended::Not, _) => self.missed += 1,
            (Ended::Killed, _) => self.kills += 1,
            (Ended::Held, _) => self.cuts += 1,
        }
        let view = self.ask(&Step::Look);
        println!("{:.1?}: {part:?} at {point}: {done:?}", self.points.elapsed());
        view
    }

    fn next_point(&mut self, part: Part) -> u64 {
        match self.left.get_mut(&part) {
            Some(left) if !left.is_empty() => left.pop().unwrap_or_default(),
            None if self.points.all => 0,
            _ => self.points.one_of(part.calls_min()),
        }
    }

    fn count(&self) -> u64 {
        let count = self.bench.device.seen(COUNT).map(fs::read_to_string);
        count.ok().and_then(Result::ok).and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn traced(&mut self, part: Part, step: &Step, point: u64, hold: bool) -> Ended {
        let _ = fs::remove_file(self.bench.device.seen(COUNT).unwrap());
        let at = point.to_string();
        let mut tracer = vec![TRACER, "trace", "--kill-at", &at, "--count", COUNT, "--sparse"];
        tracer.extend(hold.then_some("--hold"));
        tracer.push("--");
        let words = words(step);
        let own: Vec<&str> = [PROGRAM, "os"].into_iter().chain(words.iter().map(String::as_str)).collect();
        if part == Part::Finalize {
            let line = [&tracer[..], &["/usr/bin/ostree", "admin", "finalize-staged"]].concat().join(" ");
            self.finalizer(&format!("[Service]\nExecStop=\nExecStop={line}\n"));
        }
        let argv = if part == Part::Finalize { own } else { [&tracer[..], &own].concat() };
        let child = self.bench.device.command(&argv).unwrap().stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let ended = self.ended(&mut child, point, hold);
        if ended == Ended::Held {
            let mut draw = Random::new(self.points.draw(), "what is lost");
            self.bench.device.lose_power(&mut draw).unwrap();
            child.wait().unwrap();
            self.bench.device.boot().unwrap();
        } else if part == Part::Finalize {
            self.finalizer("");
        }
        ended
    }

    /// Waits for the end of the step, or until it is held.
    fn ended(&self, child: &mut Child, point: u64, hold: bool) -> Ended {
        wait_for("the step", LIMIT, || {
            let is_over = child.try_wait()?.is_some();
            let is_there = point > 0 && self.count() == point;
            Ok(match (is_over, is_there) {
                (false, true) if hold => Some(Ended::Held),
                (false, _) => None,
                (true, true) if !hold => Some(Ended::Killed),
                (true, _) => Some(Ended::Not),
            })
        })
        .unwrap()
    }

    fn finalizer(&self, text: &str) {
        let file = self.bench.device.seen(FINALIZER).unwrap();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self.bench.device.run(&["systemctl", "daemon-reload"]).unwrap();
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Not,
    Killed,
    Held,
}

fn is_counted(view: &OsView, trial: DeploymentId) {
    assert_eq!(view.counted.as_ref().and_then(|counted| counted.trial), Some(trial), "{view:?}");
}
