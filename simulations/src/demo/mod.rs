//! `make demo`: the whole way of an update, as it happens, and a table at the end.
//!
//! Ends with an error unless everything came out as told, asked of the running apps over HTTP and of Hawkbit.

mod release;
mod story;
mod table;
mod tell;

use crate::lab::{self, DemoApp, Fleet, Operator, Programs};
use anyhow::{Context as _, ensure};
use std::path::PathBuf;

/// What can be different about the demo.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave the fleet's directories for a look.
    pub keep: bool,
    /// Where the programs lie; without it, beside this one.
    pub programs: Option<PathBuf>,
    /// A Hawkbit server that takes the decisions (admin/admin, tenant DEFAULT), else a stand-in does.
    pub hawkbit: Option<String>,
    /// Central is a plain mirror of whole objects instead of frames.
    pub plain: bool,
}

/// Runs the demo.
///
/// # Errors
/// When something did not come out as told; the message says what, and the directory with all logs stays.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "the demo runs containers and needs root: sudo make demo");
    lab::on_interrupt()?;
    let programs = Programs::find(options.programs.clone())?;
    let app = DemoApp::prepare()?;
    let mut dir = tempfile::Builder::new()
        .prefix("fullmetal-demo-")
        .tempdir_in("/var/tmp")
        .context("making a directory below /var/tmp")?;
    let fleet = Fleet::new(&programs, dir.path(), "demo-plant")?;
    let operator = Operator::at(options.hawkbit.as_deref(), dir.path());
    let result = operator.and_then(|operator| story::tell(&fleet, &app, operator, options.plain));
    let interrupted = lab::interrupted();
    if options.keep || (result.is_err() && !interrupted) {
        dir.disable_cleanup(true);
        println!("\nThe fleet's directories with all logs are in {}", dir.path().display());
    }
    result
}
