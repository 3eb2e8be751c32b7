//! The steps of an update as the agent has them done: `fullmetal os` on the device, and the unit that runs it.

use super::conformance::{Bed, an_os};
use super::{Bench, PROGRAM};
use fullmetal::os::{Answer, Os, OsError, Step, UnitOs, reboot, shutdown_inhibited, words};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::OsView;
use std::process::{Command, Stdio};

/// Commits what runs with a kernel of its own, and says the commit.
const COMMIT: &str = "mount -o remount,bind,rw /sysroot; tree=/tmp/step$1; mkdir -p $tree/usr/lib/modules/6.1.0-lab; \
    echo kernel $1 > $tree/usr/lib/modules/6.1.0-lab/vmlinuz; \
    ostree commit -b step$1 --no-bindings --tree=ref=first --tree=dir=$tree";

impl Os for Bench {
    fn ask(&self, step: &Step) -> Result<Option<OsView>, OsError> {
        let words = words(step);
        let argv: Vec<&str> = [PROGRAM, "os"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let output = self.device.command(&argv).unwrap().output().unwrap();
        match serde_json::from_slice(&output.stdout) {
            Ok(Answer::View(view)) => Ok(view.map(|view| *view)),
            Ok(Answer::Error(error)) => Err(error),
            Err(error) => panic!("{step:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

impl Bench {
    /// Another commit for each number.
    pub fn new_commit(&self, number: u32) -> Digest {
        self.device
            .run(&["unshare", "-m", "sh", "-euc", COMMIT, "sh", &number.to_string()])
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

/// The device, and how many commits it was given.
struct Stepped<'a>(&'a mut Bench, u32);

impl Bed for Stepped<'_> {
    fn os(&self) -> &dyn Os {
        self.0
    }

    fn commit(&mut self) -> Digest {
        self.1 += 1;
        self.0.new_commit(self.1)
    }

    fn reboot(&mut self) {
        self.0.device.reboot().unwrap();
        read_only(self.0);
    }
}

/// As integrators have it who want nobody else to write there.
fn read_only(bench: &Bench) {
    for at in ["/boot", "/sysroot"] {
        bench.device.run(&["mount", "-o", "remount,bind,ro", at]).unwrap();
        assert!(bench.device.run(&["touch", &format!("{at}/touched")]).is_err());
    }
}

/// On a device that runs the only deployment that it has.
pub fn a_device_is_an_operating_system(bench: &mut Bench) {
    read_only(bench);
    an_os(&mut Stepped(bench, 0));
    bench.inside("steps::a_step_is_a_unit_of_its_own");
    bench.inside("steps::a_reboot_is_held_back");
    a_new_deployment_takes_no_space_for_files_that_the_repository_has(bench);
}

fn a_new_deployment_takes_no_space_for_files_that_the_repository_has(bench: &Bench) {
    let commit = bench.new_commit(1000);
    let staged = bench.ask(&Step::Stage(commit)).unwrap().unwrap().staged.unwrap();
    let usr = format!("/sysroot/ostree/deploy/lab/deploy/{staged}/usr");
    let copied = format!("find {usr} -type f ! -path {usr}/etc/\\* ! -empty -links 1; test -f {usr}/bin/sh");
    assert_eq!(bench.device.run(&["sh", "-euc", &copied]).unwrap(), "", "these are copies");
}

#[test]
#[ignore = "runs on a device"]
fn a_step_is_a_unit_of_its_own() {
    let os = UnitOs::new(PROGRAM.into(), "/".into());
    std::fs::create_dir_all("/run/fullmetal").unwrap();
    let view = os.ask(&Step::Look).unwrap().unwrap();
    assert_eq!((view.obstacle.as_deref(), view.entries.first()), (None, Some(&view.booted)));
    assert!(std::path::Path::new("/run/fullmetal/trial-taken").exists());
    for _ in 0..5 {
        assert_eq!(os.ask(&Step::Look).unwrap().unwrap(), view);
    }
    let unknown = os.ask(&Step::Stage(Digest::of(b"unknown"))).unwrap_err();
    assert!(!unknown.retry && unknown.reason.contains("staging a deployment"), "{unknown}");
    // One that an agent left behind.
    let stale = ["--quiet", "--unit=fullmetal-os", "sleep", "600"];
    assert!(Command::new("systemd-run").args(stale).status().unwrap().success());
    assert_eq!(os.ask(&Step::Look).unwrap().unwrap(), view);
    let gone = UnitOs::new("/nowhere/fullmetal".into(), "/".into()).ask(&Step::Look).unwrap_err();
    assert!(gone.retry && gone.reason.contains("journalctl -u fullmetal-os"), "{gone}");
}

#[test]
#[ignore = "runs on a device"]
fn a_reboot_is_held_back() {
    assert_eq!(shutdown_inhibited().unwrap(), None);
    let mut holder = Command::new("systemd-inhibit");
    holder.args(["--what=shutdown", "--mode=block", "--who=press 4", "--why=a part is in it", "cat"]);
    let mut holder = holder.stdin(Stdio::piped()).spawn().unwrap();
    let held = loop {
        if let Some(held) = shutdown_inhibited().unwrap() {
            break held;
        }
        std::thread::yield_now();
    };
    assert!(held.contains("press 4") && held.contains("a part is in it"), "{held}");
    let error = reboot(false).unwrap_err();
    assert!(error.retry && error.reason.contains("press 4"), "{error}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    // logind learns of its end a moment later.
    while shutdown_inhibited().unwrap().is_some() {
        std::thread::yield_now();
    }
}
