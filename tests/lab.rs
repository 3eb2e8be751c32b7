//! `fullmetal-sim lab`: a scenario with the real programs, what its events do, and what is left of it.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "lab/links.rs"]
mod links;

use fullmetal_sim::lab::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `fullmetal-sim WORLD` with a scenario; fails unless its exit status is 0.
fn result(world: &str, name: &str, text: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let output = started(world, &scenario(dir.path(), name, text)).wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{world} {name}: {said}");
    assert!(output.status.success(), "{world} {name} ended with {}", output.status);
    serde_json::from_str(&said).unwrap()
}

fn scenario(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(format!("{name}.toml"));
    fs::write(&file, text).unwrap();
    file
}

fn started(world: &str, scenario: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fullmetal-sim"));
    command.arg(world).arg(scenario).arg("--json").stdout(Stdio::piped()).spawn().unwrap()
}

/// Three devices; `extra` is added to the file.
fn site(extra: &str) -> String {
    format!("{}{extra}\n", include_str!("lab.toml"))
}

fn host<'a>(result: &'a Value, id: &str) -> &'a Value {
    result["lab"]["hosts"].as_array().unwrap().iter().find(|host| host["id"] == id).unwrap()
}

#[test]
fn a_scenario_runs_in_the_simulator_and_with_the_real_programs() {
    let expected =
        "[expect]\ncopies = \"<= 1.1\"\ntime_100 = \"<= 25 s\"\neveryone_converged = true\neveryone_reported = true";
    let [simulated, real] = ["run", "lab"].map(|world| result(world, "calm", &site(expected)));
    assert_eq!((&simulated["world"], &real["world"]), (&"simulation".into(), &"lab".into()));
    assert_eq!(simulated["schema"], real["schema"]);
    for result in [&simulated, &real] {
        let copies = result["copies_thousandths"].as_u64().unwrap();
        assert!((900..=1_100).contains(&copies), "{copies} thousandths of a copy");
        assert_eq!(result["devices"]["converged"], 3);
    }
    assert!(simulated["lab"].is_null() && real["bytes"]["wasted"].is_null(), "a lab tells what it does not know");
    for id in ["hall-0", "hall-1", "hall-2"] {
        let host = host(&real, id);
        let number = |key: &str| host[key].as_u64().unwrap();
        assert_eq!(host["end"], "finished");
        assert!(number("pieces_ms") > 4_000 && number("in_force_ms") >= number("pieces_ms"), "{host}");
        assert!(number("cpu_ms") > 10 && number("memory") > 1 << 20 && number("received") > 4_000_000, "{host}");
    }
}

#[test]
fn events_bite() {
    let events = "[[event]]\nat = \"4 s\"\norigin = \"failing\"\nfor = \"6 s\"\n\
                  [[event]]\nat = \"11 s\"\ncrash = \"hall 1\"\nfor = \"5 s\"\n\
                  [[event]]\nat = \"20 %\"\nstop = \"hall 2\"\n";
    let found = result("lab", "events", &site(events));
    let ms = |id: &str| host(&found, id)["pieces_ms"].as_u64();
    assert!(ms("hall-0").unwrap() > 10_000, "central failed until 10 s: {found}");
    assert!(ms("hall-1").unwrap() > 16_000, "a killed device went on before 16 s: {found}");
    assert_eq!((host(&found, "hall-2")["on"].as_bool(), ms("hall-2")), (Some(false), None), "it was stopped: {found}");
    assert_eq!((&found["devices"]["counted"], &found["devices"]["converged"]), (&2.into(), &2.into()));
}

#[test]
fn hosts_are_as_far_from_each_other_as_the_scenario_says() {
    let far = "[network]\nlatency = \"20 ms\"\njitter = \"5 ms\"\nloss = \"1 %\"";
    let text = site("").replace("[network]", far).replace("seconds = 90", "seconds = 300");
    let [simulated, real] = ["run", "lab"].map(|world| result(world, "far", &text));
    let keys = |result: &Value| result.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((&simulated["schema"], keys(&simulated)), (&real["schema"], keys(&real)));
    assert_eq!((&simulated["devices"]["converged"], &real["devices"]["converged"]), (&3.into(), &3.into()));
    let [delayed, lost, dropped] =
        ["delayed", "lost", "dropped"].map(|key| real["lab"]["frames"][key].as_u64().unwrap());
    let thousandths = lost * 1_000 / (delayed + lost);
    assert!(delayed > 4_000 && (4..=20).contains(&thousandths), "{lost} of {delayed} frames were lost at 1 %");
    assert_eq!(dropped, 0);
}

#[test]
fn wrong_bytes_are_paid_for_and_nobody_keeps_them() {
    let found = result("lab", "wrong", &site("[[event]]\nat = \"3 s\"\norigin = \"corrupt\"\nfor = \"8 s\"\n"));
    assert_eq!(found["devices"]["converged"], 3);
    assert!(found["time_ms"]["50"].as_u64().unwrap() > 11_000, "central was wrong until 11 s: {found}");
    assert!(found["copies_thousandths"].as_u64().unwrap() > 1_050, "wrong bytes cost nothing: {found}");
}

/// What is there of the lab of a process: namespaces, control groups, directories, and processes that know of one.
fn left_of(pid: u32) -> Vec<String> {
    let folders = ["/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/var/tmp"];
    let names = folders.iter().flat_map(fs::read_dir).flatten().flatten().map(|e| e.path().display().to_string());
    let ours = [format!("/fm{pid}-"), format!("/fullmetal-lab-{pid}-")];
    let command =
        |entry: fs::DirEntry| Some(String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned());
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(command);
    names.chain(processes).filter(|text| ours.iter().any(|name| text.contains(name.as_str()))).collect()
}

/// Waits until the devices of a lab run.
fn running(lab: &mut Child) {
    let pid = lab.id();
    wait_for("agents", LIMIT, || {
        assert!(lab.try_wait()?.is_none(), "the lab has ended");
        Ok((left_of(pid).iter().filter(|text| text.ends_with("agent\0")).count() >= 3).then_some(()))
    })
    .unwrap();
}

/// Control groups of the containers of these tests' devices, whichever lab they are of.
fn containers() -> Vec<String> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = below("/sys/fs/cgroup".into()).flat_map(|dir| [dir.clone()].into_iter().chain(below(dir)));
    groups.map(|dir| dir.display().to_string()).filter(|dir| dir.contains("/fm-hall-")).collect()
}

#[test]
fn apps_that_run_end_with_an_interrupted_lab_and_are_swept_after_a_killed_one() {
    let dir = tempfile::tempdir().unwrap();
    // An event far away keeps the lab running after all have ended.
    let file = scenario(dir.path(), "apps", &site("[[event]]\nat = \"80 s\"\norigin = \"failing\"\n"));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut lab = started("lab", &file);
        wait_for("apps", LIMIT, || {
            assert!(lab.try_wait()?.is_none(), "the lab has ended");
            Ok((!containers().is_empty()).then_some(()))
        })
        .unwrap();
        kill(Pid::from_raw(lab.id() as i32), signal).unwrap();
        lab.wait().unwrap();
        if signal == Signal::SIGKILL {
            let mut next = started("lab", &file);
            running(&mut next);
            kill(Pid::from_raw(next.id() as i32), Signal::SIGINT).unwrap();
            next.wait().unwrap();
        }
        assert_eq!((containers(), left_of(lab.id())), (Vec::<String>::new(), Vec::new()));
    }
}

#[test]
fn an_interrupted_lab_leaves_nothing_and_a_killed_one_is_swept_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let long = site("").replace("20 Mbit/s\"", "1 Mbit/s\"\nlatency = \"20 ms\"");
    let file = scenario(dir.path(), "long", &long);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut lab = started("lab", &file);
        running(&mut lab);
        kill(Pid::from_raw(lab.id() as i32), signal).unwrap();
        assert!(!lab.wait().unwrap().success());
        let left = left_of(lab.id());
        if signal == Signal::SIGTERM {
            assert!(left.is_empty(), "{left:?}");
            continue;
        }
        assert!(left.len() > 10, "what is to be swept? {left:?}");
        let mut next = started("lab", &file);
        running(&mut next);
        let left = left_of(lab.id());
        kill(Pid::from_raw(next.id() as i32), Signal::SIGINT).unwrap();
        next.wait().unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}
