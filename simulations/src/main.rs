//! `fullmetal-sim`: runs fleets on one machine.

use clap::{Parser, Subcommand};
use fullmetal_sim::hawkbit;
use fullmetal_sim::lab::device::{self, DeviceStage};
use fullmetal_sim::lab::enact::command::{self as laboratory, LabArgs};
use fullmetal_sim::sim::command::{self, RunArgs};
use fullmetal_sim::sim::compare::{self, CompareArgs};
use fullmetal_sim::sim::explore::command::{self as exploring, ExploreArgs};
use fullmetal_sim::sim::pages;
#[cfg(target_arch = "x86_64")]
use fullmetal_sim::trace::{End, Then};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Fleets on one machine: simulated ones, the demo, and a Hawkbit server to steer them.
#[derive(Parser)]
#[command(name = "fullmetal-sim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Five devices, two releases decided in Hawkbit, one roll back, one device that joins when gateway and central are
    /// gone.
    Demo {
        /// Keep the fleet's directories afterwards, to look at them.
        #[arg(long)]
        keep: bool,
        /// Where the programs lie; without it, beside this one.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// A Hawkbit server that takes the decisions, as http://HOST:PORT (admin/admin, tenant DEFAULT); without it one
        /// in memory does.
        #[arg(long, value_name = "URL")]
        hawkbit: Option<String>,
        /// Serve a mirror made with `ostree pull-local`: no frames, whole objects.
        #[arg(long)]
        plain: bool,
    },
    /// Simulate a whole fleet in virtual time: what a scenario file says, and what came of it.
    Run(RunArgs),
    /// Run a scenario with the real programs in network namespaces: what a scenario file says, measured.
    Lab(LabArgs),
    /// Two results of `run --json` or `lab --json` side by side.
    Compare(CompareArgs),
    /// Simulate a scenario with random faults, seed after seed, until a rule is broken; tell how to replay it, and make
    /// a small scenario of it.
    Explore(ExploreArgs),
    /// A Hawkbit server in memory (admin/admin, tenant DEFAULT), to try things with; prints its URL.
    Hawkbit {
        /// Where it listens; port 0 takes any.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
    },
    /// Play a recording of a Hawkbit server against another, fresh one and say what differs.
    HawkbitRecord {
        /// The server, as http://HOST:PORT; admin/admin.
        #[arg(long, value_name = "URL")]
        server: String,
        /// The recording; setup.jsonl has to lie beside it.
        #[arg(long, value_name = "FILE")]
        recording: PathBuf,
        /// Where to write what this server answers, as a new recording.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Fail when anything differs.
        #[arg(long)]
        check: bool,
    },
    /// For tests of devices with systemd: prepares the namespaces of one.
    #[command(hide = true)]
    Device(DeviceStage),
    /// For tests of power loss: run a program and end it at its n-th call that changes or syncs the disk.
    #[cfg(target_arch = "x86_64")]
    #[command(hide = true)]
    Trace {
        /// Which call; 0 only counts.
        #[arg(long)]
        kill_at: u64,
        /// Where to write the number of calls so far.
        #[arg(long)]
        count: PathBuf,
        /// A directory whose files lose something of what was not synced when the program was killed.
        #[arg(long)]
        tear: Option<PathBuf>,
        /// It is not killed but held there.
        #[arg(long, conflicts_with = "tear")]
        hold: bool,
        /// Of calls of one kind in a row only some count.
        #[arg(long)]
        sparse: bool,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { keep, programs, hawkbit, plain } => {
            fullmetal_sim::demo::run(&fullmetal_sim::demo::Options { keep, programs, hawkbit, plain })
        }
        Command::Run(args) => {
            pages::enlarge();
            match command::run(&args) {
                Ok(status) => return status,
                Err(error) => Err(error),
            }
        }
        Command::Lab(args) => match laboratory::run(&args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Compare(args) => compare::run(&args),
        Command::Explore(args) => match exploring::run(&args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Hawkbit { listen } => hawkbit::run(listen),
        Command::HawkbitRecord { server, recording, out, check } => {
            hawkbit::record::run(&server, &recording, out.as_deref(), check)
        }
        Command::Device(args) => device::stage(&args),
        #[cfg(target_arch = "x86_64")]
        Command::Trace { kill_at: at, count, tear, hold, sparse, command } => {
            let then = if hold { Then::Held } else { tear.as_deref().map_or(Then::Killed, Then::Torn) };
            match fullmetal_sim::trace::run(End { at, sparse, then }, &count, &command) {
                Ok(true) => return ExitCode::from(137),
                other => other.map(|_| ()),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fullmetal-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
