//! `fullmetal-boot`: starts the apps at boot, whatever is the matter with the other programs.
//!
//! Without arguments; `systemd/fullmetal-boot.service` calls it.

use fullmetal::boot::{raise_clock, running_system, start_apps, write_units};
use fullmetal::config::Paths;
use std::process::ExitCode;

fn main() -> ExitCode {
    let told = |error: &anyhow::Error| eprintln!("fullmetal-boot: {error:#}");
    let paths = Paths::new("/");
    running_system(&paths).iter().for_each(|said| eprintln!("fullmetal-boot: {said}"));
    match raise_clock(&paths) {
        Ok(raised) => raised.iter().for_each(|time| eprintln!("fullmetal-boot: the clock was raised to {time}")),
        // The agent judges by the last signed time anyway.
        Err(error) => told(&error),
    }
    // What can be started is started.
    let written = write_units(&paths).inspect_err(told);
    for (name, error) in written.iter().flatten() {
        eprintln!("fullmetal-boot: {name} is not started: {error:#}");
    }
    let started = start_apps().inspect_err(told);
    if started.is_ok() && written.is_ok_and(|left_out| left_out.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
