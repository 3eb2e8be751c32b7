//! The command line: arguments in, exit status out. Wires the library together and decides nothing.
//!
//! Exit status 2 is for usage and configuration, 1 for failure.

mod agent;
mod enroll;
mod inspect;
mod keys;
mod peer;
mod publish;
mod status;
mod supervise;

use clap::{Parser, Subcommand};
use fullmetal::config::{ConfigError, Paths, Settings};
use fullmetal::console;
use fullmetal::peer::central::CentralError;
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
    /// Run the peer: the only program on the network (as a user of its own).
    Peer,
    /// Run the agent: deploys what the gateway announces (as root).
    Agent,
    /// Show what runs on this device and what is under way.
    Status,
    /// Show a document to a person: what it says, who signed it, whether it holds now, and why not.
    Inspect(inspect::InspectArgs),
    /// Turn a directory, a tarball or a commit into a signed, framed release of a central repo.
    Publish(Box<publish::PublishArgs>),
    /// Supervise one app (started by the agent).
    #[command(hide = true)]
    Supervise(supervise::SuperviseCommand),
}

/// What every command gets to know.
struct Context {
    paths: Paths,
    json: bool,
}

impl Context {
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
        Command::Peer => peer::run(&context),
        Command::Agent => agent::run(&context),
        Command::Status => status::run(&context),
        Command::Inspect(args) => inspect::run(&context, &args),
        Command::Publish(args) => publish::run(&context, *args),
        Command::Supervise(args) => supervise::run(&context, args),
    };
    // The configured address and CA file of central.
    console::exit("fullmetal", result, |e| {
        matches!(e.downcast_ref(), Some(CentralError::Ca { .. } | CentralError::NoCa | CentralError::Scheme { .. }))
    })
}
