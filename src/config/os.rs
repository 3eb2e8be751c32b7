//! `[os]`: when an operating system on trial counts as well.

use super::fragment::OsFragment;
use super::{ConfigError, seconds};
use std::time::Duration;

/// How long a health check of the operating system may take, if nobody says otherwise.
const CHECK_TIMEOUT_DEFAULT_S: u64 = 30;
/// The longest name of a unit that systemd takes.
const UNIT_LEN_MAX: usize = 255;

/// What must be well. What is in the directory of checks counts, too.
#[derive(Clone, Debug)]
pub struct OsSettings {
    /// Units of systemd that must be active.
    pub units: Vec<String>,
    /// The peer must be connected to another device.
    pub neighbour: bool,
    /// How long each check may take.
    pub check_timeout: Duration,
}

impl Default for OsSettings {
    fn default() -> Self {
        OsSettings { units: Vec::new(), neighbour: false, check_timeout: Duration::from_secs(CHECK_TIMEOUT_DEFAULT_S) }
    }
}

pub(super) fn os(f: OsFragment) -> Result<OsSettings, ConfigError> {
    let units = f.units.unwrap_or_default();
    // What systemd is asked for is never a path or a pattern.
    let is_unit = |unit: &String| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        unit.len() <= UNIT_LEN_MAX && unit.chars().all(allowed) && unit.trim_matches('.').contains('.')
    };
    if let Some(other) = units.iter().find(|unit| !is_unit(unit)) {
        let problem = "must be the whole name of a unit, such as \"ssh.service\"".to_owned();
        return Err(ConfigError::Value { key: "[os] units", value: other.clone(), problem });
    }
    Ok(OsSettings {
        units,
        neighbour: f.neighbour.unwrap_or(false),
        check_timeout: seconds("[os] check_timeout_s", f.check_timeout_s.unwrap_or(CHECK_TIMEOUT_DEFAULT_S), 3600)?,
    })
}
