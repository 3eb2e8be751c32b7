//! The canonical bytes of OSTree objects: what is hashed, framed and sent.
//!
//! Formats: libostree `src/libostree/ostree-core.h`, `OSTREE_DIRTREE_GVARIANT_STRING` and its neighbours.

use super::source::Meta;
use fullmetal_proto::Digest;
use ostree::glib::prelude::*;

/// What comes before a file's content: big-endian header length, four zero bytes, header `(uuuusa(ayay))`.
pub(super) fn file_header(meta: &Meta, symlink_target: &str) -> Vec<u8> {
    let (uid, gid, mode) = (meta.uid.to_be(), meta.gid.to_be(), meta.mode.to_be());
    let header = (uid, gid, mode, 0u32, symlink_target, &meta.xattrs).to_variant();
    let mut out = (header.size() as u32).to_be_bytes().to_vec();
    out.extend([0; 4]);
    out.extend_from_slice(header.data());
    out
}

/// A dirmeta object `(uuua(ayay))`.
pub(super) fn dirmeta(meta: &Meta) -> Vec<u8> {
    let (uid, gid, mode) = (meta.uid.to_be(), meta.gid.to_be(), meta.mode.to_be());
    (uid, gid, mode, &meta.xattrs).to_variant().data().to_vec()
}

/// A subdirectory's entry in a dirtree: name, dirtree, dirmeta.
pub(super) type SubdirEntry = (String, Digest, Digest);

/// A dirtree object `(a(say)a(sayay))`; both lists sorted by name.
pub(super) fn dirtree(files: &[(String, Digest)], dirs: &[SubdirEntry]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(name, sum)| (name.as_str(), sum.0.to_vec())).collect();
    let dirs: Vec<_> =
        dirs.iter().map(|(name, tree, meta)| (name.as_str(), tree.0.to_vec(), meta.0.to_vec())).collect();
    (files, dirs).to_variant().data().to_vec()
}
