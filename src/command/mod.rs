//! The command line: arguments in, exit status out. Wires the library together and decides nothing.
//!
//! Exit status 2 is for usage and configuration, 1 for failure.

mod enroll;
mod inspect;
mod keys;
mod output;

use clap::{Parser, Subcommand};
use fullmetal::config::{ConfigError, Paths, Settings};
use std::path::PathBuf;
use std::process::ExitCode;

/// Fullmetal: updates for fleets of devices behind one thin uplink.
#[derive(Parser)]
#[command(name = "fullmetal", version, max_term_width = 100)]
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

#[derive(Subcommand)]
enum Command {
    /// Make the fleet's keys, and certify devices.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make this device's keys and a request for certificates, or take the answer.
    Enroll(enroll::EnrollArgs),
    /// Show a document to a person: what it says, who signed it, whether it holds now, and why not.
    Inspect(inspect::InspectArgs),
}

/// The caller used the command in a way that cannot work; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// What every command gets to know.
struct Context {
    paths: Paths,
    json: bool,
}

impl Context {
    #[allow(dead_code, reason = "used by the daemons")]
    fn settings(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.paths.clone())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context { paths: Paths::new(cli.root), json: cli.json };
    let result = match cli.command {
        Command::Keys(command) => keys::run(&context, command),
        Command::Enroll(args) => enroll::run(&context, args),
        Command::Inspect(args) => inspect::run(&context, &args),
    };
    output::exit(result)
}
