//! The agent goes, and other things come, in the midst of a deployment.

use crate::LIMIT;
use crate::bench::{Bench, Host};
use fullmetal_proto::deploy::Phase;
use fullmetal_proto::wire::report::ReportState;
use fullmetal_sim::lab::wait_for;
use std::fs;
use std::process::Stdio;

/// Holds things back as long as the file is there.
const CAST: &str = "touch /run/cast; while [ -e /run/cast ]; do sleep 0.1; done";

pub fn agent_pid(host: &Host) -> String {
    host.property("fullmetal-agent", "MainPID")
}

/// Another agent is there and has taken over.
pub fn is_back(host: &Host, before: &str) {
    wait_for("the agent is back", LIMIT, || {
        let pid = agent_pid(host);
        Ok((pid != "0" && pid != before && host.status()["agent"]["running"] == true).then_some(()))
    })
    .unwrap();
}

fn killed_while_an_app_starts(bench: &mut Bench) {
    let release = bench.next("1");
    let hold = format!("hold-{release}");
    bench.host().set("web", &hold);
    let before = bench.host().main_pid("web");
    let action = bench.decide(&["web"]);
    bench.host().reaches("its switch", |phase| matches!(phase, Phase::Switching { .. }));
    bench.host().is("web", "activating");
    let app = wait_for("the app's process", LIMIT, || {
        Ok(Some(bench.host().main_pid("web")).filter(|pid| !pid.is_empty() && *pid != before))
    });
    let agent = agent_pid(bench.host());
    bench.host().device.run(&["kill", "-9", &agent]).unwrap();
    is_back(bench.host(), &agent);
    bench.host().unset("web", &hold);
    bench.ends_with(action, "succeeded", release);
    assert_eq!(bench.host().main_pid("web"), app.unwrap(), "the app was started again");
}

/// It does nothing more, and does not end either: systemd sees to it.
fn hangs_during_a_probation(bench: &mut Bench) {
    let agent = agent_pid(bench.host());
    let dir = bench.host().device.seen("/run/systemd/system/fullmetal-agent.service.d").unwrap();
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("soon.conf"), "[Service]\nWatchdogSec=2s\n").unwrap();
    let reload = ["sh", "-c", "systemctl daemon-reload && systemctl restart fullmetal-agent"];
    bench.host().device.run(&reload).unwrap();
    is_back(bench.host(), &agent);
    let release = bench.next("4");
    let action = bench.decide(&["web"]);
    bench.host().reaches("its probation", |phase| matches!(phase, Phase::Proving { .. }));
    let (app, agent) = (bench.host().main_pid("web"), agent_pid(bench.host()));
    bench.host().device.run(&["kill", "-STOP", &agent]).unwrap();
    is_back(bench.host(), &agent);
    let restarts = bench.host().property("fullmetal-agent", "NRestarts");
    bench.ends_with(action, "succeeded", release);
    assert_eq!(bench.host().main_pid("web"), app, "the app was started again");
    let goes_on = bench.host().property("fullmetal-agent", "NRestarts");
    assert_eq!((restarts.as_str(), goes_on.as_str()), ("1", "1"), "one that goes on is left alone");
    fs::remove_file(dir.join("soon.conf")).unwrap();
    bench.host().device.run(&reload).unwrap();
}

/// As a package does it: a new file in the place of the old one, then a restart of the unit.
fn replaced_during_a_probation(bench: &mut Bench) {
    let release = bench.next("3");
    let action = bench.decide(&["web"]);
    bench.host().reaches("its probation", |phase| matches!(phase, Phase::Proving { .. }));
    let (app, agent) = (bench.host().main_pid("web"), agent_pid(bench.host()));
    let replace = "cp /usr/bin/fullmetal /usr/bin/fullmetal.new && echo >> /usr/bin/fullmetal.new && \
                   mv /usr/bin/fullmetal.new /usr/bin/fullmetal && systemctl restart fullmetal-agent fullmetal-peer";
    bench.host().device.run(&["sh", "-c", replace]).unwrap();
    is_back(bench.host(), &agent);
    bench.ends_with(action, "succeeded", release);
    assert_eq!(bench.host().main_pid("web"), app, "the app was started again");
}

fn two_releases_before_the_first_is_proven(bench: &mut Bench) {
    let first = bench.next("2");
    let action = bench.decide(&["web"]);
    bench.host().reaches("its probation", |phase| matches!(phase, Phase::Proving { .. }));
    let second = bench.next("1");
    let next = bench.decide(&["web"]);
    bench.end_of(next);
    bench.ended.push((action, "succeeded"));
    bench.ends_with(next, "succeeded", second);
    assert_eq!(second, first + 1);
}

fn units_are_read_again_and_again(bench: &mut Bench) {
    let release = bench.next("1");
    let storm = bench.host().device.command(&[
        "sh",
        "-c",
        "touch /run/storm; while [ -e /run/storm ]; do systemctl daemon-reload; sleep 0.05; done",
    ]);
    let mut storm = storm.unwrap().spawn().unwrap();
    let action = bench.decide(&["web"]);
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.end_of(action)));
    bench.host().device.run(&["rm", "/run/storm"]).unwrap();
    assert!(storm.wait().unwrap().success(), "the storm was none");
    end.unwrap();
    bench.ends_with(action, "succeeded", release);
}

/// A lock holds all, an inhibitor what may wait.
fn held_back(bench: &mut Bench) {
    let argv = ["/usr/bin/fullmetal", "inhibit", "--why", "casting", "--", "sh", "-c", CAST];
    let mut inhibitor = bench.host().device.command(&argv).unwrap().stdout(Stdio::null()).spawn().unwrap();
    wait_for("the inhibitor", LIMIT, || {
        Ok(bench.host().status()["local"].to_string().contains("casting").then_some(()))
    })
    .unwrap();
    let release = bench.next("1");
    let action = bench.decide_in("when-idle", &["web"]);
    wait_for("it is staged", LIMIT, || {
        let record = bench.host().record();
        Ok(record.deployment.filter(|d| d.reported == Some(ReportState::Staged)).map(|_| ()))
    })
    .unwrap();
    assert_eq!(bench.host().page(8080), format!("release {}", release - 1));
    bench.host().fullmetal(&["lock"]).unwrap();
    bench.host().device.run(&["rm", "/run/cast"]).unwrap();
    inhibitor.wait().unwrap();
    wait_for("it is gone", LIMIT, || {
        Ok((!bench.host().status()["local"].to_string().contains("casting")).then_some(()))
    })
    .unwrap();
    let phase = bench.host().record().deployment.map(|d| d.phase);
    assert_eq!(phase, Some(Phase::Staging), "the lock holds");
    bench.host().fullmetal(&["unlock"]).unwrap();
    bench.ends_with(action, "succeeded", release);
}

/// In the midst of a switch there is no byte left; when there is, it goes on.
fn without_space(bench: &mut Bench) {
    let release = bench.next("1");
    let hold = format!("hold-{release}");
    bench.host().set("web", &hold);
    let action = bench.decide(&["web"]);
    bench.host().reaches("its switch", |phase| matches!(phase, Phase::Switching { .. }));
    bench.host().is("web", "activating");
    let filler = bench.host().device.seen("/var/lib/fullmetal/filler").unwrap();
    let fill = "dd if=/dev/zero of=/var/lib/fullmetal/filler bs=1M; \
                dd if=/dev/zero of=/var/lib/fullmetal/filler bs=1K oflag=append conv=notrunc,fsync; true";
    bench.host().device.run(&["sh", "-c", fill]).unwrap();
    let free = rustix::fs::statvfs(filler.parent().unwrap()).unwrap();
    assert_eq!(free.f_bavail, 0, "the fault does not bite: bytes of {} are free", free.f_frsize);
    bench.host().unset("web", &hold);
    wait_for("the trouble is told", LIMIT, || {
        Ok(bench.host().status()["trouble"].to_string().contains("No space left").then_some(()))
    })
    .unwrap();
    assert_eq!(bench.host().page(8080), format!("release {release}"), "what runs goes on");
    fs::remove_file(filler).unwrap();
    wait_for("the trouble to end", LIMIT, || {
        Ok(bench.host().status()["trouble"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    bench.ends_with(action, "succeeded", release);
}

#[test]
fn what_comes_in_the_midst_of_a_deployment_disturbs_neither_it_nor_the_app() {
    let mut bench = Bench::settled(1);
    for case in [
        killed_while_an_app_starts,
        hangs_during_a_probation,
        replaced_during_a_probation,
        two_releases_before_the_first_is_proven,
        units_are_read_again_and_again,
        held_back,
        without_space,
    ] {
        case(&mut bench);
    }
}
