//! `fullmetal-sim`: runs fleets on one machine.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Fleets on one machine: the demo.
#[derive(Parser)]
#[command(name = "fullmetal-sim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Five devices, two releases, one roll back, one device that joins when gateway and central are gone.
    Demo {
        /// Keep the fleet's directories afterwards, to look at them.
        #[arg(long)]
        keep: bool,
        /// Where the programs lie; without it, beside this one.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Command::Demo { keep, programs } = Cli::parse().command;
    match fullmetal_sim::demo::run(keep, programs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fullmetal-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
