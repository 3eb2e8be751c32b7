//! `make demo`: the whole way of an update, as it happens, and a table at the end.
//!
//! Ends with an error unless everything came out as told, asked of the running apps over HTTP and of Hawkbit.

mod operator;
mod release;
mod story;
mod table;
mod tell;

use crate::lab::{self, DemoApp, Fleet, Programs};
use anyhow::{Context as _, ensure};
use operator::Operator;
use std::path::PathBuf;

/// Runs the demo; `keep` leaves the fleet's directories for a look. Decisions come from the Hawkbit server at `hawkbit`
/// (admin/admin, tenant DEFAULT), else from a stand-in.
///
/// # Errors
/// When something did not come out as told; the message says what, and the directory with all logs stays.
pub fn run(keep: bool, programs: Option<PathBuf>, hawkbit: Option<&str>) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "the demo runs containers and needs root: sudo make demo");
    lab::on_interrupt()?;
    let programs = Programs::find(programs)?;
    let app = DemoApp::prepare()?;
    let mut dir = tempfile::Builder::new()
        .prefix("fullmetal-demo-")
        .tempdir_in("/var/tmp")
        .context("making a directory below /var/tmp")?;
    let fleet = Fleet::new(&programs, dir.path(), "demo-plant")?;
    let result = Operator::at(hawkbit, dir.path()).and_then(|operator| story::tell(&fleet, &app, operator));
    let interrupted = lab::interrupted();
    if keep || (result.is_err() && !interrupted) {
        dir.disable_cleanup(true);
        println!("\nThe fleet's directories with all logs are in {}", dir.path().display());
    }
    result
}
