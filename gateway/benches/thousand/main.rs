//! One gateway with a thousand devices under Hawkbit: what a start, a deployment to all of them and idling cost.
//!
//! The gateway is the real program; its peer and the devices are played, the server is the stand-in, both in this
//! process, so that the gateway's CPU time is its own. Several programs are measured one after the other:
//! `cargo bench -p fullmetal-gateway --bench thousand -- BEFORE AFTER`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the figures")]

mod figures;
mod fleet;
mod process;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/site/mod.rs"]
mod site;

use clap::Parser;
use figures::Figures;
use fleet::Fleet;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
struct Options {
    /// Devices of the fleet.
    #[arg(long, default_value_t = 1_000)]
    devices: usize,
    /// Seconds of idling that are measured.
    #[arg(long, default_value_t = 90)]
    idle_s: u64,
    /// Gateway programs; otherwise the one of this build.
    programs: Vec<PathBuf>,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let own = || PathBuf::from(env!("CARGO_BIN_EXE_fullmetal-gateway"));
    let programs = if options.programs.is_empty() { vec![own()] } else { options.programs };
    let measured: Vec<Figures> = programs
        .iter()
        .map(|program| {
            let mut fleet = Fleet::start(program, options.devices);
            let mut figures = Figures::default();
            fleet.first_polls(&mut figures);
            fleet.deployment(&mut figures);
            fleet.idle(Duration::from_secs(options.idle_s), &mut figures);
            figures
        })
        .collect();
    println!("{} devices, one gateway, polled every {} s", options.devices, fleet::POLL_S);
    figures::print(&measured);
}
