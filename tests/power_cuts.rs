//! Real power cuts: devices as machines in qemu, with GRUB, a kernel of their own and a disk. What their kernels have not
//! written when qemu is killed is lost. Needs root and a way to Debian's packages; takes minutes (`make test-power`).

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "shared with device_fleet")]
#[path = "device_fleet/apps.rs"]
mod apps;
#[allow(dead_code, reason = "shared with device_fleet")]
#[path = "device_fleet/bench.rs"]
mod bench;
#[allow(dead_code, reason = "shared with device_fleet")]
#[path = "device_fleet/check.rs"]
mod check;

use bench::Bench;
use fullmetal_sim::lab::machine::{self, Machine};
use std::time::{Duration, Instant};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The first device's number in its network.
const NUMBER: u8 = 11;

/// A site with one device, which is a machine.
struct Site {
    machine: Machine,
    bench: Bench,
}

impl Site {
    /// The machine is off; release 1 of its system is on its disk.
    fn new() -> Self {
        let bench = Bench::new(1, |_| {});
        let device = &bench.host().device;
        let kernel = machine::kernel(device).unwrap();
        let first = bench.fleet.publish_first_system(device, Some(&kernel)).unwrap();
        let (repo, dir) = (bench.fleet.repo(), bench.dir.path().join("machine"));
        let commit = first["commit"].as_str().unwrap();
        let machine = Machine::new(device, (&bench.net, "press-1", NUMBER), (&repo, commit), &dir).unwrap();
        Site { machine, bench }
    }
}

#[test]
fn a_machine_boots_its_own_kernel_and_its_agent_deploys() {
    let mut site = Site::new();
    let begin = Instant::now();
    assert_eq!(site.machine.boot().unwrap(), 1);
    println!("a boot takes {:.1} s", begin.elapsed().as_secs_f64());
    site.bench.publish("web", 1, false, &["--probation", "1"]);
    let action = site.bench.decide(&["web"]);
    let end = site.bench.end_of(action);
    assert_eq!(end.state, "succeeded", "{end:?}\n{}", site.machine.said());
    site.machine.cut_power();
    site.machine.check_disk().unwrap();
    assert_eq!(site.machine.boot().unwrap(), 1);
}
