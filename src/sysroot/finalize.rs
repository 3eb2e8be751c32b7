//! Finalizing what is staged now and not as the device goes down: libostree's unit does so when it stops.

use super::SysrootError;
use crate::limited;
use std::process::Command;
use std::time::Duration;

/// Runs until shutdown; when it stops, what is staged is made to boot next.
const UNIT: &str = "ostree-finalize-staged.service";
/// How long that may take: kernel and initramfs are written to `/boot`, and all is synced.
const STOP_MAX: Duration = Duration::from_secs(180);
/// How long it may take systemd to start the unit, or to tell of it.
const ASK_MAX: Duration = Duration::from_secs(30);
/// Names the program that makes GRUB's configuration.
const GENERATOR: &str = "OSTREE_GRUB2_EXEC=";

/// Stops it, and starts it before: systemd may not have seen yet that something is staged. What came of it is to be looked
/// at: a unit that fails while it stops is stopped all the same.
///
/// A stop that takes too long is not waited for any longer, and goes on: who then takes the sysroot's lock and drops what is
/// staged has it do nothing.
pub(super) fn run() -> Result<(), SysrootError> {
    systemctl(&["start", UNIT], ASK_MAX)?;
    systemctl(&["stop", UNIT], STOP_MAX).map(drop)
}

/// What makes GRUB's configuration when the unit finalizes, if the unit says so.
///
/// # Errors
/// When systemd does not tell.
pub fn generator() -> Result<Option<String>, SysrootError> {
    let environment = systemctl(&["show", "--property=Environment", "--value", UNIT], ASK_MAX)?;
    let mut all = environment.split_whitespace().rev().map(|word| word.trim_matches('"'));
    Ok(all.find_map(|word| word.strip_prefix(GENERATOR)).filter(|program| !program.is_empty()).map(str::to_owned))
}

fn systemctl(args: &[&str], limit: Duration) -> Result<String, SysrootError> {
    let failed = |error| SysrootError::Io { what: "asking systemd about", path: UNIT.into(), source: error };
    let mut command = Command::new("systemctl");
    let done = limited::output(command.arg("--no-ask-password").args(args), b"", limit).map_err(failed)?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(failed(std::io::Error::other(format!("systemctl {}: {}: {said}", args.join(" "), done.status))))
}

/// The last words of the unit's program in this boot, for people; empty when nobody knows them.
pub(super) fn said() -> String {
    let own = format!("_SYSTEMD_UNIT={UNIT}");
    let asked = ["--boot", &own, "--lines=3", "--output=cat", "--no-pager", "--quiet"];
    let said = limited::output(Command::new("journalctl").args(asked), b"", ASK_MAX);
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().replace('\n', "; ")).unwrap_or_default()
}
