//! Who speaks to Hawkbit: from a file that not everybody can read, and shown nowhere.

use super::HawkbitError;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The longest login in bytes.
const LEN_MAX: u64 = 1_024;
/// Nobody but owner and group may read it, nobody but the owner write it.
const FORBIDDEN_BITS: u32 = 0o027;

/// User and password.
#[derive(Clone)]
pub struct Login {
    pub(super) user: String,
    pub(super) password: String,
    /// Where it is from, for messages.
    pub(super) path: PathBuf,
}

impl Login {
    /// Reads a file of one line, `user:password`. The permissions are those of the opened file.
    pub fn load(path: &Path) -> Result<Self, HawkbitError> {
        let bad = |problem: String| HawkbitError::Login { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|e| bad(e.to_string()))?;
        let metadata = file.metadata().map_err(|e| bad(e.to_string()))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_file() && mode & FORBIDDEN_BITS != 0 {
            let fixed = mode & !FORBIDDEN_BITS;
            return Err(bad(format!("others can read or change it (mode {mode:04o}): chmod {fixed:04o} the file")));
        }
        let mut text = String::new();
        file.take(LEN_MAX + 1).read_to_string(&mut text).map_err(|e| bad(e.to_string()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let form = "it must hold one line, user:password";
        let (user, password) = line.split_once(':').ok_or_else(|| bad(form.to_owned()))?;
        if user.is_empty() || text.len() as u64 > LEN_MAX || line.chars().any(char::is_control) {
            return Err(bad(form.to_owned()));
        }
        Ok(Login { user: user.to_owned(), password: password.to_owned(), path: path.to_owned() })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    fn load(text: &str, mode: u32) -> Result<Login, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        Login::load(file.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_login_is_one_line_and_its_password_is_shown_nowhere() {
        let login = load("build:se:cret\n", 0o600).unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("build", "se:cret"));
        assert!(!format!("{login:?}").contains("se:cret"));
        for bad in ["", "admin", ":secret", "a:b\nc:d\n", "a:\u{7}", &format!("a:{}", "x".repeat(2000))] {
            assert!(load(bad, 0o600).unwrap_err().contains("user:password"), "{bad:?}");
        }
    }

    #[test]
    fn a_login_that_others_can_read_is_refused_with_what_to_do() {
        let error = load("a:b", 0o644).unwrap_err();
        assert!(error.contains("mode 0644") && error.contains("chmod 0640"), "{error}");
        assert!(load("a:b", 0o640).is_ok());
    }
}
