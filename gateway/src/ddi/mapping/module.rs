//! One software module as a part: our metadata, or FullMetalUpdate's with its typos.
//!
//! | what | ours | FullMetalUpdate's |
//! |---|---|---|
//! | ref | `fullmetal.ref` | the module's name |
//! | commit | `fullmetal.commit` | `rev` |
//! | app | `fullmetal.name` | the module's name |
//! | started | `fullmetal.autostart` | `autostart` |
//! | ends by itself | `fullmetal.job` | |
//! | to be removed | | `autoremove`, `autoremoved` |
//!
//! | must say that it is well | | `notify` |
//! | seconds for that | | `timeout`, together with `notify` |
//!
//! Ours wins where both are there, except for the commit, on which both must agree. `screenused` is passed over.

use crate::ddi::answer::Chunk;
use crate::ddi::error::shown;
use fullmetal_proto::Digest;
use fullmetal_proto::dispatch::PartWish;
use fullmetal_proto::wire::bundle::PROOF_S_MAX;
use fullmetal_proto::wire::{Proof, StartOptions};
use std::collections::BTreeMap;
use std::str::FromStr;

/// How Hawkbit names its own module types `os` and `application` to devices; the latter also as it is.
const OS: &str = "os";
const APPS: [&str; 2] = ["bApp", "application"];
const OURS: &str = "fullmetal.";
const KNOWN: [&str; 5] =
    ["fullmetal.ref", "fullmetal.commit", "fullmetal.name", "fullmetal.autostart", "fullmetal.job"];
const VERSION_LEN_MAX: usize = 128;

/// Why a module is no part.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// An operating system.
    #[error("is an operating system, which this release does not update")]
    Os,
    /// Any other type.
    #[error("has the type \"{part}\"; only modules of the type \"application\" can be installed")]
    Type {
        /// Which.
        part: String,
    },
    /// It names no commit.
    #[error(
        "names no commit: its metadata needs fullmetal.ref and fullmetal.commit, or rev, each visible to targets \
         (targetVisible)"
    )]
    NoCommit,
    /// Its two commits differ.
    #[error("names two commits, fullmetal.commit = {ours} and rev = {theirs}")]
    TwoCommits {
        /// In our metadata.
        ours: Digest,
        /// In FullMetalUpdate's.
        theirs: Digest,
    },
    /// It is there to be removed.
    #[error("has {key} = 1, but apps cannot be removed through Hawkbit")]
    Remove {
        /// Under which key.
        key: &'static str,
    },
    /// A value that makes no sense.
    #[error("has {key} = \"{value}\": {problem}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

pub(super) fn part(chunk: &Chunk, notes: &mut Vec<String>) -> Result<PartWish, ModuleError> {
    match chunk.part.as_str() {
        OS => return Err(ModuleError::Os),
        part if APPS.contains(&part) => {}
        part => return Err(ModuleError::Type { part: shown(part) }),
    }
    let metadata = Metadata(&chunk.metadata);
    for key in ["autoremove", "autoremoved"] {
        if metadata.flag(key)? == Some(true) {
            return Err(ModuleError::Remove { key });
        }
    }
    let commit = commit(metadata)?;
    let ours = metadata.parsed("fullmetal.ref")?;
    let foreign = ours.is_none();
    let ref_name = match ours {
        Some(name) => name,
        None => parsed("name", &chunk.name)?,
    };
    let name = match metadata.parsed("fullmetal.name")? {
        None if foreign => chunk.name.parse().ok(),
        name => name,
    };
    let autostart = metadata.flag("fullmetal.autostart")?.or(metadata.flag("autostart")?);
    let job = metadata.flag("fullmetal.job")?;
    let default = StartOptions::default();
    let start = StartOptions { autostart: autostart.unwrap_or(default.autostart), job: job.unwrap_or(default.job) };
    let proof = proof(metadata)?;
    metadata.note(&chunk.name, notes);
    Ok(PartWish { ref_name, commit: Some(commit), name, version: version(&chunk.version), start, proof })
}

/// Without `notify` FullMetalUpdate's client waits for nothing, whatever the timeout.
fn proof(metadata: Metadata<'_>) -> Result<Proof, ModuleError> {
    if metadata.flag("notify")? != Some(true) {
        return Ok(Proof::default());
    }
    let seconds = metadata.parsed::<u32>("timeout")?.filter(|seconds| *seconds > 0);
    if let Some(value) = seconds.filter(|seconds| *seconds > PROOF_S_MAX) {
        let (value, problem) = (value.to_string(), format!("write at most {PROOF_S_MAX} seconds"));
        return Err(ModuleError::Value { key: "timeout", value, problem });
    }
    Ok(Proof { notify: true, seconds })
}

fn commit(metadata: Metadata<'_>) -> Result<Digest, ModuleError> {
    match (metadata.parsed("fullmetal.commit")?, metadata.parsed("rev")?) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(ModuleError::TwoCommits { ours, theirs }),
        (Some(commit), _) | (None, Some(commit)) => Ok(commit),
        (None, None) => Err(ModuleError::NoCommit),
    }
}

/// A version that cannot be shown leaves the commit's own.
fn version(text: &str) -> Option<String> {
    let fits = (1..=VERSION_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

#[derive(Clone, Copy)]
struct Metadata<'a>(&'a BTreeMap<String, String>);

impl Metadata<'_> {
    fn parsed<T: FromStr<Err: ToString>>(self, key: &'static str) -> Result<Option<T>, ModuleError> {
        self.0.get(key).map(|text| parsed(key, text)).transpose()
    }

    fn flag(self, key: &'static str) -> Result<Option<bool>, ModuleError> {
        let wrong = |text: &str| ModuleError::Value { key, value: shown(text), problem: "write 1 or 0".to_owned() };
        let read = |text: &String| match text.as_str() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(wrong(text)),
        };
        self.0.get(key).map(read).transpose()
    }

    fn note(self, module: &str, notes: &mut Vec<String>) {
        let module = shown(module);
        for key in self.0.keys().filter(|key| key.starts_with(OURS) && !KNOWN.contains(&key.as_str())) {
            notes.push(format!("module {module}: {} is unknown and passed over", shown(key)));
        }
    }
}

fn parsed<T: FromStr<Err: ToString>>(key: &'static str, text: &str) -> Result<T, ModuleError> {
    let wrong = |e: T::Err| ModuleError::Value { key, value: shown(text), problem: e.to_string() };
    text.parse().map_err(wrong)
}
