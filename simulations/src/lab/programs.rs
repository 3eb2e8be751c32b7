//! Where the programs under test lie, and how they are called.

use anyhow::{Context as _, bail};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `fullmetal`.
    pub fullmetal: PathBuf,
    /// `fullmetal-gateway`.
    pub gateway: PathBuf,
}

impl Programs {
    /// In `dir`, or beside the running program (whose tests lie one folder deeper).
    pub fn find(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("finding myself")?;
        let beside = own.parent().unwrap_or(Path::new("."));
        let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
        let dir = dir.unwrap_or_else(|| beside.to_owned());
        let programs = Programs { fullmetal: dir.join("fullmetal"), gateway: dir.join("fullmetal-gateway") };
        for program in [&programs.fullmetal, &programs.gateway] {
            if !program.is_file() {
                bail!("{} is not there; run `make build`", program.display());
            }
        }
        Ok(programs)
    }
}

impl Programs {
    /// Copies into `dir`: a peer's user may not reach the folder they were built in.
    pub fn install(&self, dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let copy = |program: &Path| {
            let copied = dir.join(program.file_name().unwrap_or_default());
            std::fs::copy(program, &copied).with_context(|| format!("copying {}", program.display()))?;
            anyhow::Ok(copied)
        };
        Ok(Programs { fullmetal: copy(&self.fullmetal)?, gateway: copy(&self.gateway)? })
    }
}

/// Runs a command to its end and gives its standard output; fails with its standard error.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    // Of their own group: a second Ctrl-C must not end those that clean up.
    let output = command.process_group(0).output().with_context(|| format!("running {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What one device costs central without us: `ostree pull` of `ref_name` into `repo`, which is made when missing.
pub fn pull_with_ostree(repo: &Path, url: &str, ref_name: &str, netns: Option<&str>) -> anyhow::Result<()> {
    let ostree = |args: &[&str]| {
        let mut command = Command::new(if netns.is_some() { "nsenter" } else { "ostree" });
        if let Some(netns) = netns {
            command.arg(format!("--net=/run/netns/{netns}")).arg("ostree");
        }
        output_of(command.arg(format!("--repo={}", repo.display())).args(args))
    };
    if !repo.exists() {
        ostree(&["init", "--mode=bare-user"])?;
        ostree(&["remote", "add", "--no-gpg-verify", "central", url])?;
    }
    ostree(&["pull", "central", ref_name]).map(|_| ())
}
