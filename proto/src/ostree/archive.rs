//! Files of an archive repository: `.filez`.
//!
//! Big-endian header length, four NULs, header `(tuuuusa(ayay))`, then the content as raw deflate; nothing for a symlink.
//! Source: libostree's `ostree-core.h`, `_OSTREE_ZLIB_FILE_HEADER_GVARIANT_FORMAT`.

use super::OstreeError;
use super::content::{ContentHeader, content_head_len};
use super::gvariant::{Member, tuple};

/// What a `.filez` says before its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// Bytes of the content, unpacked; 0 for a symlink.
    pub size: u64,
    /// Owner, mode, symlink target and xattrs.
    pub file: ContentHeader,
}

impl ArchiveHeader {
    /// Parses exactly the head, whose length [`content_head_len`] tells.
    pub fn parse(head: &[u8]) -> Result<Self, OstreeError> {
        use Member::{Fixed, Var};
        let (first, rest) = head.split_first_chunk::<8>().ok_or(OstreeError::NotNormal)?;
        let [a, b, c, d, 0, 0, 0, 0] = *first else { return Err(OstreeError::NotNormal) };
        if content_head_len([a, b, c, d])? != head.len() {
            return Err(OstreeError::NotNormal);
        }
        let shape = [Fixed(8), Fixed(4), Fixed(4), Fixed(4), Fixed(4), Var(1), Var(1)];
        let [size, uid, gid, mode, rdev, target, xattrs] = tuple(rest, shape)?;
        let size = u64::from_be_bytes(size.try_into().map_err(|_| OstreeError::NotNormal)?);
        let file = ContentHeader::of_members([uid, gid, mode, rdev, target, xattrs])?;
        if file.is_symlink() && size > 0 {
            return Err(OstreeError::Field("content of a symlink"));
        }
        Ok(ArchiveHeader { size, file })
    }
}
