//! Which version of an app is in force, and how it is started: both on disk, for an agent whose journal is unreadable.
//!
//! `current` is a link to the commit's checkout; `<commit>.start` beside it has a line for each start option.

use crate::durable::{self, Existing};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::Installed;
use fullmetal_proto::wire::StartOptions;
use std::fs;
use std::path::{Path, PathBuf};

/// How the names of files with start options end.
pub const START_SUFFIX: &str = ".start";
/// An app that is started when the device is.
const AUTOSTART: &str = "autostart";
/// An app whose exit 0 is its success and its end.
const JOB: &str = "job";

/// Makes `version` the one in force, durably: its start options first, then a new link, renamed over the old one.
///
/// # Errors
/// When the disk does not take it.
pub fn set(app_dir: &Path, version: &Installed) -> anyhow::Result<()> {
    let start = start_file(app_dir, &version.commit);
    let text = text(&version.start);
    if fs::read_to_string(&start).ok().as_ref() != Some(&text) {
        durable::write(&start, text.as_bytes(), 0o644, Existing::Replaced)?;
    }
    set_link(app_dir, &version.commit)
}

/// What is in force. Without its options, which older agents did not write, it is a service that is started.
pub fn get(app_dir: &Path) -> Option<(Digest, StartOptions)> {
    let commit = fs::read_link(app_dir.join("current")).ok()?.to_str()?.parse().ok()?;
    let text = fs::read_to_string(start_file(app_dir, &commit));
    let start = match text {
        Ok(text) => {
            let has = |option| text.lines().any(|l| l == option);
            StartOptions { autostart: has(AUTOSTART), job: has(JOB) }
        }
        Err(_) => StartOptions { autostart: true, job: false },
    };
    Some((commit, start))
}

fn start_file(app_dir: &Path, commit: &Digest) -> PathBuf {
    app_dir.join(format!("{commit}{START_SUFFIX}"))
}

fn text(start: &StartOptions) -> String {
    let options = [(start.autostart, AUTOSTART), (start.job, JOB)];
    options.into_iter().filter(|(on, _)| *on).map(|(_, name)| format!("{name}\n")).collect()
}

fn set_link(app_dir: &Path, commit: &Digest) -> anyhow::Result<()> {
    Ok(durable::symlink(Path::new(&commit.to_string()), &app_dir.join("current"))?)
}
