//! Tokens: read from files that not everybody can read, and shown nowhere.

use fullmetal::config::HawkbitSettings;
use fullmetal_proto::DeviceId;
use reqwest::header::HeaderValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The longest token in bytes.
const TOKEN_LEN_MAX: u64 = 1_024;
/// The most devices with tokens of their own.
const TARGETS_MAX: usize = 20_000;
/// Nobody but owner and group may read it, nobody but the owner write it.
const FORBIDDEN_BITS: u32 = 0o027;

/// What is wrong with a token file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("reading token {path}: {source}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Others can read or change it.
    #[error(
        "token {path} has mode {mode:04o}, so that others can read or change it: chmod {fixed:04o} {path}",
        path = .path.display()
    )]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they should be.
        fixed: u32,
    },
    /// It holds no token.
    #[error("token {path}: {problem}; it must hold one line, the token alone", path = .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file of the folder is not named like a device.
    #[error("token {path} is not named by a device id: {problem}", path = .path.display())]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its name.
        problem: String,
    },
    /// Too many files.
    #[error("{path} has more than {TARGETS_MAX} tokens", path = .path.display())]
    Many {
        /// Which folder.
        path: PathBuf,
    },
}

/// The tokens that stand for devices, ready to be sent.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    gateway: Option<HeaderValue>,
    targets: BTreeMap<DeviceId, HeaderValue>,
}

impl Tokens {
    /// Reads the files that the configuration names.
    pub fn load(settings: &HawkbitSettings) -> Result<Self, TokenError> {
        let mut tokens = Tokens::default();
        if let Some(path) = &settings.gateway_token_file {
            tokens.gateway = Some(load("GatewayToken", path)?);
        }
        if let Some(dir) = &settings.target_token_dir {
            tokens.targets = targets(dir)?;
        }
        Ok(tokens)
    }

    /// What stands for `device`, and whether it is the `gateway`'s or the `target`'s.
    pub(super) fn of(&self, device: &DeviceId) -> Option<(&HeaderValue, &'static str)> {
        let own = self.targets.get(device).map(|token| (token, "target"));
        own.or(self.gateway.as_ref().map(|token| (token, "gateway")))
    }
}

fn targets(dir: &Path) -> Result<BTreeMap<DeviceId, HeaderValue>, TokenError> {
    let err = |source| TokenError::Read { path: dir.to_owned(), source };
    let mut targets = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(err)? {
        let path = entry.map_err(err)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What editors and secret mounts leave beside the files.
        if name.starts_with('.') {
            continue;
        }
        if targets.len() >= TARGETS_MAX {
            return Err(TokenError::Many { path: dir.to_owned() });
        }
        let named = name.parse().map_err(|e: fullmetal_proto::NameError| e.to_string());
        let device = named.map_err(|problem| TokenError::Name { path: path.clone(), problem })?;
        targets.insert(device, load("TargetToken", &path)?);
    }
    Ok(targets)
}

/// The permissions are those of the opened file, so that nobody swaps it in between.
fn load(scheme: &str, path: &Path) -> Result<HeaderValue, TokenError> {
    let err = |source| TokenError::Read { path: path.to_owned(), source };
    let content = |problem| TokenError::Content { path: path.to_owned(), problem };
    let file = File::open(path).map_err(err)?;
    let metadata = file.metadata().map_err(err)?;
    if !metadata.is_file() {
        return Err(content("it is no file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & FORBIDDEN_BITS != 0 {
        return Err(TokenError::Mode { path: path.to_owned(), mode, fixed: mode & !FORBIDDEN_BITS });
    }
    let mut text = String::new();
    let read = file.take(TOKEN_LEN_MAX + 1).read_to_string(&mut text);
    read.map_err(err)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(content("it is empty"));
    }
    if text.len() as u64 > TOKEN_LEN_MAX || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(content("that is no token"));
    }
    let mut header = HeaderValue::from_str(&format!("{scheme} {token}")).map_err(|_| content("that is no token"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_token_is_read_from_a_closed_file_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write(&path, "s3cret\n", 0o640);
        let header = load("GatewayToken", &path).unwrap();
        assert_eq!(header.to_str().unwrap(), "GatewayToken s3cret");
        assert!(!format!("{header:?}").contains("s3cret"));
    }

    #[test]
    fn open_files_and_files_without_a_token_are_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let cases = [
            ("s3cret", 0o644, "has mode 0644, so that others can read or change it: chmod 0640"),
            ("s3cret", 0o660, "chmod 0640"),
            (" \n", 0o600, "it is empty"),
            ("two words", 0o600, "that is no token"),
            ("two\nlines", 0o600, "that is no token"),
            (&"x".repeat(1025), 0o600, "that is no token"),
        ];
        for (text, mode, expected) in cases {
            write(&path, text, mode);
            let error = load("GatewayToken", &path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("token"), "{error}: {expected}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(load("GatewayToken", dir.path()).unwrap_err().to_string().contains("it is no file"));
        let missing = load("GatewayToken", &dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none") && missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn a_device_with_a_token_of_its_own_uses_that() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("press-1"), "own", 0o600);
        write(&dir.path().join(".swp"), "", 0o600);
        let gateway = Some(HeaderValue::from_static("GatewayToken all"));
        let tokens = Tokens { gateway, targets: targets(dir.path()).unwrap() };
        let of = |device: &str| tokens.of(&device.parse().unwrap()).map(|(t, k)| (t.to_str().unwrap().to_owned(), k));
        assert_eq!(of("press-1"), Some(("TargetToken own".to_owned(), "target")));
        assert_eq!(of("press-2"), Some(("GatewayToken all".to_owned(), "gateway")));
        write(&dir.path().join("-x"), "own", 0o600);
        let error = targets(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not named by a device id"), "{error}");
    }
}
