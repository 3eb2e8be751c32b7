//! Why a release could not be published.

use super::sign::KeyError;
use crate::durable::DurableError;
use fullmetal_proto::ostree::OstreeError;
use fullmetal_proto::wire::{KeyId, ObjectId, OpenError};
use fullmetal_proto::{Digest, RefName};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a release could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A directory without `config.json` and no command to make one from.
    #[error(
        "{} is no app bundle (no config.json); give --cmd 'PROGRAM ARGS' to publish it as the root of an app, or --os as an \
         operating system", .0.display()
    )]
    NoConfig(PathBuf),
    /// `--cmd` for something that has its own `config.json`.
    #[error("{} has its own config.json, which says what it runs; leave --cmd out", .0.display())]
    CmdForBundle(PathBuf),
    /// A tree that no device could boot.
    #[error("{what} cannot be booted as an operating system: {}; docs/integrators-os.md says how to make one", .lacks.join("; "))]
    NotBootable {
        /// The directory, tarball or commit.
        what: String,
        /// What is wrong, and what to do about it.
        lacks: Vec<String>,
    },
    /// An option's value makes no sense.
    #[error("{option}: {problem}")]
    Option {
        /// As typed on the command line.
        option: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The signing key cannot be used.
    #[error("build key {}: {problem}", .path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why.
        problem: KeyError,
    },
    /// No device would take what this key signs.
    #[error(
        "key {key} may not sign {name} by trust file {}: it {is}; sign with {}", .trust.display(), one_of(able)
    )]
    Signer {
        /// The key.
        key: KeyId,
        /// What the trust file has it do.
        is: String,
        /// The ref.
        name: String,
        /// The trust file.
        trust: PathBuf,
        /// Keys that may.
        able: Vec<KeyId>,
    },
    /// No device would take it without a signature.
    #[error("{name} must be signed by trust file {}; give --key instead of --unsigned", .trust.display())]
    Unsigned {
        /// The ref.
        name: String,
        /// The trust file.
        trust: PathBuf,
    },
    /// Devices order releases by this number.
    #[error(
        "{name} is at release {published} (commit {}); {release} with another tree would not come after it: \
         give a higher --release, or say --allow-lower-release", .commit.short()
    )]
    Release {
        /// The ref.
        name: RefName,
        /// Its release now.
        published: u64,
        /// Its commit now.
        commit: Digest,
        /// What was asked for, in words.
        release: Asked,
    },
    /// Not an archive repo: its files cannot be served as they are.
    #[error("{} is an OSTree repo in another mode than archive; use a new directory or an archive repo", .0.display())]
    RepoMode(PathBuf),
    /// A directory with other things in it.
    #[error("{} has files in it and is no OSTree repo; name an empty or new directory, or a repo", .0.display())]
    NotARepo(PathBuf),
    /// The repo lies in the directory that is published.
    #[error("the repo {} lies inside the published directory; move it out", .0.display())]
    RepoInSource(PathBuf),
    /// Something in the source cannot be part of a commit.
    #[error("{path}: {problem}")]
    Source {
        /// Where in the source.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A source file was not the same when it was read again.
    #[error("{0} changed while it was published; publish again when nothing writes there")]
    Changed(String),
    /// The revision does not exist in the repo.
    #[error("no commit {rev} in {}; `ostree refs --repo` lists what is there", .repo.display())]
    NoSuchCommit {
        /// As given.
        rev: String,
        /// Where.
        repo: PathBuf,
    },
    /// A commit without a ref to set, or a ref that it is not bound to.
    #[error("commit {} is not bound to ref {name}; use --recommit to make a new commit for it", .commit.short())]
    NotBound {
        /// The commit.
        commit: Digest,
        /// The ref.
        name: RefName,
    },
    /// An object in the repo is not what its name says.
    #[error("object {object} in {} is corrupt; `ostree fsck --repo` finds all such objects", .repo.display())]
    Corrupt {
        /// Which.
        object: ObjectId,
        /// Where.
        repo: PathBuf,
    },
    /// An object that no device would accept.
    #[error("object {object} would be refused by every device: {problem}")]
    Unfit {
        /// Which.
        object: ObjectId,
        /// Why.
        problem: OstreeError,
    },
    /// A manifest that exists cannot be used. It is never rewritten: devices may hold its hash.
    #[error("manifest {}: {problem}; restore it from a backup, or publish under a new commit with --recommit", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What was made is outside the limits of its format.
    #[error("the manifest of {} cannot be written: {problem}", .commit.short())]
    Limits {
        /// The commit.
        commit: Digest,
        /// Which limit.
        problem: OpenError,
    },
    /// A file could not be read or written.
    #[error("{doing}: {error}")]
    Io {
        /// What was done, with the path.
        doing: String,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// A file could not be made durable.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// libostree refused.
    #[error("{doing}: {error}")]
    Ostree {
        /// What was done.
        doing: String,
        /// Its message.
        #[source]
        error: ostree::glib::Error,
    },
}

/// A release number, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub Option<u64>);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "release {number}"),
            None => f.write_str("a release without a number"),
        }
    }
}

fn one_of(keys: &[KeyId]) -> String {
    match keys {
        [] => "a key that it allows; now none may sign that ref".to_owned(),
        [key] => format!("build key {key}"),
        keys => format!("one of the build keys {}", keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl PublishError {
    /// Whether the command line is to blame (exit status 2) and not the world (exit status 1).
    pub fn is_usage(&self) -> bool {
        use PublishError as E;
        matches!(
            self,
            E::NoConfig(_)
                | E::CmdForBundle(_)
                | E::NotBootable { .. }
                | E::Option { .. }
                | E::Key { .. }
                | E::Signer { .. }
                | E::Unsigned { .. }
                | E::Release { .. }
                | E::RepoMode(_)
                | E::NotARepo(_)
                | E::RepoInSource(_)
                | E::NotBound { .. }
        )
    }

    pub(super) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        PublishError::Option { option, problem: problem.into() }
    }

    pub(super) fn source(path: impl Into<String>, problem: impl Into<String>) -> Self {
        PublishError::Source { path: path.into(), problem: problem.into() }
    }
}

/// Adds what was being done to an error.
pub(super) trait Doing<T> {
    /// "reading /a/b": a verb and its object.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PublishError>;
}

impl<T> Doing<T> for Result<T, io::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PublishError> {
        self.map_err(|error| PublishError::Io { doing: what(), error })
    }
}

impl<T> Doing<T> for Result<T, rustix::io::Errno> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PublishError> {
        self.map_err(|error| PublishError::Io { doing: what(), error: error.into() })
    }
}

impl<T> Doing<T> for Result<T, ostree::glib::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PublishError> {
        self.map_err(|error| PublishError::Ostree { doing: what(), error })
    }
}

/// `doing` with a path: "reading /a/b".
pub(super) fn on(verb: &str, path: &Path) -> String {
    format!("{verb} {}", path.display())
}
