//! From an object's file in an archive repo to its stream, hashed. Blocks.

use flate2::write::DeflateDecoder;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{ArchiveHeader, DIRTREE_LEN_MAX, OstreeError, content_head_len};
use fullmetal_proto::wire::plain::BATCH_RAW_MAX;
use fullmetal_proto::wire::{ObjectKind, PlainObject};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Why an object cannot be had from what came.
pub(super) enum UnpackError {
    /// What came is something else.
    Wrong,
    /// It is an object that no device takes.
    Refused(OstreeError),
}

/// An object of which not all has come.
pub(super) struct Unpacking {
    wanted: Digest,
    state: State,
}

enum State {
    /// The head of a `.filez`, up to its end.
    Head(Vec<u8>),
    /// Its content.
    Content(DeflateDecoder<Stream>),
    /// A symlink after its head, which has no content.
    Symlink(Stream),
    /// Metadata, as it is: its length is known at its end.
    Metadata(Stream),
    /// Between two of them.
    Lost,
}

/// The stream that is named by its hash.
struct Stream {
    hash: Sha256,
    /// What was not taken yet.
    bytes: Vec<u8>,
    length: u64,
    /// Bytes that may still follow.
    left: u64,
}

impl Stream {
    fn new(left: u64) -> Self {
        Stream { hash: Sha256::new(), bytes: Vec::new(), length: 0, left }
    }
}

impl Unpacking {
    pub(super) fn of(object: &PlainObject) -> Self {
        let state = match object.id.kind {
            ObjectKind::File => State::Head(Vec::new()),
            _ => State::Metadata(Stream::new(DIRTREE_LEN_MAX as u64)),
        };
        Unpacking { wanted: object.id.checksum, state }
    }

    /// Whether it is a file whose stream is longer than `length`.
    pub(super) fn is_longer_than(&self, length: u64) -> bool {
        matches!(&self.state, State::Content(_)) && self.length().is_some_and(|whole| whole > length)
    }

    /// The length of the whole stream: of a file known from its head on, of metadata once all has come.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.state {
            State::Content(decoder) => Some(decoder.get_ref().length + decoder.get_ref().left),
            State::Symlink(stream) | State::Metadata(stream) => Some(stream.length),
            State::Head(_) | State::Lost => None,
        }
    }

    /// Adds the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        match &mut self.state {
            State::Head(_) => self.head(bytes),
            State::Content(decoder) => decoder.write_all(bytes).map_err(|_| UnpackError::Wrong),
            State::Symlink(stream) | State::Metadata(stream) => stream.write_all(bytes).map_err(|_| UnpackError::Wrong),
            State::Lost => Err(UnpackError::Wrong),
        }
    }

    /// What has come out since it was last taken.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Content(decoder) => {
                // What does not come out is an error at the end.
                let _ = decoder.flush();
                std::mem::take(&mut decoder.get_mut().bytes)
            }
            State::Symlink(stream) | State::Metadata(stream) => std::mem::take(&mut stream.bytes),
            State::Head(_) | State::Lost => Vec::new(),
        }
    }

    /// Everything has come and was taken: whether it is the object.
    pub(super) fn finish(self) -> Result<(), UnpackError> {
        let stream = match self.state {
            State::Content(decoder) => decoder.finish().map_err(|_| UnpackError::Wrong)?,
            State::Symlink(stream) | State::Metadata(stream) => stream,
            State::Head(_) | State::Lost => return Err(UnpackError::Wrong),
        };
        let whole = stream.bytes.is_empty() && Digest(stream.hash.finalize().into()) == self.wanted;
        if whole { Ok(()) } else { Err(UnpackError::Wrong) }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let State::Head(mut head) = std::mem::replace(&mut self.state, State::Lost) else { return Ok(()) };
        head.extend_from_slice(bytes);
        let end = match head.first_chunk::<4>() {
            Some(first) => content_head_len(*first).map_err(|_| UnpackError::Wrong)?,
            None => usize::MAX,
        };
        if head.len() < end {
            self.state = State::Head(head);
            return Ok(());
        }
        let content = head.split_off(end);
        let header = ArchiveHeader::parse(&head).map_err(UnpackError::Refused)?;
        let built = header.file.build();
        let length = header.size.saturating_add(built.len() as u64);
        if length > BATCH_RAW_MAX {
            let (len, max) = (usize::try_from(length).unwrap_or(usize::MAX), BATCH_RAW_MAX as usize);
            return Err(UnpackError::Refused(OstreeError::TooLong { len, max }));
        }
        let mut stream = Stream::new(length);
        stream.write_all(&built).map_err(|_| UnpackError::Wrong)?;
        // libostree ends a symlink's file with its head, and has a deflate stream even for an empty regular file.
        self.state = match header.file.is_symlink() {
            true => State::Symlink(stream),
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
        self.hash.update(bytes);
        self.bytes.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
