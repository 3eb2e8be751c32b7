//! The command line: arguments in, exit status out. Wires the library together and decides nothing.
//!
//! Exit status 2 is for usage and configuration, 1 for failure.

mod accept_os;
mod agent;
mod app;
mod asking;
mod boot_loader;
mod enroll;
mod history;
mod inhibit;
mod inspect;
mod keys;
mod lock;
mod logs;
mod options;
mod os;
mod peer;
mod publish;
mod rollback;
mod status;
mod supervise;
mod verify;

use clap::{CommandFactory as _, Parser, Subcommand};
use fullmetal::config::{ConfigError, Paths, Settings};
use fullmetal::console;
use fullmetal::hawkbit::HawkbitError;
use fullmetal::paper;
use fullmetal::peer::central::CentralError;
use options::{Before, Nothing, OnDevice, Printing};
use std::process::ExitCode;

/// Fullmetal: updates for fleets of devices behind one thin uplink.
#[derive(Parser)]
#[command(name = "fullmetal", version, max_term_width = 100, after_help = ORDER)]
struct Cli {
    #[command(flatten)]
    before: Before,
    #[command(subcommand)]
    command: Command,
}

const ORDER: &str = "A fleet begins with `fullmetal keys generate`; then `fullmetal publish` makes releases, \
    `fullmetal enroll` members, and on each device run `fullmetal peer` and `fullmetal agent`. The README tells it in \
    order. Exit status: 0 done, 1 failed, 2 wrong usage or configuration.";

#[derive(Subcommand)]
enum Command {
    /// Make the fleet's keys, certify devices, revoke.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make this device's keys and a request for certificates, or take the answer.
    Enroll(OnDevice<enroll::EnrollArgs>),
    /// Run the peer: the only program on the network (as a user of its own).
    Peer(OnDevice<Nothing>),
    /// Run the agent: deploys what the gateway announces (as root).
    Agent(OnDevice<Nothing>),
    /// Show what runs on this device, what is under way, and how the last actions ended.
    Status(OnDevice<Printing<status::StatusArgs>>),
    /// Show how past deployments of this device ended, and why.
    History(OnDevice<Printing<history::HistoryArgs>>),
    /// Show the last lines of an app.
    Logs(OnDevice<Printing<logs::LogsArgs>>),
    /// Hold every switch to a new version back until `unlock`, also over a reboot (as root).
    Lock(OnDevice<Printing<lock::LockArgs>>),
    /// Let deployments go on after `lock` (as root).
    Unlock(OnDevice<Printing<Nothing>>),
    /// Hold switches back that may wait, while a command runs or until this is ended (as root).
    Inhibit(OnDevice<inhibit::InhibitArgs>),
    /// Take the operating system that runs for good, although no deployment brought it: deployments go on (as root).
    AcceptOs(OnDevice<Printing<Nothing>>),
    /// Bring the previous version of an app or of the operating system back by hand, watched like any new version (as root).
    Rollback(OnDevice<Printing<rollback::RollbackArgs>>),
    /// Check store, checkouts, links, keys, journal and space; say what to do where something is wrong (as root).
    Verify(OnDevice<Printing<Nothing>>),
    /// Show which boot loader this device has, whether it can count boots, and what it counts (as root).
    BootLoader(OnDevice<Printing<Nothing>>),
    /// Do one step of an update of the operating system (the agent calls this).
    Os(OnDevice<os::OsArgs>),
    /// Stop and start single apps by hand.
    #[command(subcommand)]
    App(app::AppCommand),
    /// Show a document, key, certificate or commit to a person: what it says, who signed it, whether it holds now.
    Inspect(OnDevice<Printing<inspect::InspectArgs>>),
    /// Turn a directory, a tarball or a commit into a signed, framed release of a central repo.
    Publish(Box<Printing<publish::PublishArgs>>),
    /// Print the completions for a shell.
    Completions(paper::CompletionsArgs),
    /// Write the man pages (for packages).
    #[command(hide = true)]
    Man(paper::ManArgs),
    /// Supervise one app (started by the agent).
    #[command(hide = true)]
    Supervise(OnDevice<supervise::SuperviseCommand>),
}

/// What commands that look at a device get to know.
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
    let Cli { before, command } = Cli::parse();
    let result = match command {
        Command::Keys(command) => keys::run(command, &before),
        Command::Enroll(on_device) => enroll::run(&on_device.paths(&before), on_device.args),
        Command::Peer(on_device) => peer::run(on_device.paths(&before)),
        Command::Agent(on_device) => agent::run(on_device.paths(&before)),
        Command::Status(on_device) => status::run(&on_device.context(&before), &on_device.args.args),
        Command::History(on_device) => history::run(&on_device.context(&before), &on_device.args.args),
        Command::Logs(on_device) => logs::run(&on_device.context(&before), &on_device.args.args),
        Command::Lock(on_device) => lock::lock(&on_device.context(&before), on_device.args.args),
        Command::Unlock(on_device) => lock::unlock(&on_device.context(&before)),
        Command::Inhibit(on_device) => match inhibit::run(on_device.paths(&before), on_device.args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Rollback(on_device) => rollback::run(&on_device.context(&before), &on_device.args.args),
        Command::AcceptOs(on_device) => accept_os::run(&on_device.context(&before)),
        Command::Verify(on_device) => verify::run(&on_device.context(&before)),
        Command::BootLoader(on_device) => boot_loader::run(&on_device.context(&before)),
        Command::Os(on_device) => os::run(&on_device.paths(&before), on_device.args.step),
        Command::App(command) => app::run(command, &before),
        Command::Inspect(on_device) => inspect::run(&on_device.context(&before), &on_device.args.args),
        Command::Publish(printing) => publish::run(printing.json(&before), printing.args),
        Command::Completions(args) => paper::completions(Cli::command(), &args),
        Command::Man(args) => paper::man(Cli::command(), &args),
        Command::Supervise(on_device) => supervise::run(&on_device.paths(&before), on_device.args),
    };
    // The configured addresses and CA files of central and Hawkbit.
    console::exit("fullmetal", result, |e| {
        let hawkbit = e.downcast_ref().is_some_and(HawkbitError::is_usage);
        hawkbit || matches!(e.downcast_ref(), Some(CentralError::Https(_) | CentralError::Scheme { .. }))
    })
}
