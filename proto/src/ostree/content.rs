//! The head of a content object's stream.

use super::gvariant::{Member, array, build_array, build_tuple, string, tuple};
use super::{HEAD_LEN_MAX, OstreeError, XATTRS_MAX, limit};

const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// The longest symlink target that Linux takes.
const TARGET_LEN_MAX: usize = 4095;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Name without the NUL at its end.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// What a content stream says of a file before its bytes: `(uuuusa(ayay))` with big-endian numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentHeader {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions, as in `st_mode`: a regular file or a symlink.
    pub mode: u32,
    /// Where a symlink points; none for a regular file.
    pub target: Option<String>,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

/// The length of a content stream's head, whose first bytes are given, of which the first four count: big-endian
/// header length, four NULs, header.
pub fn content_head_len(first: [u8; 4]) -> Result<usize, OstreeError> {
    let len = u32::from_be_bytes(first) as usize;
    if len > HEAD_LEN_MAX - 8 {
        return Err(OstreeError::TooLong { len, max: HEAD_LEN_MAX - 8 });
    }
    Ok(8 + len)
}

impl ContentHeader {
    /// Parses the head at the start of a content stream. Also gives the head's length: the file's bytes follow.
    ///
    /// `stream` may be longer than the head. Whether a symlink has bytes after its head is the caller's to check.
    pub fn parse(stream: &[u8]) -> Result<(Self, usize), OstreeError> {
        let (first, rest) = stream.split_first_chunk::<4>().ok_or(OstreeError::NotNormal)?;
        let end = content_head_len(*first)?;
        match rest.first_chunk::<4>() {
            Some([0, 0, 0, 0]) => {}
            _ => return Err(OstreeError::NotNormal),
        }
        let header = stream.get(8..end).ok_or(OstreeError::NotNormal)?;
        Ok((Self::parse_variant(header)?, end))
    }

    fn parse_variant(bytes: &[u8]) -> Result<Self, OstreeError> {
        use Member::{Fixed, Var};
        Self::of_members(tuple(bytes, [Fixed(4), Fixed(4), Fixed(4), Fixed(4), Var(1), Var(1)])?)
    }

    /// From owner, group, mode, device number, symlink target and xattrs, each serialized.
    pub(super) fn of_members([uid, gid, mode, rdev, target, xattrs]: [&[u8]; 6]) -> Result<Self, OstreeError> {
        let mode = be32(mode)?;
        let target = string(target)?;
        if be32(rdev)? != 0 {
            return Err(OstreeError::Field("rdev"));
        }
        let target = match mode & TYPE_MASK {
            REGULAR if target.is_empty() => None,
            SYMLINK if !target.is_empty() && target.len() <= TARGET_LEN_MAX => Some(target.to_owned()),
            REGULAR | SYMLINK => return Err(OstreeError::Field("symlink target")),
            _ => return Err(OstreeError::Mode(mode)),
        };
        if mode > 0o177_777 {
            return Err(OstreeError::Mode(mode));
        }
        Ok(ContentHeader { uid: be32(uid)?, gid: be32(gid)?, mode, target, xattrs: parse_xattrs(xattrs)? })
    }

    /// The head of a content stream: what comes before the file's bytes.
    pub fn build(&self) -> Vec<u8> {
        let numbers = [self.uid, self.gid, self.mode, 0].map(u32::to_be_bytes).concat();
        let mut target = self.target.clone().unwrap_or_default().into_bytes();
        target.push(0);
        let header = build_tuple(&numbers, &[&target, &self.build_xattrs()]);
        [&(header.len() as u32).to_be_bytes()[..], &[0; 4], &header].concat()
    }

    /// The xattrs alone: an `a(ayay)` in normal form.
    pub fn build_xattrs(&self) -> Vec<u8> {
        let element = |x: &Xattr| build_tuple(&[], &[&[&x.name[..], &[0]].concat(), &x.value]);
        build_array(&self.xattrs.iter().map(element).collect::<Vec<_>>())
    }

    /// Whether it is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.target.is_some()
    }
}

pub(super) fn be32(bytes: &[u8]) -> Result<u32, OstreeError> {
    bytes.try_into().map(u32::from_be_bytes).map_err(|_| OstreeError::NotNormal)
}

pub(super) fn parse_xattrs(bytes: &[u8]) -> Result<Vec<Xattr>, OstreeError> {
    limit(bytes, HEAD_LEN_MAX)?;
    let element = |bytes| {
        let [name, value] = tuple(bytes, [Member::Var(1), Member::Var(1)])?;
        match name.split_last() {
            Some((0, name)) if !name.is_empty() && !name.contains(&0) => {
                Ok(Xattr { name: name.to_vec(), value: value.to_vec() })
            }
            _ => Err(OstreeError::Field("xattr name")),
        }
    };
    array(bytes, 1, XATTRS_MAX)?.into_iter().map(element).collect()
}
