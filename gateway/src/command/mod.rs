//! The command line: arguments in, exit status out.
//!
//! Exit status 2 is for usage and configuration, 1 for failure.

mod ask;
mod backup;
mod restore;

use clap::{CommandFactory as _, Parser, Subcommand};
use fullmetal::config::{Paths, Settings};
use fullmetal::console;
use fullmetal::paper;
use fullmetal_gateway::daemon::{self, DaemonError};
use fullmetal_gateway::decision::DecisionError;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The gateway of a Fullmetal fleet: takes deployment decisions, announces them, keeps what the fleet reports.
#[derive(Parser)]
#[command(name = "fullmetal-gateway", version, max_term_width = 100)]
struct Cli {
    /// Directory below which configuration, state and sockets lie.
    #[arg(long, global = true, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Print one JSON object for a script.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "A decision:\n\n  \
    devices = [\"press-1\", \"press-2\"]   # or \"all\"\n  \
    mode = \"now\"                        # or \"when-idle\", \"stage\"\n\n  \
    [[part]]\n  \
    ref = \"apps/hello/x86_64\"";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway beside its peer.
    Run {
        /// How long to listen for a newer announcement before acting, in seconds.
        #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
        settle: u64,
    },
    /// Hand a decision to the running gateway; ends with 0 once the fleet is being told.
    #[command(after_help = EXAMPLE)]
    Deploy {
        /// A TOML file: `devices`, `mode`, and `[[part]]`s with `ref`.
        file: PathBuf,
    },
    /// Take an action back; devices that have begun to switch finish it.
    Withdraw {
        /// The number that `deploy` printed.
        action: u64,
    },
    /// Let an action go ahead that waits for its confirmation in Hawkbit.
    Confirm {
        /// Its number, as `status` shows it.
        action: u64,
        /// Say no: nothing is announced, and Hawkbit shows why.
        #[arg(long)]
        deny: bool,
    },
    /// Let a gateway act again that stopped because another one acts.
    Resume,
    /// Put everything that the gateway keeps into one file, also while it runs; keys, tokens and audit log are not in it.
    Backup {
        /// Where; an older back-up there is replaced.
        file: PathBuf,
    },
    /// Make a back-up the state of this gateway, which must not run.
    Restore {
        /// What `backup` wrote.
        file: PathBuf,
    },
    /// Show devices, actions and reports; of a gateway that does not run, what it kept.
    Status,
    /// Print the completions for a shell.
    Completions(paper::CompletionsArgs),
    /// Write the man pages (for packages).
    #[command(hide = true)]
    Man(paper::ManArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let paths = Paths::new(cli.root);
    let result = match cli.command {
        Command::Run { settle } => run(paths, Duration::from_secs(settle)),
        Command::Deploy { file } => ask::deploy(&paths, &file, cli.json),
        Command::Withdraw { action } => ask::withdraw(&paths, action, cli.json),
        Command::Confirm { action, deny } => ask::confirm(&paths, action, !deny, cli.json),
        Command::Resume => ask::resume(&paths, cli.json),
        Command::Backup { file } => backup::backup(&paths, &file, cli.json),
        Command::Restore { file } => restore::restore(&paths, &file, cli.json),
        Command::Status => ask::status(&paths, cli.json),
        Command::Completions(args) => paper::completions(Cli::command(), &args),
        Command::Man(args) => paper::man(Cli::command(), &args),
    };
    console::exit("fullmetal-gateway", result, |e| {
        e.is::<DecisionError>() || e.downcast_ref::<DaemonError>().is_some_and(DaemonError::is_configuration)
    })
}

fn run(paths: Paths, settle: Duration) -> anyhow::Result<()> {
    console::log_to_stderr();
    Ok(daemon::run(&Settings::load(paths)?, settle)?)
}
