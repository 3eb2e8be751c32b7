//! The tree to publish: names and metadata in memory, file contents where they lie.

use super::error::{Doing, PublishError, on};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How deep directories may nest.
pub(super) const DEPTH_MAX: usize = 128;
/// The longest file name, as on every Linux file system.
pub(super) const NAME_LEN_MAX: usize = 255;
/// The longest symlink target (`PATH_MAX`).
pub(super) const TARGET_LEN_MAX: usize = 4096;
/// The type bits of a mode, and the types that a commit can hold.
pub(super) const S_IFMT: u32 = 0o170_000;
pub(super) const S_IFREG: u32 = 0o100_000;
pub(super) const S_IFDIR: u32 = 0o040_000;
pub(super) const S_IFLNK: u32 = 0o120_000;

/// An extended attribute: name with its closing zero byte, value.
pub(super) type Xattr = (Vec<u8>, Vec<u8>);

/// Owner, mode (type bits included) and xattrs (sorted by name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub xattrs: Vec<Xattr>,
}

impl Meta {
    /// Root's, without xattrs.
    pub fn root(mode: u32) -> Self {
        Meta { uid: 0, gid: 0, mode, xattrs: Vec::new() }
    }
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// In a file of its own.
    Path(PathBuf),
    /// In an uncompressed tarball, from this offset.
    Slice(Arc<File>, u64),
    /// Generated.
    Bytes(Arc<[u8]>),
}

impl Content {
    /// Its first `length` bytes; fewer come when the file has shrunk.
    pub fn open(&self, length: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Content::Path(path) => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
                Box::new(file.take(length))
            }
            Content::Slice(file, offset) => Box::new(Slice { file: file.clone(), offset: *offset, left: length }),
            Content::Bytes(bytes) => Box::new(Cursor::new(bytes.clone()).take(length)),
        })
    }
}

struct Slice {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Slice {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buf[..want], self.offset)?;
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// A regular file or symlink.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub meta: Meta,
    /// Empty for a regular file.
    pub target: String,
    /// Bytes of content; 0 for a symlink.
    pub length: u64,
    pub content: Content,
}

impl Leaf {
    /// A symlink.
    pub fn symlink(meta: Meta, target: String) -> Self {
        Leaf { meta, target, length: 0, content: Content::Bytes(Arc::from([])) }
    }

    /// A generated file, root's, mode 0644.
    pub fn generated(bytes: Vec<u8>) -> Self {
        let (length, content) = (bytes.len() as u64, Content::Bytes(bytes.into()));
        Leaf { meta: Meta::root(S_IFREG | 0o644), target: String::new(), length, content }
    }
}

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Dir {
    pub meta: Meta,
    pub children: BTreeMap<String, Node>,
}

impl Dir {
    /// An empty directory.
    pub fn new(meta: Meta) -> Self {
        Dir { meta, children: BTreeMap::new() }
    }
}

/// Anything with a name.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Dir(Dir),
}

/// The tree below the directory `path`, owners, modes and xattrs as they are on disk.
pub(super) fn read_dir(path: &Path) -> Result<Dir, PublishError> {
    let meta = std::fs::metadata(path).doing(|| on("reading", path))?;
    read_level(path, &meta, 0)
}

fn read_level(path: &Path, meta: &Metadata, depth: usize) -> Result<Dir, PublishError> {
    if depth > DEPTH_MAX {
        let problem = format!("directories nest deeper than {DEPTH_MAX}");
        return Err(PublishError::source(path.display().to_string(), problem));
    }
    let mut dir = Dir::new(meta_of(path, meta)?);
    for entry in std::fs::read_dir(path).doing(|| on("listing", path))? {
        let entry = entry.doing(|| on("listing", path))?;
        let child = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(PublishError::source(child.display().to_string(), "the name is not UTF-8; rename it"));
        };
        let meta = child.symlink_metadata().doing(|| on("reading", &child))?;
        dir.children.insert(name, read_node(&child, &meta, depth)?);
    }
    Ok(dir)
}

fn read_node(path: &Path, meta: &Metadata, depth: usize) -> Result<Node, PublishError> {
    let shown = || path.display().to_string();
    match meta.mode() & S_IFMT {
        S_IFDIR => Ok(Node::Dir(read_level(path, meta, depth + 1)?)),
        S_IFLNK => {
            let target = std::fs::read_link(path).doing(|| on("reading", path))?;
            let target = target.into_os_string().into_string();
            let target = target.map_err(|_| PublishError::source(shown(), "the symlink's target is not UTF-8"))?;
            Ok(Node::Leaf(Leaf::symlink(meta_of(path, meta)?, target)))
        }
        S_IFREG => {
            let (length, content) = (meta.len(), Content::Path(path.to_owned()));
            Ok(Node::Leaf(Leaf { meta: meta_of(path, meta)?, target: String::new(), length, content }))
        }
        _ => Err(PublishError::source(shown(), NOT_A_FILE)),
    }
}

/// What is said about device nodes, pipes and sockets.
pub(super) const NOT_A_FILE: &str =
    "a device node, pipe or socket cannot be published; remove it (/dev is made anew where it runs)";

fn meta_of(path: &Path, meta: &Metadata) -> Result<Meta, PublishError> {
    let xattrs = read_xattrs(path).doing(|| on("reading the xattrs of", path))?;
    Ok(Meta { uid: meta.uid(), gid: meta.gid(), mode: meta.mode(), xattrs })
}

fn read_xattrs(path: &Path) -> Result<Vec<Xattr>, rustix::io::Errno> {
    let mut names = vec![0u8; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(e) => return Err(e),
    };
    let mut xattrs = Vec::new();
    for name in names[..len].split_inclusive(|b| *b == 0) {
        let mut value = vec![0u8; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name.strip_suffix(&[0]).unwrap_or(name), &mut value[..])?;
        value.truncate(len);
        xattrs.push((name.to_vec(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}
