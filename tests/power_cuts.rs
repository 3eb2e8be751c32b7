//! Power cuts. What a device's kernel has not written is lost, and of what its disk was not told to keep all, some or nothing.
//! Devices are machines in qemu, with GRUB or U-Boot and a kernel of their own (a minute and more for each cut), or live in
//! namespaces on a file system of their host's kernel, where the loader is played (some twenty seconds for each). Needs root; the
//! machines need a way to Debian's packages (`make test-power`).
//!
//! `FULLMETAL_CUTS`: how many power cuts each of them has; else one in every phase, machines a single one. `FULLMETAL_SEED`: of
//! their moments and the first phase; it is printed.

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
#[path = "power_cuts/hang.rs"]
mod hang;
#[path = "power_cuts/panic.rs"]
mod panic;
#[path = "power_cuts/phases.rs"]
mod phases;
#[path = "power_cuts/powered.rs"]
mod powered;
#[path = "power_cuts/site.rs"]
mod site;
#[allow(dead_code, reason = "shared with device_fleet")]
#[path = "device_fleet/systems.rs"]
mod systems;
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

/// Loses its power in one phase after the other, from one on that the seed says.
fn comes_up_whole(loader: Option<Loader>, cuts: usize) {
    let cuts = number("FULLMETAL_CUTS").map_or(cuts, |cuts| usize::try_from(cuts).unwrap());
    let name = loader.map_or("namespaced".to_owned(), |loader| format!("{loader:?}"));
    let seed = number("FULLMETAL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{name}: seed {seed}");
    let first = Random::new(seed, &name).index(PHASES.len());
    let mut site = Site::new(loader);
    site.comes_up();
    site.an_app_is_deployed();
    let mut table = Table::default();
    for cut in 0..cuts {
        let phase = &PHASES[(first + cut) % PHASES.len()];
        let begin = Instant::now();
        let (action, before) = site.decides();
        let mut draw = Random::new(seed, &format!("cut {cut}"));
        let offset = moment(&mut draw, phase.within[usize::from(loader.is_none())]);
        site.until(phase);
        std::thread::sleep(offset);
        let (lost, reached) = site.loses_power(&mut draw);
        let booted = site.comes_up();
        let runs = site.succeeds(action, before);
        println!(
            "{name}: cut {cut}: {} + {:.2} s, in {reached}: {} of {} unflushed writes lost, came up on {booted}, runs {runs}; {:.0} s",
            phase.name,
            offset.as_secs_f64(),
            lost.lost,
            lost.in_doubt,
            begin.elapsed().as_secs_f64()
        );
        table.add(reached, lost.lost > 0, booted > before);
        if cut % 60 == 59 {
            println!("{table}");
        }
    }
    println!("{table}");
    // And what comes next is no different.
    let (action, before) = site.decides();
    site.succeeds(action, before);
    site.until(&phases::END);
    // Nor has anything of the recovery harmed the disk, which is looked at as it is without power.
    let (_, reached) = site.loses_power(&mut Random::new(seed, "the end"));
    assert_eq!(reached, phases::END.name);
}

#[test]
fn a_device_that_loses_its_power_in_an_update_comes_up_whole_and_says_once_what_became_of_it() {
    comes_up_whole(None, PHASES.len());
}

#[test]
fn a_machine_with_grub_that_loses_its_power_in_an_update_comes_up_whole_and_says_once_what_became_of_it() {
    comes_up_whole(Some(Loader::Grub), 1);
}

#[test]
fn a_machine_with_u_boot_that_loses_its_power_in_an_update_comes_up_whole_and_says_once_what_became_of_it() {
    comes_up_whole(Some(Loader::UBoot), 1);
}

#[test]
fn a_kernel_that_panics_before_it_starts_anything_is_left_by_grub_after_three_boots() {
    panic::is_left_after_three_boots(Loader::Grub);
}

#[test]
fn a_kernel_that_panics_before_it_starts_anything_is_left_by_u_boot_after_three_boots() {
    panic::is_left_after_three_boots(Loader::UBoot);
}

#[test]
fn a_kernel_that_hangs_is_reset_by_the_watchdog_that_systemd_keeps_and_left_after_three_boots() {
    hang::is_left_after_three_boots();
}
