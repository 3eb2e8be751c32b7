//! Everything that a commit needs, read from the repo's own trees.

use super::central::Central;
use super::error::PublishError;
use super::source::DEPTH_MAX;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use ostree::glib::Variant;
use std::collections::BTreeSet;

/// An object and the first path at which it appears in the tree (empty for the root's own).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub id: ObjectId,
    pub path: String,
}

/// The objects of the tree with root dirtree `contents` and root dirmeta `meta`, each once: metadata in
/// tree order, then files in the order in which they compress best, kind beside kind, name beside name.
pub(super) fn of_tree(central: &Central, contents: Digest, meta: Digest) -> Result<Vec<Member>, PublishError> {
    let mut walk = Walk { central, seen: BTreeSet::new(), metadata: Vec::new(), files: Vec::new() };
    walk.note(ObjectKind::DirMeta, meta, "");
    walk.directory(contents, "", 0)?;
    let Walk { mut metadata, mut files, .. } = walk;
    metadata.sort_by_key(|m| m.id.kind != ObjectKind::DirMeta);
    files.sort_by(|a, b| order(&a.path).cmp(&order(&b.path)));
    metadata.append(&mut files);
    Ok(metadata)
}

/// Files of one extension lie together, then of one name.
fn order(path: &str) -> (&str, &str, &str) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    (extension, name, path)
}

struct Walk<'c> {
    central: &'c Central,
    seen: BTreeSet<ObjectId>,
    metadata: Vec<Member>,
    files: Vec<Member>,
}

impl Walk<'_> {
    /// Whether the object is new.
    fn note(&mut self, kind: ObjectKind, checksum: Digest, path: &str) -> bool {
        let id = ObjectId { kind, checksum };
        let new = self.seen.insert(id);
        if new {
            let list = if kind == ObjectKind::File { &mut self.files } else { &mut self.metadata };
            list.push(Member { id, path: path.to_owned() });
        }
        new
    }

    fn directory(&mut self, checksum: Digest, path: &str, depth: usize) -> Result<(), PublishError> {
        if depth > DEPTH_MAX {
            return Err(PublishError::source(path, format!("directories nest deeper than {DEPTH_MAX}")));
        }
        if !self.note(ObjectKind::DirTree, checksum, path) {
            return Ok(());
        }
        let id = ObjectId { kind: ObjectKind::DirTree, checksum };
        let tree = self.central.metadata(&id)?;
        let corrupt = || PublishError::Corrupt { object: id, repo: self.central.path().to_owned() };
        for file in tree.child_value(0).iter() {
            let (name, sum) = (file.child_value(0), digest(&file.child_value(1)).ok_or_else(corrupt)?);
            self.note(ObjectKind::File, sum, &format!("{path}/{}", name.str().unwrap_or_default()));
        }
        for dir in tree.child_value(1).iter() {
            let name = dir.child_value(0);
            let path = format!("{path}/{}", name.str().unwrap_or_default());
            let (tree, meta) = (digest(&dir.child_value(1)), digest(&dir.child_value(2)));
            let (tree, meta) = tree.zip(meta).ok_or_else(corrupt)?;
            self.note(ObjectKind::DirMeta, meta, &path);
            self.directory(tree, &path, depth + 1)?;
        }
        Ok(())
    }
}

/// A checksum inside a metadata object (`ay` of 32 bytes).
pub(super) fn digest(variant: &Variant) -> Option<Digest> {
    variant.fixed_array::<u8>().ok()?.try_into().ok().map(Digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_kind_lie_together() {
        let mut paths = ["/b/x.so", "/a/README", "/a/x.so", "/z/a.py", "/a/y.so"];
        paths.sort_by(|a, b| order(a).cmp(&order(b)));
        assert_eq!(paths, ["/a/README", "/z/a.py", "/a/x.so", "/b/x.so", "/a/y.so"]);
    }
}
