//! A run of frames as one stream of raw bytes.

use super::{Import, ImportError, Packed, Wanted};
use crate::repo::{Objects, StoreError};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{Frame, FrameStarts, ObjectId};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use zstd::bulk::Decompressor;

impl Import {
    pub(super) fn feed_frames<E>(
        &mut self,
        store: &mut dyn Objects,
        (frames, starts): (&[Frame], &FrameStarts),
        run: RangeInclusive<u32>,
        due: &[usize],
        read: &mut dyn FnMut(u32) -> Result<Packed, E>,
    ) -> Result<(), ImportError<E>> {
        let mut reader = FrameReader::new(self.commit, frames, starts, run, read);
        for index in due.iter().copied() {
            let Wanted { id, start, length, .. } = self.wanted[index];
            reader.skip_to(start)?;
            let written = match reader.at_hand(length) {
                Some(bytes) => store.write_whole(&id, bytes),
                None => store.write(&id, length, &mut reader.by_ref().take(length)),
            };
            if let Err(error) = written {
                self.drop_slice();
                return Err(reader.failure().unwrap_or_else(|| self.explain(id, error)));
            }
            self.written(store, index, length)?;
        }
        Ok(())
    }

    /// A well-hashed frame with a bad object is the manifest's fault, anything else the disk's.
    fn explain<E>(&self, object: ObjectId, source: StoreError) -> ImportError<E> {
        use StoreError::{Corrupt, Missing, Refused};
        match source {
            Corrupt { .. } | Refused { .. } | Missing { .. } => {
                ImportError::Lie { commit: self.commit, object, source: Box::new(source) }
            }
            source => ImportError::Store(source),
        }
    }
}

/// Reads, hashes and decompresses frames one at a time, as they are needed.
///
/// Its position counts from the first raw byte of the manifest's first frame.
pub(super) struct FrameReader<'a, E> {
    commit: Digest,
    frames: &'a [Frame],
    starts: &'a FrameStarts,
    coming: RangeInclusive<u32>,
    read: &'a mut dyn FnMut(u32) -> Result<Packed, E>,
    raw: Vec<u8>,
    unpacking: Option<Decompressor<'static>>,
    /// Where `raw` starts.
    base: u64,
    /// How much of `raw` was read.
    used: usize,
    /// The error behind the `io::Error` that a reader of this stream saw.
    failure: Option<ImportError<E>>,
}

impl<'a, E> FrameReader<'a, E> {
    pub(super) fn new(
        commit: Digest,
        frames: &'a [Frame],
        starts: &'a FrameStarts,
        run: RangeInclusive<u32>,
        read: &'a mut dyn FnMut(u32) -> Result<Packed, E>,
    ) -> Self {
        let base = starts.frame(*run.start()).unwrap_or(0);
        FrameReader {
            commit,
            frames,
            starts,
            coming: run,
            read,
            raw: Vec::new(),
            unpacking: None,
            base,
            used: 0,
            failure: None,
        }
    }

    /// Goes forward to `position` and makes sure that there is a byte to read.
    pub(super) fn skip_to(&mut self, position: u64) -> Result<(), ImportError<E>> {
        if position < self.base + self.used as u64 {
            return Err(self.lie(*self.coming.start(), "objects overlap".into()));
        }
        while position >= self.base + self.raw.len() as u64 {
            if !self.load_next()? {
                return Err(self.lie(*self.coming.end(), "an object lies beyond its frames".into()));
            }
        }
        self.used = (position - self.base) as usize;
        Ok(())
    }

    /// The next `length` bytes, which then are read, if all of them lie in the frame that is loaded.
    pub(super) fn at_hand(&mut self, length: u64) -> Option<&[u8]> {
        let end = self.used.checked_add(usize::try_from(length).ok()?)?;
        let bytes = self.raw.get(self.used..end)?;
        self.used = end;
        Some(bytes)
    }

    /// What made the last read fail, once.
    pub(super) fn failure(&mut self) -> Option<ImportError<E>> {
        self.failure.take()
    }

    /// Loads the next frame of the run; false at its end.
    fn load_next(&mut self) -> Result<bool, ImportError<E>> {
        let Some(index) = self.coming.next() else { return Ok(false) };
        let Some(frame) = self.frames.get(index as usize) else { return Ok(false) };
        let packed = (self.read)(index).map_err(|source| ImportError::Read { piece: index, source })?;
        let packed = packed.bytes(frame.length).filter(|packed| Digest::of(packed) == frame.sha256);
        let corrupt = || ImportError::Frame { frame: index, sha256: frame.sha256 };
        let packed = packed.ok_or_else(corrupt)?;
        self.base = self.starts.frame(index).unwrap_or(0);
        self.used = 0;
        self.unpack(&packed, frame.raw_length).map_err(|e| self.lie(index, e.to_string()))?;
        Ok(true)
    }

    /// Decompresses `packed` into `raw`, whose capacity bounds what a bomb can write.
    fn unpack(&mut self, packed: &[u8], length: u32) -> io::Result<()> {
        self.raw.clear();
        self.raw.reserve_exact(length as usize);
        let unpacking = match self.unpacking.take() {
            Some(unpacking) => unpacking,
            None => Decompressor::new()?,
        };
        let got = self.unpacking.insert(unpacking).decompress_to_buffer(packed, &mut self.raw)?;
        if got != length as usize {
            return Err(io::Error::other(format!("{got} bytes after decompression instead of {length}")));
        }
        Ok(())
    }

    fn lie(&self, frame: u32, why: String) -> ImportError<E> {
        ImportError::LieFrame { commit: self.commit, frame, why }
    }
}

impl<E> Read for FrameReader<'_, E> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used == self.raw.len() {
            match self.load_next() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(failure) => {
                    self.failure = Some(failure);
                    return Err(io::Error::other("the frame could not be had"));
                }
            }
        }
        let rest = &self.raw[self.used..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.used += count;
        Ok(count)
    }
}
