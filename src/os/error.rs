//! Why a step was not done.

use crate::boot_loader::BootLoaderError;
use crate::sysroot::SysrootError;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;

/// Why a step was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{reason}")]
pub struct OsError {
    /// What, where and what to do, in one line.
    pub reason: String,
    /// The same may succeed later: somebody else holds the sysroot, or systemd does not answer.
    pub retry: bool,
}

/// Of what others said into a reason; bytes.
const REASON_LEN_MAX: usize = 2048;

impl OsError {
    pub(super) fn lasting(reason: impl ToString) -> Self {
        OsError { reason: one_line(&reason.to_string()), retry: false }
    }

    pub(super) fn passing(reason: impl ToString) -> Self {
        OsError { retry: true, ..OsError::lasting(reason) }
    }
}

/// Programs and libostree say several at times.
fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = (0..=REASON_LEN_MAX.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    line
}

impl From<SysrootError> for OsError {
    fn from(error: SysrootError) -> Self {
        match &error {
            SysrootError::Busy { .. } => OsError::passing(error),
            SysrootError::Io { source, .. } if source.kind() == ErrorKind::TimedOut => OsError::passing(error),
            _ => OsError::lasting(error),
        }
    }
}

impl From<BootLoaderError> for OsError {
    fn from(error: BootLoaderError) -> Self {
        OsError::lasting(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let error = OsError::lasting(format!("first\n  second {}", "ä".repeat(REASON_LEN_MAX)));
        assert!(error.reason.starts_with("first second ä"), "{error}");
        assert!((REASON_LEN_MAX - 1..=REASON_LEN_MAX).contains(&error.reason.len()));
    }
}
