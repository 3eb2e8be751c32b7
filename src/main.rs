//! The `fullmetal` program.

mod command;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "fullmetal", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(hide = true)]
    Supervise(command::supervise::Supervise),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Supervise(args) => command::supervise::run(args),
    }
}
