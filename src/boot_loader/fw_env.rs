//! U-Boot's environment, through `fw_printenv` and `fw_setenv`: those of libubootenv (Debian: libubootenv-tool) or of U-Boot itself.
//!
//! Scripts are `name=value` lines, and `name=` deletes, which both read; so does `fw_setenv -s -` standard input. All lines are
//! one write of the environment, synced, to the copy that is not in use where there are two. Both print with status 0 what is not there as
//! `name=`, or fail, so that all variables are read at once.

use super::BootLoaderError;
use crate::limited;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long they may take: they wait for each other.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) struct FwEnv {
    config: PathBuf,
}

impl FwEnv {
    pub(super) fn new(config: PathBuf) -> Self {
        FwEnv { config }
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Where the environment has copies; fewer than two lose it to a power cut while it is written.
    pub(super) fn copies(&self) -> Result<usize, BootLoaderError> {
        let text = fs::read_to_string(&self.config).map_err(BootLoaderError::file("reading", &self.config))?;
        Ok(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count())
    }

    /// All variables. A value with several lines comes as its first.
    pub(super) fn read(&self) -> Result<BTreeMap<String, String>, BootLoaderError> {
        let text = self.run("fw_printenv", &[], "")?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Gives variables new values, or none where they are empty, in one write; checks what reads back.
    pub(super) fn set(&self, variables: &[(&str, &str)]) -> Result<(), BootLoaderError> {
        let script: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        self.run("fw_setenv", &["-s", "-"], &script)?;
        let now = self.read()?;
        for (name, wanted) in variables {
            let found = now.get(*name).map_or("", String::as_str);
            if found != *wanted {
                let (name, wanted, found) = ((*name).to_owned(), (*wanted).to_owned(), found.to_owned());
                return Err(BootLoaderError::NotTaken { path: self.config.clone(), name, wanted, found });
            }
        }
        Ok(())
    }

    fn run(&self, program: &'static str, args: &[&str], input: &str) -> Result<String, BootLoaderError> {
        let failed = |reason: String| BootLoaderError::Program { program, reason };
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).args(args).env("LC_ALL", "C");
        let output = limited::output(&mut command, input.as_bytes(), LIMIT).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => failed("not installed: install libubootenv-tool".into()),
            _ => failed(e.to_string()),
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("{}: {}", output.status, said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
