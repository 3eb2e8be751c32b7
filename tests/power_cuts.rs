//! Real power cuts: devices as machines in qemu, with GRUB or U-Boot, a kernel of their own and a disk. What their kernels have
//! not written when qemu is killed is lost, and of what their disks were not told to keep all, some or nothing. Needs root and a
//! way to Debian's packages; takes minutes (`make test-power`).
//!
//! `FULLMETAL_CUTS`: how many power cuts with each loader (one in every other phase). `FULLMETAL_SEED`: of their moments; it is
//! printed.

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
#[path = "power_cuts/panic.rs"]
mod panic;
#[path = "power_cuts/phases.rs"]
mod phases;
#[path = "power_cuts/site.rs"]
mod site;
#[path = "power_cuts/table.rs"]
mod table;

use fullmetal_sim::lab::device::Loader;
use fullmetal_sim::sim::engine::Random;
use phases::PHASES;
use site::Site;
use std::time::{Duration, Instant};
use table::Table;

/// How long anything may take: the processor is emulated.
const LIMIT: Duration = Duration::from_secs(900);

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Draws a moment within a time.
fn moment(draw: &mut Random, within: Duration) -> Duration {
    Duration::from_millis(draw.below(u64::try_from(within.as_millis()).unwrap()))
}

/// Every other phase from `first` on, then those between.
fn comes_up_whole(loader: Loader, first: usize) {
    let cuts = number("FULLMETAL_CUTS").map_or(PHASES.len() / 2, |cuts| usize::try_from(cuts).unwrap());
    let seed = number("FULLMETAL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{loader:?}: seed {seed}");
    let mut site = Site::new(loader);
    site.comes_up();
    site.an_app_is_deployed();
    let mut table = Table::default();
    for cut in 0..cuts {
        let phase = &PHASES[(first + 2 * cut + 2 * cut / PHASES.len()) % PHASES.len()];
        let begin = Instant::now();
        let (action, before) = site.decides();
        let mut draw = Random::new(seed, &format!("cut {cut}"));
        let offset = moment(&mut draw, phase.within);
        site.until(phase);
        std::thread::sleep(offset);
        let lost = site.loses_power(&mut draw);
        let booted = site.comes_up();
        let (state, runs) = site.ends(action, before);
        println!(
            "{loader:?}: cut {cut}: {} + {:.1} s, {} of {} unflushed writes lost: came up on {booted}, {state}, runs {runs}; \
             {:.0} s",
            phase.name,
            offset.as_secs_f64(),
            lost.lost,
            lost.in_doubt,
            begin.elapsed().as_secs_f64()
        );
        table.add(phase.name, lost.lost > 0, booted > before, state == "succeeded");
    }
    println!("{table}");
    // And what comes next is no different.
    let (action, before) = site.decides();
    assert_eq!(site.ends(action, before), ("succeeded".to_owned(), before + 1));
}

#[test]
fn a_machine_with_grub_that_loses_its_power_in_an_update_comes_up_whole_and_says_once_what_became_of_it() {
    comes_up_whole(Loader::Grub, 0);
}

#[test]
fn a_machine_with_u_boot_that_loses_its_power_in_an_update_comes_up_whole_and_says_once_what_became_of_it() {
    comes_up_whole(Loader::UBoot, 1);
}

#[test]
fn a_kernel_that_panics_before_it_starts_anything_is_left_by_grub_after_three_boots() {
    panic::is_left_after_three_boots(Loader::Grub);
}

#[test]
fn a_kernel_that_panics_before_it_starts_anything_is_left_by_u_boot_after_three_boots() {
    panic::is_left_after_three_boots(Loader::UBoot);
}
