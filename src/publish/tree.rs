//! Hashes a source tree into OSTree objects, in memory and on all cores; nothing is written.

use super::error::{Doing, PublishError};
use super::source::{Content, DEPTH_MAX, Dir, Leaf, Node};
use super::streams::{self, SubdirEntry};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much is read at once.
const BUFFER_LEN: usize = 256 << 10;

/// An object that may have to be written.
#[derive(Debug)]
pub(super) enum Pending {
    /// A file or symlink.
    File {
        /// Where it came from, for messages.
        path: String,
        /// What goes before the content.
        header: Vec<u8>,
        /// The content.
        content: Content,
        /// Bytes of content.
        length: u64,
    },
    /// A dirtree or dirmeta: its bytes.
    Metadata(Vec<u8>),
}

impl Pending {
    /// The checksum as its source is now.
    pub fn checksum(&self) -> io::Result<Digest> {
        match self {
            Pending::Metadata(bytes) => Ok(Digest::of(bytes)),
            Pending::File { header, content, length, .. } => {
                hash_stream(header, content, *length, &mut vec![0u8; BUFFER_LEN])
            }
        }
    }
}

/// A hashed tree.
#[derive(Debug)]
pub(super) struct Tree {
    /// The root's dirtree.
    pub contents: Digest,
    /// The root's dirmeta.
    pub meta: Digest,
    /// Every object of it, each once.
    pub objects: BTreeMap<ObjectId, Pending>,
}

/// Hashes everything below `root`.
pub(super) fn hash(root: &Dir) -> Result<Tree, PublishError> {
    let mut leaves = Vec::new();
    list(root, &mut String::new(), 0, &mut leaves)?;
    let mut builder = Builder { sums: hash_all(&leaves)?.into_iter(), objects: BTreeMap::new() };
    let (contents, meta) = builder.directory(root, "");
    Ok(Tree { contents, meta, objects: builder.objects })
}

/// Leaves in the order in which [`Builder`] meets them.
fn list<'d>(
    dir: &'d Dir,
    path: &mut String,
    depth: usize,
    out: &mut Vec<(String, &'d Leaf)>,
) -> Result<(), PublishError> {
    if depth > DEPTH_MAX {
        return Err(PublishError::source(path.as_str(), format!("directories nest deeper than {DEPTH_MAX}")));
    }
    for (name, node) in &dir.children {
        let len = path.len();
        path.push('/');
        path.push_str(name);
        match node {
            Node::Leaf(leaf) => out.push((path.clone(), leaf)),
            Node::Dir(dir) => list(dir, path, depth + 1, out)?,
        }
        path.truncate(len);
    }
    Ok(())
}

fn hash_all(leaves: &[(String, &Leaf)]) -> Result<Vec<Digest>, PublishError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, mut buffer) = (Vec::new(), vec![0u8; BUFFER_LEN]);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, leaf)) = leaves.get(index) else { return done };
            let header = streams::file_header(&leaf.meta, &leaf.target);
            let sum = hash_stream(&header, &leaf.content, leaf.length, &mut buffer)
                .doing(|| format!("reading {path} of the source"));
            if sum.is_err() {
                next.store(leaves.len(), Ordering::Relaxed);
            }
            done.push((index, sum));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|h| h.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    let mut sums = vec![Digest::default(); leaves.len()];
    for (index, sum) in results {
        sums[index] = sum?;
    }
    Ok(sums)
}

fn hash_stream(header: &[u8], content: &Content, length: u64, buffer: &mut [u8]) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    hash.update(header);
    let (mut reader, mut left) = (content.open(length)?, length);
    while left > 0 {
        match reader.read(buffer) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile")),
            Ok(n) => {
                hash.update(&buffer[..n]);
                left -= n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Digest(hash.finalize().into()))
}

struct Builder {
    sums: std::vec::IntoIter<Digest>,
    objects: BTreeMap<ObjectId, Pending>,
}

impl Builder {
    /// The dirtree and dirmeta of `dir`.
    fn directory(&mut self, dir: &Dir, path: &str) -> (Digest, Digest) {
        let mut files = Vec::new();
        let mut dirs: Vec<SubdirEntry> = Vec::new();
        for (name, node) in &dir.children {
            let path = format!("{path}/{name}");
            match node {
                Node::Leaf(leaf) => files.push((name.clone(), self.leaf(leaf, path))),
                Node::Dir(child) => {
                    let (tree, meta) = self.directory(child, &path);
                    dirs.push((name.clone(), tree, meta));
                }
            }
        }
        let tree = self.metadata(ObjectKind::DirTree, streams::dirtree(&files, &dirs));
        (tree, self.metadata(ObjectKind::DirMeta, streams::dirmeta(&dir.meta)))
    }

    fn leaf(&mut self, leaf: &Leaf, path: String) -> Digest {
        let checksum = self.sums.next().unwrap_or_default();
        let id = ObjectId { kind: ObjectKind::File, checksum };
        self.objects.entry(id).or_insert_with(|| {
            let header = streams::file_header(&leaf.meta, &leaf.target);
            Pending::File { path, header, content: leaf.content.clone(), length: leaf.length }
        });
        checksum
    }

    fn metadata(&mut self, kind: ObjectKind, bytes: Vec<u8>) -> Digest {
        let checksum = Digest::of(&bytes);
        self.objects.insert(ObjectId { kind, checksum }, Pending::Metadata(bytes));
        checksum
    }
}
