//! The reboot into another deployment.

use super::OsError;
use crate::host;

/// Who holds a reboot back, and why; `None` when nobody does.
///
/// # Errors
/// When logind cannot be asked.
pub fn shutdown_inhibited() -> Result<Option<String>, OsError> {
    let all = host::shutdown_inhibitors().map_err(OsError::passing)?;
    let told: Vec<String> = all.iter().map(ToString::to_string).collect();
    Ok(Some(told.join("; ")).filter(|told| !told.is_empty()))
}

/// Begins to reboot; returns before the device goes down. Unless it is forced, whoever holds shutdowns back is heeded.
///
/// # Errors
/// Who holds it back and why, or that logind is not there.
pub fn reboot(force: bool) -> Result<(), OsError> {
    if !force && let Some(who) = shutdown_inhibited()? {
        return Err(OsError::passing(format!("the reboot is held back by {who}")));
    }
    host::reboot(force).map_err(OsError::passing)
}
