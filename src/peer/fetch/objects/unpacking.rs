//! From an object's file in an archive repo to its stream, hashed. Blocks.

use crate::peer::cache::{Cache, CacheError};
use crate::peer::fetch::origin::Ended;
use flate2::write::DeflateDecoder;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{ArchiveHeader, DIRTREE_LEN_MAX};
use fullmetal_proto::wire::plain::BATCH_RAW_MAX;
use fullmetal_proto::wire::{ObjectKind, PlainObject};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};
use tempfile::SpooledTempFile;

/// Streams up to this length stay in memory.
const IN_MEMORY_LEN_MAX: usize = 512 << 10;

/// Why an object cannot be had from what came.
pub(super) enum UnpackError {
    /// What came is something else.
    Wrong,
    /// The disk does not take it.
    Disk(CacheError),
}

impl UnpackError {
    pub(super) fn ended(self, piece: u32) -> Ended {
        match self {
            UnpackError::Wrong => Ended::Corrupt(piece),
            UnpackError::Disk(error) => Ended::Cache(error),
        }
    }
}

/// An object of which not all has come.
pub(super) struct Unpacking {
    wanted: Digest,
    cache: Cache,
    state: State,
}

enum State {
    /// The head of a `.filez`, up to its end.
    Head(Vec<u8>, Stream),
    /// Its content.
    Content(DeflateDecoder<Stream>),
    /// Metadata, or a symlink after its head: as it is.
    Plain(Stream),
    /// Between two of them.
    Lost,
}

/// The stream that is named by its hash.
struct Stream {
    spool: SpooledTempFile,
    hash: Sha256,
    length: u64,
    /// Bytes that may still follow.
    left: u64,
}

impl Unpacking {
    pub(super) fn of(object: &PlainObject, cache: &Cache) -> Self {
        let spool = cache.spool(IN_MEMORY_LEN_MAX);
        let left = if object.id.kind == ObjectKind::File { BATCH_RAW_MAX } else { DIRTREE_LEN_MAX as u64 };
        let stream = Stream { spool, hash: Sha256::new(), length: 0, left };
        let state = match object.id.kind {
            ObjectKind::File => State::Head(Vec::new(), stream),
            _ => State::Plain(stream),
        };
        Unpacking { wanted: object.id.checksum, cache: cache.clone(), state }
    }

    /// Adds the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        match &mut self.state {
            State::Head(..) => self.head(bytes),
            State::Content(decoder) => decoder.write_all(bytes).map_err(|e| told(&self.cache, e)),
            State::Plain(stream) => stream.write_all(bytes).map_err(|e| told(&self.cache, e)),
            State::Lost => Err(UnpackError::Wrong),
        }
    }

    /// Ends it with its last bytes; gives length and content of the stream.
    pub(super) fn finish(mut self, rest: &[u8]) -> Result<(u64, SpooledTempFile), UnpackError> {
        self.write(rest)?;
        let stream = match self.state {
            State::Content(decoder) => decoder.finish().map_err(|e| told(&self.cache, e))?,
            State::Plain(stream) => stream,
            State::Head(..) | State::Lost => return Err(UnpackError::Wrong),
        };
        if Digest(stream.hash.finalize().into()) != self.wanted {
            return Err(UnpackError::Wrong);
        }
        Ok((stream.length, stream.spool))
    }

    fn head(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let State::Head(mut head, mut stream) = std::mem::replace(&mut self.state, State::Lost) else { return Ok(()) };
        head.extend_from_slice(bytes);
        let end = match head.first_chunk::<4>() {
            Some(first) => ArchiveHeader::len(*first).map_err(|_| UnpackError::Wrong)?,
            None => usize::MAX,
        };
        if head.len() < end {
            self.state = State::Head(head, stream);
            return Ok(());
        }
        let content = head.split_off(end);
        let header = ArchiveHeader::parse(&head).map_err(|_| UnpackError::Wrong)?;
        if header.size > BATCH_RAW_MAX {
            return Err(UnpackError::Wrong);
        }
        stream.write_all(&header.file.build()).map_err(|e| told(&self.cache, e))?;
        stream.left = header.size;
        // libostree ends a symlink's file with its head, and has a deflate stream even for an empty regular file.
        self.state = match header.file.is_symlink() {
            true => State::Plain(stream),
            false => State::Content(DeflateDecoder::new(stream)),
        };
        self.write(&content)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("longer than it says"));
        }
        let written = self.spool.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}

/// What the operating system says has a number; what a decoder says has none.
fn told(cache: &Cache, error: io::Error) -> UnpackError {
    if error.raw_os_error().is_some() { UnpackError::Disk(cache.scratch_error(error)) } else { UnpackError::Wrong }
}
