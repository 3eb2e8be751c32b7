//! The members of an uncompressed tarball: ustar, pax and GNU headers (POSIX.1-2017 `pax`, "ustar Interchange
//! Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format").
//!
//! The tar crate reads single headers here. Its own iteration splits pax records at newlines, which loses
//! binary attributes such as file capabilities, and skips over an end that is missing.

use super::source::Xattr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tar::{EntryType, Header};

/// The block size of the format.
const BLOCK: u64 = 512;
/// The longest extension header: names and attributes of one member.
const EXTENSION_LEN_MAX: u64 = 1 << 20;

/// Why it is no tarball that can be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum TarError {
    /// The file ends before the end mark.
    #[error("the tarball is cut short (no end mark); make or fetch it again")]
    CutShort,
    /// A header is damaged, or it is no tarball.
    #[error("no tar header at byte {at}: not a tarball, or damaged")]
    NoHeader {
        /// Where.
        at: u64,
    },
    /// A number, length or record inside a header makes no sense.
    #[error("the tar header at byte {at} has a bad {field}")]
    Field {
        /// Where.
        at: u64,
        /// Which.
        field: &'static str,
    },
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// One file, directory, link or other thing.
#[derive(Debug)]
pub(super) struct Member {
    pub kind: EntryType,
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    pub uid: u64,
    pub gid: u64,
    pub mode: u32,
    pub xattrs: Vec<Xattr>,
    /// Marked as sparse: its content is stored with holes.
    pub sparse: bool,
    /// Where its content starts, and how long it is.
    pub offset: u64,
    pub length: u64,
}

/// Reads members one after another.
pub(super) struct Members<'f> {
    file: &'f File,
    len: u64,
    at: u64,
}

/// What extension headers say about the member that follows.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    xattrs: Vec<Xattr>,
    sparse: bool,
}

impl<'f> Members<'f> {
    /// Starts at the beginning of `file`.
    pub fn new(file: &'f File) -> io::Result<Self> {
        Ok(Members { file, len: file.metadata()?.len(), at: 0 })
    }

    /// The next member; none at the end mark.
    pub fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            let at = self.at;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let stored = extensions.size.filter(|_| !is_extension(kind));
            let size = stored.map_or_else(|| header.entry_size(), Ok);
            let size = size.map_err(|_| TarError::Field { at, field: "size" })?;
            let offset = self.at;
            self.at = offset
                .checked_add(size)
                .and_then(|end| end.checked_next_multiple_of(BLOCK))
                .ok_or(TarError::CutShort)?;
            if self.at > self.len {
                return Err(TarError::CutShort);
            }
            match kind {
                EntryType::XGlobalHeader => {}
                EntryType::XHeader => extensions.records(&self.extension(offset, size)?, at)?,
                EntryType::GNULongName => extensions.path = Some(until_zero(self.extension(offset, size)?)),
                EntryType::GNULongLink => extensions.link = Some(until_zero(self.extension(offset, size)?)),
                _ => return extensions.member(&header, at, offset, size).map(Some),
            }
        }
    }

    /// The header at the current place, which moves on; none for a zero block.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0u8; BLOCK as usize];
        let at = self.at;
        if at + BLOCK > self.len {
            return Err(if at == 0 { TarError::NoHeader { at } } else { TarError::CutShort });
        }
        self.file.read_exact_at(&mut block, at)?;
        self.at += BLOCK;
        if block.iter().all(|b| *b == 0) {
            return if at == 0 { Err(TarError::NoHeader { at }) } else { Ok(None) };
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum is that of the header with blanks in the checksum's place.
        let sum = |range: std::ops::Range<usize>| block[range].iter().map(|b| u32::from(*b)).sum::<u32>();
        if header.cksum().ok() != Some(sum(0..148) + 8 * 32 + sum(156..512)) {
            return Err(TarError::NoHeader { at });
        }
        Ok(Some(header))
    }

    fn extension(&self, offset: u64, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_LEN_MAX {
            return Err(TarError::Field { at: offset - BLOCK, field: "extension: it is over 1 MiB" });
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

fn is_extension(kind: EntryType) -> bool {
    use EntryType as E;
    matches!(kind, E::XGlobalHeader | E::XHeader | E::GNULongName | E::GNULongLink)
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
    bytes
}

impl Extensions {
    /// Records of a pax header: `LENGTH KEY=VALUE\n`, the length being that of the whole record.
    fn records(&mut self, mut bytes: &[u8], at: u64) -> Result<(), TarError> {
        let bad = || TarError::Field { at, field: "pax record" };
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length = number(&bytes[..blank]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
            if length <= blank + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &bytes[blank + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            self.record(&record[..equals], &record[equals + 1..]).ok_or_else(bad)?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            // As GNU tar (`--xattrs`) and bsdtar write them.
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return None;
                    }
                    self.xattrs.push(([name, &[0]].concat(), value.to_vec()));
                }
            }
        }
        Some(())
    }

    fn member(mut self, header: &Header, at: u64, offset: u64, length: u64) -> Result<Member, TarError> {
        let bad = |field| move |_| TarError::Field { at, field };
        self.xattrs.sort();
        Ok(Member {
            kind: header.entry_type(),
            path: self.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: self.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default(),
            uid: self.uid.map_or_else(|| header.uid(), Ok).map_err(bad("owner"))?,
            gid: self.gid.map_or_else(|| header.gid(), Ok).map_err(bad("group"))?,
            mode: header.mode().map_err(bad("mode"))?,
            xattrs: self.xattrs,
            sparse: self.sparse || header.entry_type() == EntryType::GNUSparse,
            offset,
            length,
        })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_may_hold_newlines() {
        let mut extensions = Extensions::default();
        extensions.records(b"25 SCHILY.xattr.a=x\n=\ny\n\n11 uid=123\n", 0).unwrap();
        assert_eq!(extensions.xattrs, [(b"a\0".to_vec(), b"x\n=\ny\n".to_vec())]);
        assert_eq!(extensions.uid, Some(123));
        for bad in [&b"11 uid=12\n"[..], b"8 uid=12\n", b"x uid=1\n", b"0 uid=1\n", b"8 uid12\n", b"9 uid=-1\n"] {
            assert!(Extensions::default().records(bad, 0).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_records_make_the_parser_panic(bytes in proptest::collection::vec(
            prop_oneof![Just(b' '), Just(b'='), Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..60)) {
            let _ = Extensions::default().records(&bytes, 0);
        }
    }
}
