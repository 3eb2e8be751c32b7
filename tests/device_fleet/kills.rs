//! The agent hangs while an operating system is on trial; and it is killed at calls that change or sync the disk while it updates
//! the system, once in the one that runs and once in the one on trial. systemd starts it again each time.
//!
//! `FULLMETAL_KILL=all` takes all calls, otherwise it is what fits [`BUDGET`].

use crate::agents::{agent_pid, is_back};
use crate::systems::Site;
use fullmetal_proto::deploy::Phase;
use fullmetal_sim::trace::Points;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(10);
/// So many calls the agent does at least, in the system that runs and in the one on trial.
const CALLS_MIN: [u64; 2] = [30, 12];

/// What starts the agent: the unit's, with the means of a tracer.
const UNIT: &str = "[Service]\nExecStart=\nExecStart=/bin/sh /etc/lab/agent\nSystemCallFilter=@debug\nRestartSec=100ms\nWatchdogSec=0\n";
/// Traces one start of it where a file says so.
const AGENT: &str = "\
    of=/var/lib/fullmetal/traced-$(cat /usr/share/lab-version)\n\
    [ -e $of ] || exec /usr/bin/fullmetal agent\n\
    mv $of $of.taken\n\
    /run/lab/fullmetal-sim trace --kill-at $(cat $of.taken) --sparse --count $of.count -- /usr/bin/fullmetal agent\n\
    ended=$?\n\
    [ $ended != 137 ] || touch $of.killed\n\
    exit $ended\n";

/// It does nothing more while the system is on trial, and does not end either: systemd sees to it.
fn its_agent_hangs(site: &mut Site) {
    let soon = "/etc/systemd/system/fullmetal-agent.service.d/soon.conf";
    let of_system = format!("usr{soon}");
    site.publish(&[(&of_system, "[Service]\nWatchdogSec=2s\n", 0o644)]);
    let (action, release) = (site.decide(&[]), site.release);
    site.until("it proves itself", |host| {
        let deployment = host.record().deployment;
        host.system() == release && deployment.is_some_and(|d| matches!(d.phase, Phase::Proving { .. }))
    });
    let hung = agent_pid(site.host());
    site.host().device.run(&["kill", "-STOP", &hung]).unwrap();
    is_back(site.host(), &hung);
    let before = site.host().device.boots().len();
    let (_, boots) = site.ends_since(before, action, "succeeded", release);
    assert_eq!(boots, [], "the trial goes on in the same boot");
}

/// Updates until all is done; each is killed twice.
fn it_is_killed(site: &mut Site) {
    for (path, text) in [("/etc/lab/agent", AGENT), ("/etc/systemd/system/fullmetal-agent.service.d/traced.conf", UNIT)]
    {
        let path = site.host().device.seen(path).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    site.host().device.run(&["systemctl", "daemon-reload"]).unwrap();
    let mut points = Points::chosen();
    let counts = if points.all { counted(site) } else { CALLS_MIN };
    let mut left = counts.map(|count| points.order(count));
    points.begin();
    let (mut updates, mut missed) = (0, 0);
    while left.iter().any(|left| !left.is_empty()) && (updates == 0 || !points.is_over(BUDGET)) {
        let at = [0, 1].map(|system| left[system].pop().unwrap_or_else(|| points.one_of(CALLS_MIN[system])));
        let killed = update(site, at).map(|trace| trace.with_extension("killed").exists());
        updates += 1;
        missed += killed.iter().filter(|killed| !**killed).count();
        println!("{:.1?}: killed at {at:?} of {counts:?}: {killed:?}", points.elapsed());
    }
    println!("{updates} updates in {:.1?}, {missed} kills missed", points.elapsed());
    // Timing moves the last of all calls by some.
    assert!(missed * 10 <= updates, "calls were missed");
}

/// How many calls an update has in each system.
fn counted(site: &mut Site) -> [u64; 2] {
    let counts = update(site, [0, 0]).map(|trace| {
        let count = fs::read_to_string(trace.with_extension("count")).unwrap();
        count.trim().parse().unwrap()
    });
    assert!(counts[0] >= CALLS_MIN[0] && counts[1] >= CALLS_MIN[1], "{counts:?}");
    counts
}

/// One update, proven with one report, although the agent is killed at these calls; what is known of each trace.
fn update(site: &mut Site, at: [u64; 2]) -> [PathBuf; 2] {
    site.publish(&[]);
    let systems = [site.host().system(), site.release];
    for (system, at) in systems.iter().zip(at) {
        let path = format!("/var/lib/fullmetal/traced-{system}");
        fs::write(site.host().device.seen(&path).unwrap(), at.to_string()).unwrap();
    }
    site.host().device.run(&["systemctl", "restart", "fullmetal-agent"]).unwrap();
    let action = site.decide(&[]);
    site.ends(action, "succeeded", systems[1]);
    systems.map(|system| site.host().device.seen(&format!("/var/lib/fullmetal/traced-{system}")).unwrap())
}

#[test]
fn an_agent_that_hangs_or_is_killed_in_an_update_of_the_operating_system_ends_it_with_one_true_report() {
    let mut site = Site::new(1);
    its_agent_hangs(&mut site);
    it_is_killed(&mut site);
}
