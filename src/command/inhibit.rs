//! `fullmetal inhibit`: no deployment that may wait is switched to while something runs.

use super::asking::AgentDoor;
use anyhow::Context as _;
use clap::Args;
use fullmetal::config::{Paths, Settings};
use fullmetal::console;
use fullmetal_proto::wire::asking::ToAgent;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How long to wait before an agent that went is asked again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct InhibitArgs {
    /// What must not be interrupted, for whoever looks at `fullmetal status`.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Command to run meanwhile; its exit status is passed on. Without one it holds until this is ended (Ctrl-C).
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub fn run(paths: Paths, args: InhibitArgs) -> anyhow::Result<ExitCode> {
    let paths = Settings::load(paths)?.paths;
    let what = ToAgent::Inhibit { who: String::new(), why: args.why };
    let held = hold(&paths, &what)?;
    let Some((program, arguments)) = args.command.split_first() else {
        console::print("held until this ends\n")?;
        keep(held, &paths, &what)
    };
    let mut child = Command::new(program).args(arguments).spawn().with_context(|| format!("running {program}"))?;
    std::thread::spawn(move || keep(held, &paths, &what));
    let status = child.wait().with_context(|| format!("waiting for {program}"))?;
    // As a shell has it: 128 and the signal.
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn hold(paths: &Paths, what: &ToAgent) -> anyhow::Result<AgentDoor> {
    let door = AgentDoor::open(paths)?;
    door.ask(what)?;
    Ok(door)
}

/// Holds on; when the agent goes, again with the next one.
fn keep(mut held: AgentDoor, paths: &Paths, what: &ToAgent) -> ! {
    loop {
        held.wait();
        eprintln!("fullmetal: the agent went; held again as soon as there is one");
        held = loop {
            std::thread::sleep(AGAIN);
            if let Ok(door) = hold(paths, what) {
                break door;
            }
        };
        eprintln!("fullmetal: held again");
    }
}
