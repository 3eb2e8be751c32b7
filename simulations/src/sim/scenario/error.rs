//! What is wrong with a scenario, and where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file, or one that it names, cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// It says nothing at all.
    #[error("{path}: this file says nothing: it is empty, or all of it is comments")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A key that means nothing.
    #[error("{place}: unknown key `{key}` in {section}{}", hint(.meant, .known))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// Its table.
        section: String,
        /// The valid key that is nearest.
        meant: Option<String>,
        /// All valid keys.
        known: Box<[String]>,
    },
    /// A key that must be there and is not.
    #[error("{place}: {section} lacks `{key}`: expected {expected}")]
    MissingKey {
        /// Where its table is.
        place: Place,
        /// The table.
        section: String,
        /// The key.
        key: String,
        /// What it would have.
        expected: String,
    },
    /// A value that its key cannot have.
    #[error("{place}: `{key}` is {found}: expected {expected}")]
    Value {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// An event in which nothing happens.
    #[error("{place}: this [[event]] does not say what happens: expected one of {actions}")]
    NoAction {
        /// Where it is.
        place: Place,
        /// What can happen.
        actions: String,
    },
    /// A name of something that the scenario does not have.
    #[error("{place}: `{key}` names `{name}`, which is not there{}", hint(.meant, .known))]
    UnknownName {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The name.
        name: String,
        /// The valid name that is nearest.
        meant: Option<String>,
        /// All valid names.
        known: Box<[String]>,
    },
    /// Something that a simulation has and a lab cannot have.
    #[error("{place}: `{key}` in {section}: a lab cannot do that: {reason}")]
    Lab {
        /// Where.
        place: Place,
        /// The table.
        section: String,
        /// The key.
        key: &'static str,
        /// Why not.
        reason: String,
    },
    /// The repository that the release is read from is not as it should be.
    #[error("{place}: `{key}`: {reason}")]
    Repo {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// A line of a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As it was given.
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

fn hint(meant: &Option<String>, known: &[String]) -> String {
    match meant {
        Some(name) => format!(", did you mean `{name}`?"),
        None => format!("; there are: {}", known.join(", ")),
    }
}
