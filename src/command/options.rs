//! Options that several commands share; each shows up only in the help of the commands where it works.

use super::Context;
use clap::Args;
use fullmetal::config::Paths;
use fullmetal::console::UsageError;
use std::path::{Path, PathBuf};

/// Options before the command's name, as `fullmetal --root DIR status`.
#[derive(Args)]
pub struct Before {
    /// For the commands of a device: the directory below which its configuration, state and sockets lie.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// For the commands that print something: one JSON object for a script.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct OnDevice<A: Args> {
    #[command(flatten)]
    pub args: A,
    /// Directory below which the device's configuration, state and sockets lie [default: /].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl<A: Args> OnDevice<A> {
    pub fn paths(&self, before: &Before) -> Paths {
        Paths::new(self.root.clone().or(before.root.clone()).unwrap_or_else(|| "/".into()))
    }
}

#[derive(Args)]
pub struct Printing<A: Args> {
    #[command(flatten)]
    pub args: A,
    /// Print one JSON object for a script.
    #[arg(long)]
    json: bool,
}

impl<A: Args> Printing<A> {
    pub fn json(&self, before: &Before) -> bool {
        self.json || before.json
    }
}

impl<A: Args> OnDevice<Printing<A>> {
    pub fn context(&self, before: &Before) -> Context {
        Context { paths: self.paths(before), json: self.args.json(before) }
    }
}

#[derive(Args)]
pub struct Nothing {}

/// Refuses a file to be written that is there already, or whose directory is not: before any work is done.
pub fn check_new_file(option: &str, path: &Path) -> Result<(), UsageError> {
    if path.exists() {
        let shown = path.display();
        return Err(UsageError(format!("{option}: {shown} exists already; remove it or give another name")));
    }
    match path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
        Some(dir) => Err(UsageError(format!("{option}: there is no directory {}; make it first", dir.display()))),
        None => Ok(()),
    }
}
