//! The commit object.

use super::asks::{self, Asks, Limits};
use super::gvariant::{Member, array, dictionary, string, tuple};
use super::{OstreeError, checksum, limit};
use crate::wire::bundle::COMMIT_LEN_MAX;
use crate::{AppName, Digest, HardwareId};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The most keys of commit metadata; libostree's own tools write fewer than 20.
pub(super) const KEYS_MAX: usize = 256;
/// The members of a commit object; its metadata is the first.
pub(super) const SHAPE: [Member; 8] = {
    use Member::{Fixed, Var};
    [Var(8), Var(1), Var(1), Var(1), Var(1), Fixed(8), Var(1), Var(1)]
};
/// The most strings in a list.
const STRINGS_MAX: usize = 64;
/// The longest string in a list or of its own.
const STRING_LEN_MAX: usize = 4096;
/// The longest version.
const VERSION_LEN_MAX: usize = 128;
/// The most related objects, which nothing writes any more.
const RELATED_MAX: usize = 1024;

/// A commit object: `(a{sv}aya(say)sstayay)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What it says about itself.
    pub metadata: CommitMetadata,
    /// The commit before it.
    pub parent: Option<Digest>,
    /// One line for people.
    pub subject: String,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Checksum of the root's dirtree.
    pub root: Digest,
    /// Checksum of the root's dirmeta.
    pub root_meta: Digest,
}

/// The keys of a commit's metadata that matter here; the commit's checksum and signatures cover them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitMetadata {
    /// `ostree.ref-binding` (as): the refs under which it may appear; empty when it is not bound.
    pub refs: Vec<String>,
    /// `fullmetal.release` (t): its place in the order of releases.
    pub release: Option<u64>,
    /// `fullmetal.floor` (t): the lowest release allowed after it.
    pub floor: Option<u64>,
    /// `fullmetal.hardware` (as): what it is made for; empty means any.
    pub hardware: Vec<HardwareId>,
    /// `fullmetal.version` (s), else `version` (s), as other tools write it: for people.
    pub version: Option<String>,
    /// `ostree.bootable` (b), as `ostree commit --bootable` writes it: an operating system. Commits of older tools have none.
    pub bootable: bool,
    /// `ostree.linux` (s), from the same: the version of its kernel.
    pub kernel: Option<String>,
    /// `fullmetal.name` (s): the app's name.
    pub name: Option<AppName>,
    /// `fullmetal.health` (as): the health check's argv; empty means none.
    pub health: Vec<String>,
    /// `fullmetal.probation` (u): seconds.
    pub probation: Option<u32>,
    /// What it asks of the device that runs it.
    pub asks: Asks,
}

impl Commit {
    /// Parses a commit object.
    pub fn parse(bytes: &[u8]) -> Result<Self, OstreeError> {
        limit(bytes, COMMIT_LEN_MAX as usize)?;
        let [metadata, parent, related, subject, body, timestamp, root, root_meta] = tuple(bytes, SHAPE)?;
        check_related(related)?;
        string(body)?;
        Ok(Commit {
            metadata: CommitMetadata::parse(metadata)?,
            parent: if parent.is_empty() { None } else { Some(checksum(parent)?) },
            subject: string(subject)?.to_owned(),
            timestamp: u64::from_be_bytes(fixed(timestamp)?),
            root: checksum(root)?,
            root_meta: checksum(root_meta)?,
        })
    }
}

impl CommitMetadata {
    /// Parses the metadata dictionary, `a{sv}`. Its numbers are in little-endian, unlike the rest of a commit.
    fn parse(bytes: &[u8]) -> Result<Self, OstreeError> {
        let entries = dictionary(bytes, KEYS_MAX)?;
        let mut keys: Vec<&str> = entries.iter().map(|(key, ..)| *key).collect();
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|w| w[0] == w[1]) {
            return Err(OstreeError::DuplicateKey(pair[0].chars().take(80).collect()));
        }
        let find = |key| Value(key, entries.iter().find(|(k, ..)| *k == key).map(|(_, kind, value)| (*kind, *value)));
        Ok(CommitMetadata {
            refs: find("ostree.ref-binding").strings()?,
            release: find("fullmetal.release").u64()?,
            floor: find("fullmetal.floor").u64()?,
            hardware: find("fullmetal.hardware").list(STRINGS_MAX)?,
            version: find("fullmetal.version").version()?.or_else(|| find("version").shown()),
            bootable: find("ostree.bootable").flag()?,
            kernel: find("ostree.linux").shown(),
            name: find("fullmetal.name").name()?,
            health: find("fullmetal.health").strings()?,
            probation: find("fullmetal.probation").u32()?,
            asks: Asks {
                after: find("fullmetal.after").list(asks::NEIGHBOURS_MAX)?,
                requires: find("fullmetal.requires").list(asks::NEIGHBOURS_MAX)?,
                wants: find("fullmetal.wants").list(asks::NEIGHBOURS_MAX)?,
                notify: find("fullmetal.notify").flag()?,
                start_timeout: find("fullmetal.start-timeout").u32_within(asks::START_TIMEOUT_S)?,
                limits: Limits {
                    memory: find("fullmetal.memory").u64_within(asks::MEMORY)?,
                    cpu: find("fullmetal.cpu").u32_within(asks::CPU)?,
                    pids: find("fullmetal.pids").u32_within(asks::PIDS)?,
                    io: find("fullmetal.io").u32_within(asks::IO)?,
                },
                grants: find("fullmetal.grants").list(asks::GRANTS_MAX)?,
            },
        })
    }
}

fn check_related(bytes: &[u8]) -> Result<(), OstreeError> {
    for element in array(bytes, 1, RELATED_MAX)? {
        let [name, sum] = tuple(element, [Member::Var(1), Member::Var(1)])?;
        string(name)?;
        checksum(sum)?;
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], OstreeError> {
    bytes.try_into().map_err(|_| OstreeError::NotNormal)
}

/// A key and, where the commit has it, the type and bytes of its value.
struct Value<'a>(&'static str, Option<(&'a str, &'a [u8])>);

impl<'a> Value<'a> {
    fn bytes(&self, expected: &str) -> Result<Option<&'a [u8]>, OstreeError> {
        match self.1 {
            None => Ok(None),
            Some((kind, value)) if kind == expected => Ok(Some(value)),
            Some((kind, _)) => Err(self.error(format!("type {} instead of {expected}", kind.escape_debug()))),
        }
    }

    fn error(&self, why: impl Into<String>) -> OstreeError {
        OstreeError::Metadata { key: self.0, why: why.into() }
    }

    fn u64(&self) -> Result<Option<u64>, OstreeError> {
        self.bytes("t")?.map(|value| fixed(value).map(u64::from_le_bytes)).transpose()
    }

    fn u32(&self) -> Result<Option<u32>, OstreeError> {
        self.bytes("u")?.map(|value| fixed(value).map(u32::from_le_bytes)).transpose()
    }

    fn version(&self) -> Result<Option<String>, OstreeError> {
        let Some(text) = self.bytes("s")?.map(string).transpose()? else { return Ok(None) };
        if text.len() > VERSION_LEN_MAX || text.chars().any(char::is_control) {
            return Err(self.error(format!("must be at most {VERSION_LEN_MAX} printable bytes")));
        }
        Ok(Some(text.to_owned()))
    }

    /// What other tools wrote for people; nothing when it is not fit to be shown.
    fn shown(&self) -> Option<String> {
        self.version().ok().flatten().filter(|text| !text.is_empty())
    }

    fn name(&self) -> Result<Option<AppName>, OstreeError> {
        let Some(text) = self.bytes("s")?.map(string).transpose()? else { return Ok(None) };
        text.parse().map(Some).map_err(|e: crate::NameError| self.error(e.to_string()))
    }

    fn strings(&self) -> Result<Vec<String>, OstreeError> {
        let Some(value) = self.bytes("as")? else { return Ok(Vec::new()) };
        let texts: Vec<&str> = array(value, 1, STRINGS_MAX)?.into_iter().map(string).collect::<Result<_, _>>()?;
        if texts.iter().any(|text| text.len() > STRING_LEN_MAX) {
            return Err(self.error(format!("a string is over the limit of {STRING_LEN_MAX} bytes")));
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    /// At most `max` names of one kind.
    fn list<T: FromStr<Err: Display>>(&self, max: usize) -> Result<Vec<T>, OstreeError> {
        let texts = self.strings()?;
        if texts.len() > max {
            return Err(self.error(format!("{} names are over the limit of {max}", texts.len())));
        }
        texts.iter().map(|text| text.parse().map_err(|e: T::Err| self.error(e.to_string()))).collect()
    }

    fn flag(&self) -> Result<bool, OstreeError> {
        match self.bytes("b")? {
            None | Some([0]) => Ok(false),
            Some([1]) => Ok(true),
            Some(_) => Err(OstreeError::NotNormal),
        }
    }

    fn u64_within(&self, range: RangeInclusive<u64>) -> Result<Option<u64>, OstreeError> {
        self.within(self.u64()?, &range)
    }

    fn u32_within(&self, range: RangeInclusive<u32>) -> Result<Option<u32>, OstreeError> {
        self.within(self.u32()?, &range)
    }

    fn within<T: PartialOrd + Display>(
        &self,
        value: Option<T>,
        range: &RangeInclusive<T>,
    ) -> Result<Option<T>, OstreeError> {
        match value {
            Some(n) if !range.contains(&n) => {
                Err(self.error(format!("{n} is not within {} and {}", range.start(), range.end())))
            }
            value => Ok(value),
        }
    }
}
