//! Reads a tarball (plain, gzip, zstd) as a tree, without unpacking it: owners, modes and xattrs come from
//! its headers, so no privileges are needed, and no path in it ever reaches the file system.

use super::error::{Doing, PublishError, on};
use super::members::{Member, Members, TarError};
use super::source::{
    Content, DEPTH_MAX, Dir, Leaf, Meta, NAME_LEN_MAX, NOT_A_FILE, Node, S_IFDIR, S_IFLNK, S_IFREG, TARGET_LEN_MAX,
};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use tar::EntryType;

/// The longest tarball after decompression: bounds what a bomb can write to the temporary directory.
const TAR_LEN_MAX: u64 = 64 << 30;

/// The tree in the tarball `path`. A compressed one is decompressed into a nameless file in `$TMPDIR`.
pub(super) fn read_tarball(path: &Path) -> Result<Dir, PublishError> {
    let file = Arc::new(open_plain(path)?);
    let mut tree = Dir::new(Meta::root(S_IFDIR | 0o755));
    let mut members = Members::new(&file).doing(|| on("reading", path))?;
    let broken = |e: TarError| PublishError::source(path.display().to_string(), e.to_string());
    while let Some(member) = members.next().map_err(broken)? {
        let shown = String::from_utf8_lossy(&member.path).escape_default().to_string();
        let refused = |Refused(problem)| PublishError::source(format!("{}: {shown}", path.display()), problem);
        add(&mut tree, member, &file).map_err(refused)?;
    }
    Ok(tree)
}

fn open_plain(path: &Path) -> Result<File, PublishError> {
    let mut file = File::open(path).doing(|| on("opening", path))?;
    let mut magic = [0u8; 4];
    let got = file.read(&mut magic).and_then(|n| file.rewind().map(|()| n)).doing(|| on("reading", path))?;
    let reader: Box<dyn Read> = match &magic[..got] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(file).doing(|| on("reading", path))?),
        _ => return Ok(file),
    };
    let mut plain = tempfile::tempfile().doing(|| on("making a temporary file in", &std::env::temp_dir()))?;
    let copied = io::copy(&mut reader.take(TAR_LEN_MAX + 1), &mut plain).doing(|| on("decompressing", path))?;
    if copied > TAR_LEN_MAX {
        let problem = format!("longer than {} GiB after decompression", TAR_LEN_MAX >> 30);
        return Err(PublishError::source(path.display().to_string(), problem));
    }
    plain.rewind().doing(|| on("reading", path))?;
    Ok(plain)
}

/// Why a member cannot be part of a commit.
pub(super) struct Refused(pub String);

pub(super) fn refuse<T>(problem: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(problem.into()))
}

fn add(tree: &mut Dir, member: Member, file: &Arc<File>) -> Result<(), Refused> {
    let path = split(&member.path)?;
    let node = match make(member, file)? {
        Made::Node(node) => node,
        Made::Link(target) => Node::Leaf(find_leaf(tree, &target)?.clone()),
    };
    insert(tree, &path, node)
}

/// What a member stands for.
pub(super) enum Made {
    /// A file, symlink or directory without anything in it yet.
    Node(Node),
    /// A hard link to the file of this path.
    Link(Vec<String>),
}

/// Makes what `member` of the uncompressed tarball `file` stands for.
pub(super) fn make(member: Member, file: &Arc<File>) -> Result<Made, Refused> {
    if member.sparse {
        return refuse("a sparse file cannot be published; pack without --sparse");
    }
    // Before POSIX a directory was a regular file whose name ends in a slash.
    let directory = member.kind.is_dir() || member.kind.is_file() && member.path.ends_with(b"/");
    let node = match member.kind {
        _ if directory => Node::Dir(Dir::new(meta(member, S_IFDIR)?)),
        EntryType::Regular | EntryType::Continuous => {
            let (length, content) = (member.length, Content::Slice(file.clone(), member.offset));
            Node::Leaf(Leaf { meta: meta(member, S_IFREG)?, target: String::new(), length, content })
        }
        EntryType::Symlink => {
            let target = target(&member.link)?;
            let meta = Meta { mode: S_IFLNK | 0o777, ..meta(member, S_IFLNK)? };
            Node::Leaf(Leaf::symlink(meta, target))
        }
        EntryType::Link => return Ok(Made::Link(split(&member.link)?)),
        EntryType::Char | EntryType::Block | EntryType::Fifo => return refuse(NOT_A_FILE),
        other => return refuse(format!("a member of type {other:?} cannot be published")),
    };
    Ok(Made::Node(node))
}

fn meta(member: Member, kind: u32) -> Result<Meta, Refused> {
    let id = |id: u64| u32::try_from(id).or_else(|_| refuse(format!("owner {id} is above 32 bits")));
    let (uid, gid, mode) = (id(member.uid)?, id(member.gid)?, kind | member.mode & 0o7777);
    Ok(Meta { uid, gid, mode, xattrs: member.xattrs })
}

fn target(link: &[u8]) -> Result<String, Refused> {
    match std::str::from_utf8(link) {
        Ok(text) if (1..TARGET_LEN_MAX).contains(&text.len()) && !text.contains('\0') => Ok(text.to_owned()),
        _ => refuse("the symlink's target is empty, too long or not UTF-8"),
    }
}

/// The components of a path, none of which can leave the tree.
pub(super) fn split(path: &[u8]) -> Result<Vec<String>, Refused> {
    let Ok(text) = std::str::from_utf8(path) else { return refuse("the name is not UTF-8; rename it") };
    if text.starts_with('/') {
        return refuse("absolute paths are refused; pack with relative ones");
    }
    let parts: Vec<String> = text.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect();
    if parts.iter().any(|p| p == "..") {
        return refuse("paths with '..' are refused");
    }
    if parts.len() > DEPTH_MAX || parts.iter().any(|p| p.len() > NAME_LEN_MAX || p.contains('\0')) {
        return refuse(format!("a name over {NAME_LEN_MAX} bytes, or deeper than {DEPTH_MAX} directories"));
    }
    Ok(parts)
}

fn find_leaf<'d>(tree: &'d Dir, path: &[String]) -> Result<&'d Leaf, Refused> {
    let missing = || Refused(format!("hard link to {:?}, which is no file before it", path.join("/")));
    let (name, parents) = path.split_last().ok_or_else(missing)?;
    let mut dir = tree;
    for parent in parents {
        match dir.children.get(parent) {
            Some(Node::Dir(next)) => dir = next,
            _ => return Err(missing()),
        }
    }
    match dir.children.get(name) {
        Some(Node::Leaf(leaf)) => Ok(leaf),
        _ => Err(missing()),
    }
}

/// Later entries replace earlier ones as they do when a tarball is unpacked; parents that are missing are made.
fn insert(tree: &mut Dir, path: &[String], node: Node) -> Result<(), Refused> {
    let Some((name, parents)) = path.split_last() else {
        let Node::Dir(root) = node else { return refuse("the root of the tarball is no directory") };
        tree.meta = root.meta;
        return Ok(());
    };
    let mut dir = tree;
    for parent in parents {
        let new = || Node::Dir(Dir::new(Meta::root(S_IFDIR | 0o755)));
        match dir.children.entry(parent.clone()).or_insert_with(new) {
            Node::Dir(next) => dir = next,
            Node::Leaf(_) => return refuse("lies beneath a file or symlink"),
        }
    }
    match (dir.children.get_mut(name), node) {
        (Some(Node::Dir(there)), Node::Dir(new)) => there.meta = new.meta,
        (Some(Node::Dir(_)), Node::Leaf(_)) => return refuse("would replace a directory"),
        (Some(Node::Leaf(_)), Node::Dir(_)) => return refuse("would replace a file by a directory"),
        (_, node) => {
            dir.children.insert(name.clone(), node);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_path_of_a_tarball_leaves_the_tree(path in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..40)) {
            if let Ok(parts) = split(&path) {
                prop_assert!(parts.iter().all(|p| !p.is_empty() && p != "." && p != ".." && !p.contains(['/', '\0'])));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            prop_assert!(read_tarball(file.path()).is_err());
        }
    }
}
