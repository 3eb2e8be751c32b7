//! `fullmetal lock`: a file of local root that holds every switch back, also over a reboot.

use crate::durable::{self, DurableError, Existing};
use fullmetal_proto::Timestamp;
use fullmetal_proto::wire::asking::LockNote;
use std::io::ErrorKind;
use std::path::Path;

/// Locks, durably. The directory of `file` must be there.
///
/// # Errors
/// When it cannot be written, as for anybody but root.
pub fn set(file: &Path, note: &LockNote) -> Result<(), DurableError> {
    let text = format!("{} {}\n", note.since.as_secs(), one_line(&note.reason));
    durable::write(file, text.as_bytes(), 0o644, Existing::Replaced)
}

/// Unlocks for good; nothing happens when it was not locked.
///
/// # Errors
/// When the file cannot be removed.
pub fn clear(file: &Path) -> Result<(), DurableError> {
    durable::remove(file)
}

/// The lock, if there is one. One that cannot be read holds too.
pub fn get(file: &Path) -> Option<LockNote> {
    let text = match std::fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => format!("0 {} cannot be read: {error}", file.display()),
    };
    let (since, reason) = text.split_once(' ').unwrap_or_default();
    let since = Timestamp::from_secs(since.parse().unwrap_or(0));
    Some(LockNote { reason: one_line(reason.trim_end()), since })
}

/// Fit to be shown: no control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_kept_with_its_reason_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock");
        assert_eq!(get(&file), None);
        clear(&file).unwrap();
        for reason in ["", "acceptance test, ask Ms Kurz", "a b  c"] {
            let note = LockNote { reason: reason.into(), since: Timestamp::from_secs(1_795_528_440) };
            set(&file, &note).unwrap();
            assert_eq!(get(&file), Some(note));
        }
        clear(&file).unwrap();
        assert_eq!(get(&file), None);
    }

    #[test]
    fn a_lock_holds_whatever_is_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock");
        for bytes in [&b""[..], b"nonsense", b"\xff\xff \x1b[2J"] {
            std::fs::write(&file, bytes).unwrap();
            let note = get(&file).unwrap();
            assert!(!note.reason.contains(char::is_control));
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(get(&file).unwrap().reason.contains("cannot be read"));
    }
}
