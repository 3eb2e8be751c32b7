//! `fullmetal os`: one step of an update of the operating system, in a process of its own. The agent has systemd start it.

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use fullmetal::config::Paths;
use fullmetal::os::{self, Answer, Step};
use fullmetal_proto::{DeploymentId, Digest};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[derive(Args)]
#[command(after_help = HARM)]
pub struct OsArgs {
    #[command(subcommand)]
    pub step: OsCommand,
}

const HARM: &str = "The agent has systemd start this for each step. It prints one JSON document: `view`, how the operating system \
    is then, or `error` with `reason` and whether a `retry` may help. By hand only `look` and `room` are harmless: the agent \
    journals what it does before each of the others.";

#[derive(Subcommand)]
pub enum OsCommand {
    /// Look, and change nothing.
    Look,
    /// Compare the space in /boot with the kernel of a commit in the system's repository.
    Room { commit: Digest },
    /// Check a commit out beside what runs; it does not boot yet.
    Stage { commit: Digest },
    /// Have the boot loader boot NEW next and count that; OLD runs, and is what it falls back to.
    Arm { old: DeploymentId, new: DeploymentId },
    /// Have the boot loader boot OLD next: NEW runs, and failed.
    GiveUp { old: DeploymentId, new: DeploymentId },
    /// End the counting: what runs is proven.
    Clear { deployment: DeploymentId },
    /// After a fall back to OLD: remove NEW from the boot loader's entries, and end the counting.
    Clean { old: DeploymentId, new: DeploymentId },
    /// Remove what is staged, and the deployments of Fullmetal but those of these commits.
    Keep { commits: Vec<Digest> },
}

impl From<OsCommand> for Step {
    fn from(command: OsCommand) -> Step {
        match command {
            OsCommand::Look => Step::Look,
            OsCommand::Room { commit } => Step::Room(commit),
            OsCommand::Stage { commit } => Step::Stage(commit),
            OsCommand::Arm { old, new } => Step::Arm { old, new },
            OsCommand::GiveUp { old, new } => Step::GiveUp { old, new },
            OsCommand::Clear { deployment } => Step::Clear(deployment),
            OsCommand::Clean { old, new } => Step::Clean { old, new },
            OsCommand::Keep { commits } => Step::Keep(commits),
        }
    }
}

pub fn run(paths: &Paths, command: OsCommand) -> anyhow::Result<()> {
    let (name, generator) = os::GENERATOR;
    if std::env::var_os(name).is_none() {
        // libostree reads it in this process, which cannot safely set it for itself.
        let own = std::env::current_exe().context("looking for the program itself")?;
        let error = Command::new(own).args(std::env::args_os().skip(1)).env(name, generator).exec();
        return Err(error).context("starting anew");
    }
    // What libostree prints is for people, and the answer must stand alone.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned().context("keeping the standard output")?);
    rustix::stdio::dup2_stdout(std::io::stderr()).context("having libostree print to the standard error")?;
    let done = os::act(&command.into(), paths.root());
    let answer = done.clone().map_or_else(Answer::Error, |view| Answer::View(view.map(Box::new)));
    writeln!(out, "{}", serde_json::to_string(&answer)?).context("answering")?;
    done.map(drop).map_err(|error| anyhow!(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(subcommand)]
        command: OsCommand,
    }

    #[test]
    fn a_step_in_words_is_the_same_step() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let id = |commit, serial| DeploymentId { commit, serial };
        let (before, after) = (id(old, 0), id(new, 1));
        for step in [
            Step::Look,
            Step::Room(new),
            Step::Stage(new),
            Step::Arm { old: before, new: after },
            Step::GiveUp { old: before, new: after },
            Step::Clear(after),
            Step::Clean { old: before, new: after },
            Step::Keep(vec![]),
            Step::Keep(vec![old, new]),
        ] {
            let words = [vec!["fullmetal".to_owned()], os::words(&step)].concat();
            let Ok(parsed) = Only::try_parse_from(&words) else { panic!("{words:?}") };
            assert_eq!(Step::from(parsed.command), step);
        }
    }
}
