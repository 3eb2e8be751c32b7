//! What goes wrong with boot loaders.

use std::io;
use std::path::{Path, PathBuf};

/// A boot loader cannot be used, or could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BootLoaderError {
    /// No boot loader that is known here has booted this device.
    #[error("the boot loader is unknown: {remedy}")]
    Unknown {
        /// What to do.
        remedy: &'static str,
    },
    /// The boot loader is known, but cannot count boots as things are.
    #[error("{loader} cannot count boots: {problem}; {remedy}")]
    Unprepared {
        /// Its name.
        loader: &'static str,
        /// What is missing.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file could not be read or written.
    #[error("{action} {path}: {source}", path = .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A program of the boot loader failed.
    #[error("{program}: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// How, with what it said.
        reason: String,
    },
    /// A file is not what the boot loader reads.
    #[error("{path}: {problem}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// What was written reads back otherwise.
    #[error("{path} has {found:?} as {name}, though {wanted:?} was written", path = .path.display())]
    NotTaken {
        /// The environment, by its file or its configuration.
        path: PathBuf,
        /// The variable.
        name: String,
        /// What it should be; empty for none.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// No entry of the loader is of this deployment.
    #[error("no entry in {path} boots {deployment}", path = .path.display())]
    NoEntry {
        /// The directory of entries.
        path: PathBuf,
        /// The deployment that was looked for.
        deployment: String,
    },
}

impl BootLoaderError {
    pub(super) fn file<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + use<'a> {
        move |source| BootLoaderError::File { action, path: path.to_owned(), source }
    }
}
