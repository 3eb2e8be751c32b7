//! `fullmetal completions` and `fullmetal man`: what a package installs beside the program.

use super::Cli;
use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use fullmetal::console;
use std::path::PathBuf;

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell: bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

#[derive(Args)]
pub struct ManArgs {
    /// Where the pages are written, one for each command.
    dir: PathBuf,
}

pub fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fullmetal", &mut text);
    console::print(&String::from_utf8(text)?)
}

pub fn man(args: &ManArgs) -> anyhow::Result<()> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("writing man pages to {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all commands that are shown, `fullmetal app list` as `fullmetal-app-list`.
    fn pages(command: &clap::Command, name: &str) -> Vec<String> {
        let shown = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
        let below = shown.flat_map(|c| pages(c, &format!("{name}-{}", c.get_name())));
        std::iter::once(name.to_owned()).chain(below).collect()
    }

    #[test]
    fn every_command_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: dir.path().to_owned() }).unwrap();
        let pages = pages(&Cli::command(), "fullmetal");
        assert!(pages.iter().any(|p| p == "fullmetal-app-stop") && pages.len() > 15, "{pages:?}");
        for page in pages {
            let text = std::fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}");
        }
    }

    #[test]
    fn shells_learn_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fullmetal", &mut text);
            let text = String::from_utf8(text).unwrap();
            assert!(["rollback", "unlock", "verify"].iter().all(|c| text.contains(c)), "{shell}");
        }
    }
}
