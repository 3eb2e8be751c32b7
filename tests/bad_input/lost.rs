//! What a running app needs is taken away: its supervisor, its checkout.

use super::bench::{Bench, LIMIT, nothing_half_written};
use super::said::has;
use fullmetal_sim::lab::{APP, Node, wait_for};
use std::path::Path;
use std::process::Command;

/// The supervisor of the app and the main process of its container, as far as they are named.
fn processes(device: &Node) -> Option<(u64, u64)> {
    let run = device.root().join("run/fullmetal/apps").join(APP);
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("state.json")).ok()?).ok()?;
    let container = std::fs::read_to_string(run.join("container.pid")).ok()?;
    Some((state["supervisor"].as_u64()?, container.trim().parse().ok()?))
}

fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn an_app_whose_supervisor_is_killed_long_after_its_probation_gets_a_new_one() {
    let bench = Bench::new(1);
    let old = processes(bench.device()).unwrap();
    assert!(Command::new("kill").args(["-KILL", &old.0.to_string()]).status().unwrap().success());
    // The container of the killed one serves on until the new supervisor clears it away.
    let (_, container) = wait_for("a new supervisor and its container", LIMIT, || {
        let found = processes(bench.device()).filter(|new| new.0 != old.0 && new.1 != old.1);
        Ok(found.filter(|new| is_alive(new.0) && is_alive(new.1)))
    })
    .unwrap();
    bench.check();
    assert!(!is_alive(old.1), "the container of the killed supervisor is still there");
    assert!(is_alive(container));
}

#[test]
fn a_roll_back_to_a_version_whose_checkout_is_gone_makes_it_again() {
    let mut bench = Bench::new(1);
    let first = bench.head();
    let checkout = bench.device().root().join("var/lib/fullmetal/apps").join(APP).join(&first);
    bench.publish();
    // Without its port the app does not stay.
    bench.device().remove_data(APP, "port").unwrap();
    std::fs::remove_dir_all(&checkout).unwrap();
    bench.deploy();
    let end = bench.end();
    assert_eq!(end.state, "failed", "{end:?}");
    has(&end.reason, &["web 2", "during its probation"]);
    assert!(!end.reason.contains("not rolled back"), "{end:?}");
    assert!(Path::new(&checkout).join("rootfs/app/run").is_file());
    bench.device().write_data(APP, "port", "8080").unwrap();
    bench.check();
    nothing_half_written(bench.device());
    bench.publish();
    bench.deploys();
}

#[test]
fn a_device_without_runc_says_so_and_goes_on() {
    let mut bench = Bench::new(1);
    let commands = ["runc", "sh"].map(which);
    let device = &mut bench.site.devices[0];
    device.end_agent();
    let runc = &commands[0];
    assert!(runc.exists());
    let netns = device.netns().map(str::to_owned);
    // A mount namespace of its own, in which runc is an empty file.
    let script = format!("mount --bind /dev/null {} && exec \"$@\"", runc.display());
    let fullmetal = bench.site.fleet.programs().fullmetal.clone();
    let device = &mut bench.site.devices[0];
    let args = ["-m".into(), commands[1].clone().into(), "-c".into(), script.into(), "sh".into()];
    let mut args: Vec<std::ffi::OsString> = args.into();
    args.extend([fullmetal.into(), "--root".into(), device.root().as_os_str().to_owned(), "agent".into()]);
    let log = device.log("agent");
    let process = fullmetal_sim::lab::Process::start(&which("unshare"), args, &log, None, netns.as_deref());
    device.set_agent(process.unwrap()).unwrap();
    let trouble = wait_for("trouble in the status", LIMIT, || {
        let status = bench.device().status()?;
        Ok(status["trouble"].as_array().and_then(|t| t.first()?.as_str().map(str::to_owned)))
    });
    has(&trouble.unwrap(), &["runc --version", "see that runc is installed", "apt-get install runc"]);
    bench.check();
}

fn which(name: &str) -> std::path::PathBuf {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|p| Path::new(p).join(name));
    places.into_iter().find(|p| p.exists()).unwrap_or_else(|| panic!("{name} is not installed"))
}
