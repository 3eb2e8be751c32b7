//! What the largest scenarios cost: processor time and memory of `fullmetal-sim run`, as it is built.
//!
//! Other programs can be measured in turns: `cargo bench -p fullmetal-sim --bench scale -- BEFORE AFTER`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the figures")]

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// In `simulations/scenarios`, the smaller first.
const SCENARIOS: [&str; 2] = ["thousand-plain.toml", "ten-thousand.toml"];

fn main() {
    let mut programs: Vec<PathBuf> =
        std::env::args_os().skip(1).filter(|arg| arg != "--bench").map(PathBuf::from).collect();
    if programs.is_empty() {
        programs.push(env!("CARGO_BIN_EXE_fullmetal-sim").into());
    }
    for scenario in SCENARIOS {
        for program in &programs {
            let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(scenario);
            let before = of_children();
            let status = Command::new(program).arg("run").arg(&file).stdout(Stdio::null()).status().unwrap();
            assert!(status.success(), "{} {}: {status}", program.display(), file.display());
            let after = of_children();
            let seconds = (processor_ms(&after) - processor_ms(&before)) as f64 / 1_000.0;
            // The kernel keeps the largest of all children so far; the scenarios grow.
            let megabytes = after.max_rss() * 1_024 / 1_000_000;
            println!("{scenario:22} {seconds:6.1} s of processor time, {megabytes:5} MB   {}", program.display());
        }
    }
}

fn of_children() -> Usage {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap()
}

/// Milliseconds, those of the kernel included.
fn processor_ms(usage: &Usage) -> i64 {
    (usage.user_time() + usage.system_time()).num_milliseconds()
}
