//! One software module as a part: our metadata, or FullMetalUpdate's with its typos.
//!
//! | what | ours | FullMetalUpdate's |
//! |---|---|---|
//! | ref | `fullmetal.ref` | the module's name |
//! | commit | `fullmetal.commit` | `rev` |
//! | app | `fullmetal.name` | the module's name |
//! | started | `fullmetal.autostart` | `autostart` |
//! | ends by itself | `fullmetal.job` | |
//! | leaves the device | | `autoremove`, `autoremoved` (as its Yocto class writes it); apps only |
//! | must say that it is well | | `notify` |
//! | seconds for that | | `timeout`, together with `notify` |
//!
//! A module that leaves names its app only: its commit counts for nothing and need not be there. Of an operating system
//! counts what it is and where its commit is; it starts and proves itself as its device says.
//!
//! Ours wins where both are there, except for the commit, on which both must agree. `screenused` is passed over.

use crate::ddi::answer::Chunk;
use crate::ddi::error::shown;
use fullmetal_proto::dispatch::PartWish;
use fullmetal_proto::wire::bundle::PROOF_S_MAX;
use fullmetal_proto::wire::{PartKind, Proof, StartOptions};
use fullmetal_proto::{AppName, Digest};
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
    /// An operating system that is to leave.
    #[error("has autoremove = 1 and is an operating system, which can only be followed by another one")]
    OsLeaves,
    /// Any other type.
    #[error("has the type \"{part}\"; only modules of the types \"os\" and \"application\" can be installed")]
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
    /// It is there to be removed, and not said which app it is.
    #[error("has autoremove = 1 and does not say which app it is: its metadata needs fullmetal.name")]
    NoName,
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

/// What a module wants.
#[derive(Debug)]
pub(super) enum Wanted {
    /// That this is installed.
    Part(PartWish),
    /// That this app leaves.
    Removal(AppName),
}

pub(super) fn wanted(chunk: &Chunk, notes: &mut Vec<String>) -> Result<Wanted, ModuleError> {
    let kind = match chunk.part.as_str() {
        OS => PartKind::Os,
        part if APPS.contains(&part) => PartKind::App,
        part => return Err(ModuleError::Type { part: shown(part) }),
    };
    let metadata = Metadata(&chunk.metadata);
    let leaves = [metadata.flag("autoremove")?, metadata.flag("autoremoved")?].contains(&Some(true));
    let wanted = match (leaves, kind) {
        (true, PartKind::Os) => return Err(ModuleError::OsLeaves),
        (true, PartKind::App) => removal(chunk, metadata).map(Wanted::Removal),
        (false, _) => part(kind, chunk, metadata).map(Wanted::Part),
    };
    metadata.note(&chunk.name, notes);
    wanted
}

/// The commit's own name, by which a part of ours goes, is not asked for: the commit may be gone from central.
fn removal(chunk: &Chunk, metadata: Metadata<'_>) -> Result<AppName, ModuleError> {
    match metadata.parsed("fullmetal.name")? {
        Some(name) => Ok(name),
        None if metadata.has("fullmetal.ref") => Err(ModuleError::NoName),
        None => parsed("name", &chunk.name),
    }
}

fn part(kind: PartKind, chunk: &Chunk, metadata: Metadata<'_>) -> Result<PartWish, ModuleError> {
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
    let (start, proof) = match kind {
        PartKind::Os => (StartOptions::default(), Proof::default()),
        PartKind::App => (start(metadata)?, proof(metadata)?),
    };
    Ok(PartWish { kind, ref_name, commit: Some(commit), name, version: version(&chunk.version), start, proof })
}

fn start(metadata: Metadata<'_>) -> Result<StartOptions, ModuleError> {
    let autostart = metadata.flag("fullmetal.autostart")?.or(metadata.flag("autostart")?);
    let job = metadata.flag("fullmetal.job")?;
    let default = StartOptions::default();
    Ok(StartOptions { autostart: autostart.unwrap_or(default.autostart), job: job.unwrap_or(default.job) })
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
    fn has(self, key: &str) -> bool {
        self.0.contains_key(key)
    }

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
