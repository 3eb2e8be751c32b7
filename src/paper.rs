//! The commands `completions` and `man` of our programs: what a package installs beside them.

use crate::console;
use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use std::path::PathBuf;

/// `completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell: bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

/// `man`.
#[derive(Args)]
pub struct ManArgs {
    /// Where the pages are written, one for each command.
    dir: PathBuf,
}

/// Prints the completions of `program` for a shell.
///
/// # Errors
/// When they cannot be printed.
pub fn completions(program: Command, args: &CompletionsArgs) -> anyhow::Result<()> {
    console::print(&script(program, args.shell)?)
}

fn script(mut program: Command, shell: Shell) -> anyhow::Result<String> {
    let (name, mut text) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut program, name, &mut text);
    Ok(String::from_utf8(text)?)
}

/// Writes the man pages of `program` and of its commands.
///
/// # Errors
/// When they cannot be written.
pub fn man(program: Command, args: &ManArgs) -> anyhow::Result<()> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    clap_mangen::generate_to(program, dir).with_context(|| format!("writing man pages to {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let app = Command::new("app").subcommand(Command::new("stop").about("Stop it"));
        Command::new("metal").about("Of metal").subcommand(app).subcommand(Command::new("secret").hide(true))
    }

    #[test]
    fn every_command_that_is_shown_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        man(program(), &ManArgs { dir: dir.path().to_owned() }).unwrap();
        for page in ["metal", "metal-app", "metal-app-stop"] {
            let text = std::fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}");
        }
        assert!(!dir.path().join("metal-secret.1").exists());
    }

    #[test]
    fn shells_learn_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(program(), shell).unwrap();
            assert!(text.contains("stop") && text.contains("metal"), "{shell}");
        }
    }
}
