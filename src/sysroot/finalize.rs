//! Finalizing what is staged now and not as the device goes down: libostree's unit does so when it stops.

use super::SysrootError;
use std::process::Command;

/// Runs until shutdown; when it stops, what is staged is made to boot next.
const UNIT: &str = "ostree-finalize-staged.service";

/// Stops it, and starts it before: systemd may not have seen yet that something is staged. What came of it is to be looked
/// at: a unit that fails while it stops is stopped all the same.
pub(super) fn run() -> Result<(), SysrootError> {
    systemctl("start")?;
    systemctl("stop")
}

fn systemctl(verb: &'static str) -> Result<(), SysrootError> {
    let failed = |error| SysrootError::Io { what: "having systemctl start and stop", path: UNIT.into(), source: error };
    let done = Command::new("systemctl").args([verb, UNIT]).output().map_err(failed)?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(failed(std::io::Error::other(format!("{}: {said}", done.status))))
}

/// The last words of the unit's program in this boot, for people; empty when nobody knows them.
pub(super) fn said() -> String {
    let own = format!("_SYSTEMD_UNIT={UNIT}");
    let asked = ["--boot", &own, "--lines=3", "--output=cat", "--no-pager", "--quiet"];
    let said = Command::new("journalctl").args(asked).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().replace('\n', "; ")).unwrap_or_default()
}
