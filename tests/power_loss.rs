//! Power loss: the agent is killed at every call that changes or syncs the disk, and started again.
//!
//! Each point gets a release of its own. `FULLMETAL_KILL=all` takes all points, otherwise as many at random as fit
//! two minutes; the seed is printed, `FULLMETAL_SEED` sets it.

#![allow(clippy::unwrap_used, reason = "a test")]

use fullmetal_sim::lab::{ActionState, Node, Process, Programs, Site, SiteOptions, SmallApp, wait_for};
use fullmetal_sim::trace::Points;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const TRIES_MAX: u32 = 5;
const BUDGET: Duration = Duration::from_secs(120);

struct Bench {
    site: Site,
    dir: tempfile::TempDir,
    release: u64,
    /// How often the processes of the version that ran at a kill were seen to run on.
    compared: u64,
}

impl Bench {
    fn new() -> Self {
        let site = Site::start(SiteOptions::of(1)).unwrap();
        let mut bench = Bench { site, dir: tempfile::tempdir_in("/var/tmp").unwrap(), release: 0, compared: 0 };
        bench.publish_next();
        bench.site.deploy().unwrap();
        bench.wait_for_end();
        bench.site.devices[0].end_agent();
        bench
    }

    fn publish_next(&mut self) {
        self.release += 1;
        let tree = SmallApp::new(self.dir.path()).build(self.release).unwrap();
        let published = self.site.publish_tree(&tree, self.release, 1).unwrap();
        let objects = published["objects"].as_u64().unwrap();
        assert!(objects < 30, "{objects} objects");
    }

    fn wait_for_end(&mut self) -> ActionState {
        let ends = self.site.wait_for_ends(LIMIT).unwrap();
        ends["press-1"].clone()
    }

    /// Starts the agent under the tracer.
    fn trace(&mut self, kill_at: u64) -> Process {
        let device = &self.site.devices[0];
        let programs = self.site.fleet.programs();
        let tracer = Programs::find(None).unwrap().fullmetal.with_file_name("fullmetal-sim");
        let args = ["trace".into(), "--kill-at".into(), kill_at.to_string().into(), "--count".into()];
        let mut args: Vec<std::ffi::OsString> = args.into();
        args.extend([self.count_file().into(), "--".into(), programs.fullmetal.clone().into(), "--root".into()]);
        args.extend([device.root().as_os_str().to_owned(), "agent".into()]);
        Process::start(&tracer, args, &device.log("agent"), None, device.netns()).unwrap()
    }

    fn count_file(&self) -> PathBuf {
        self.dir.path().join("count")
    }

    fn count(&self) -> u64 {
        std::fs::read_to_string(self.count_file()).unwrap().trim().parse().unwrap()
    }

    /// How many points a whole deployment has, from the start of the agent to its rest.
    fn points(&mut self) -> u64 {
        self.publish_next();
        let mut agent = self.trace(0);
        self.site.deploy().unwrap();
        assert_eq!(self.wait_for_end().state, "succeeded");
        let mut last = (self.count(), Instant::now());
        wait_for("the agent comes to rest", LIMIT, || {
            let count = self.count();
            if count != last.0 {
                last = (count, Instant::now());
            }
            Ok((last.1.elapsed() > Duration::from_secs(1)).then_some(()))
        })
        .unwrap();
        agent.end();
        self.count()
    }

    /// One deployment with a kill at `point`; gives whether it hit.
    fn kill_at(&mut self, point: u64) -> bool {
        self.publish_next();
        let before = running(&self.site.devices[0]);
        let mut agent = self.trace(point);
        self.site.deploy().unwrap();
        let mut rest: Option<Instant> = None;
        wait_for("the kill", LIMIT, || {
            let ended = self.site.gateway.newest_actions()?["press-1"].has_ended();
            let since = rest.get_or_insert_with(Instant::now);
            if !ended {
                *since = Instant::now();
            }
            Ok((!agent.is_running() || since.elapsed() > Duration::from_secs(2)).then_some(()))
        })
        .unwrap();
        let hit = !agent.is_running();
        agent.end();
        let after = running(&self.site.devices[0]);
        self.site.devices[0].start_agent().unwrap();
        let end = self.wait_untouched(point, &after);
        self.check(point, &end);
        self.site.devices[0].end_agent();
        assert!(hit || after != before, "point {point}: neither killed nor switched");
        hit
    }

    /// Waits for the end; as long as the version that ran at the kill runs, it is the very same processes: an app
    /// never restarts because its agent did.
    fn wait_untouched(&mut self, point: u64, at_kill: &BTreeMap<String, BTreeSet<ProcessId>>) -> ActionState {
        wait_for("the end", LIMIT, || {
            let device = &self.site.devices[0];
            for (commit, processes) in running(device) {
                let Some(before) = at_kill.get(&commit) else { continue };
                assert!(before.is_subset(&processes), "point {point}: {before:?} became {processes:?}");
                self.compared += 1;
            }
            let newest = self.site.gateway.newest_actions()?;
            let state = newest.get(device.name()).filter(|a| a.has_ended() && a.action == self.release);
            Ok(state.cloned())
        })
        .unwrap()
    }

    fn check(&self, point: u64, end: &ActionState) {
        let device = &self.site.devices[0];
        let serves = match end.state.as_str() {
            "succeeded" => self.release,
            "failed" => self.release - 1,
            other => panic!("point {point}: ended as {other}"),
        };
        let page = wait_for("the app", LIMIT, || Ok(self.site.page(device).ok())).unwrap();
        assert_eq!(page, format!("release {serves}"), "point {point}: {end:?}");
        self.site.fsck(device).unwrap();
        let terminal = terminal_reports(&self.site.gateway, end.action);
        assert_eq!(terminal, 1, "point {point}: {terminal} terminal reports of action {}", end.action);
    }
}

/// Process id and start time (proc_pid_stat(5), fields 1 and 22).
type ProcessId = (u64, u64);

/// The supervisors of the device's running apps, each with the app's main process, by commit.
fn running(device: &Node) -> BTreeMap<String, BTreeSet<ProcessId>> {
    // Before the states: what is running after the look at the processes was so during it.
    let all = processes();
    let apps = std::fs::read_dir(device.root().join("run/fullmetal/apps")).unwrap().flatten();
    let states = apps.filter_map(|e| std::fs::read(e.path().join("state.json")).ok());
    let states = states.filter_map(|s| serde_json::from_slice::<serde_json::Value>(&s).ok());
    let with_processes = states.filter(|s| s["phase"] == "running").filter_map(|state| {
        let supervisor = state["supervisor"].as_u64()?;
        let family =
            all.iter().filter(|p| p.pid == supervisor || (p.parent == supervisor && !p.name.starts_with("runc")));
        let family: BTreeSet<ProcessId> = family.map(|p| (p.pid, p.start)).collect();
        Some((state["commit"].as_str()?.to_owned(), family)).filter(|(_, f)| !f.is_empty())
    });
    with_processes.collect()
}

struct Proc {
    pid: u64,
    name: String,
    parent: u64,
    start: u64,
}

/// Every process of this machine.
fn processes() -> Vec<Proc> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok());
    let read = |stat: String| {
        // The name is in parentheses and may hold blanks and parentheses.
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse().ok();
        Some(Proc { pid: pid.parse().ok()?, name: name.to_owned(), parent: number(1)?, start: number(19)? })
    };
    stats.filter_map(read).collect()
}

/// How many terminal reports of an action the gateway has spooled.
fn terminal_reports(gateway: &Node, action: u64) -> usize {
    let audit = std::fs::read_to_string(gateway.root().join("var/lib/fullmetal/gateway/audit.jsonl")).unwrap();
    let entries = audit.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let ends = ["succeeded", "failed", "withdrawn"];
    let reports = entries.map(|e| e["report"].clone()).filter(|r| r["action"] == action);
    reports.filter(|r| r["state"].as_str().is_some_and(|s| ends.contains(&s))).count()
}

#[test]
fn a_kill_at_any_call_that_touches_the_disk_ends_with_one_whole_version_and_one_terminal_report() {
    let mut chosen = Points::chosen();
    let mut bench = Bench::new();
    let points = bench.points();
    println!("a deployment has {points} points");
    assert!(points > 20, "the tracer sees too little");
    let (mut tried, mut hit) = (0, 0);
    let order = chosen.order(points);
    chosen.begin();
    for point in order {
        if chosen.is_over(BUDGET) {
            break;
        }
        tried += 1;
        // Timing moves the number of calls by a few, so that one of the last points may be missed at first.
        let kill = (0..TRIES_MAX).any(|_| bench.kill_at(point));
        println!("point {point} by release {}: {}", bench.release, if kill { "killed" } else { "missed" });
        hit += u64::from(kill);
    }
    for action in 1..=bench.release {
        assert_eq!(terminal_reports(&bench.site.gateway, action), 1, "terminal reports of action {action} in the end");
    }
    println!("{hit} of {tried} kills hit, of {points} points, in {:.0} s", chosen.elapsed().as_secs_f64());
    println!("the app that ran at the kill was seen to run on {} times", bench.compared);
    assert_eq!(hit, tried, "points were missed");
    assert!(bench.compared >= tried, "the processes of the app were hardly ever looked at");
}
