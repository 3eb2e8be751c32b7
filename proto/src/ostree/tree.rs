//! Directory listings and their owners and modes.

use super::content::{Xattr, be32, parse_xattrs};
use super::gvariant::{Member, array, string, tuple};
use super::{DIRMETA_LEN_MAX, DIRTREE_LEN_MAX, ENTRIES_MAX, OstreeError, checksum, limit};
use crate::Digest;
use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_000;
/// The longest file name that Linux takes.
const NAME_LEN_MAX: usize = 255;

/// A directory listing: `(a(say)a(sayay))`. Every name is one that a file can have, and there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirTree {
    /// Regular files and symlinks.
    pub files: Vec<FileEntry>,
    /// Directories.
    pub dirs: Vec<DirEntry>,
}

/// A file or symlink in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Name.
    pub name: String,
    /// Checksum of its content object.
    pub content: Digest,
}

/// A directory in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name.
    pub name: String,
    /// Checksum of its dirtree.
    pub tree: Digest,
    /// Checksum of its dirmeta.
    pub meta: Digest,
}

/// A directory's owner, mode and xattrs: `(uuua(ayay))` with big-endian numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirMeta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions, as in `st_mode`: a directory.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

impl DirTree {
    /// Parses a dirtree object and refuses hostile names.
    pub fn parse(bytes: &[u8]) -> Result<Self, OstreeError> {
        use Member::Var;
        limit(bytes, DIRTREE_LEN_MAX)?;
        let [files, dirs] = tuple(bytes, [Var(1), Var(1)])?;
        let file = |bytes| {
            let [name, content] = tuple(bytes, [Var(1), Var(1)])?;
            Ok(FileEntry { name: entry_name(name)?, content: checksum(content)? })
        };
        let dir = |bytes| {
            let [name, tree, meta] = tuple(bytes, [Var(1), Var(1), Var(1)])?;
            Ok(DirEntry { name: entry_name(name)?, tree: checksum(tree)?, meta: checksum(meta)? })
        };
        let tree = DirTree {
            files: array(files, 1, ENTRIES_MAX)?.into_iter().map(file).collect::<Result<_, _>>()?,
            dirs: array(dirs, 1, ENTRIES_MAX)?.into_iter().map(dir).collect::<Result<_, _>>()?,
        };
        tree.refuse_duplicates()?;
        Ok(tree)
    }

    fn refuse_duplicates(&self) -> Result<(), OstreeError> {
        let mut seen = BTreeSet::new();
        let mut names = self.files.iter().map(|f| &f.name).chain(self.dirs.iter().map(|d| &d.name));
        match names.find(|name| !seen.insert(*name)) {
            Some(name) => Err(OstreeError::DuplicateName(name.clone())),
            None => Ok(()),
        }
    }
}

impl DirMeta {
    /// Parses a dirmeta object.
    pub fn parse(bytes: &[u8]) -> Result<Self, OstreeError> {
        use Member::{Fixed, Var};
        limit(bytes, DIRMETA_LEN_MAX)?;
        let [uid, gid, mode, xattrs] = tuple(bytes, [Fixed(4), Fixed(4), Fixed(4), Var(1)])?;
        let mode = be32(mode)?;
        if mode & !0o7777 != DIRECTORY {
            return Err(OstreeError::Mode(mode));
        }
        Ok(DirMeta { uid: be32(uid)?, gid: be32(gid)?, mode, xattrs: parse_xattrs(xattrs)? })
    }
}

fn entry_name(bytes: &[u8]) -> Result<String, OstreeError> {
    let name = string(bytes).map_err(|_| OstreeError::Name(String::from_utf8_lossy(bytes).into_owned()))?;
    let hostile = name.is_empty() || name == "." || name == ".." || name.contains('/') || name.len() > NAME_LEN_MAX;
    if hostile { Err(OstreeError::Name(name.chars().take(80).collect())) } else { Ok(name.to_owned()) }
}
