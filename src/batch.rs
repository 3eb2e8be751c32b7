//! Packed batches of whole objects: how they are written, read and verified.
//!
//! The format is in [`fullmetal_proto::wire::plain`]. Everything here blocks.

use fullmetal_proto::Digest;
use fullmetal_proto::ostree::metadata_len_max;
use fullmetal_proto::wire::ObjectId;
use fullmetal_proto::wire::plain::{BATCH_DIGEST_LEN, BATCH_RAW_MAX, Encoding, PlainObject};
use sha2::{Digest as _, Sha256};
use std::io::{self, BufReader, Read, Write};
use zstd::stream::raw::DParameter;

/// Fast, since it runs while objects arrive, and halves what crosses the LAN.
const LEVEL: i32 = 1;
/// Largest window of a zstd frame, log2 of bytes: bounds a reader's memory.
const WINDOW_LOG_MAX: u32 = 23;
const BLOCK_LEN: usize = 64 << 10;

/// Why bytes are not the batch that they should be.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The disk failed.
    #[error("reading a batch: {0}")]
    Disk(io::Error),
    /// Not the format, or damaged.
    #[error("the packed batch is damaged: {0}")]
    Damaged(String),
    /// An object is not what its name says, or too long to be.
    #[error("the batch holds something else than object {0}")]
    Object(ObjectId),
}

impl From<io::Error> for BatchError {
    /// What the operating system says has a number; what a decoder says has none.
    fn from(error: io::Error) -> Self {
        if error.raw_os_error().is_some() { BatchError::Disk(error) } else { BatchError::Damaged(error.to_string()) }
    }
}

/// Writes a batch: for each object [`BatchWriter::object`], then its stream by [`Write`], and [`BatchWriter::finish`].
pub struct BatchWriter<W: Write> {
    encoder: zstd::stream::write::Encoder<'static, HashingWriter<W>>,
}

impl<W: Write> BatchWriter<W> {
    /// An empty batch that goes to `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let mut out = HashingWriter { out, hash: Sha256::new() };
        out.write_all(&[Encoding::Zstd as u8])?;
        Ok(BatchWriter { encoder: zstd::stream::write::Encoder::new(out, LEVEL)? })
    }

    /// Begins the next object, whose stream has `length` bytes.
    pub fn object(&mut self, length: u64) -> io::Result<()> {
        self.encoder.write_all(&length.to_be_bytes())
    }

    /// Ends the batch; gives what it was written to.
    pub fn finish(self) -> io::Result<W> {
        let HashingWriter { mut out, hash } = self.encoder.finish()?;
        out.write_all(&hash.finalize())?;
        Ok(out)
    }
}

impl<W: Write> Write for BatchWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

struct HashingWriter<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a packed batch object by object. Nothing of it is verified before it was hashed.
pub struct BatchReader<R: Read> {
    body: Body<R>,
    raw: u64,
}

enum Body<R: Read> {
    Raw(Source<R>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Source<R>>>),
}

/// Encoding byte and body of a packed batch, hashed as they are read.
struct Source<R> {
    packed: R,
    left: u64,
    hash: Sha256,
}

impl<R: Read> BatchReader<R> {
    /// Reads a batch of `length` bytes, as packed.
    pub fn new(packed: R, length: u64) -> Result<Self, BatchError> {
        let left = length.checked_sub(BATCH_DIGEST_LEN).ok_or_else(|| damaged("it is too short"))?;
        let mut source = Source { packed, left, hash: Sha256::new() };
        let mut first = [0];
        source.read_exact(&mut first)?;
        let body = match Encoding::from_byte(first[0]) {
            Some(Encoding::Raw) => Body::Raw(source),
            Some(Encoding::Zstd) => {
                let mut decoder = zstd::stream::read::Decoder::new(source)?.single_frame();
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
                Body::Zstd(decoder)
            }
            None => return Err(damaged("its encoding is unknown; update Fullmetal")),
        };
        Ok(BatchReader { body, raw: 0 })
    }

    /// Begins the next object, which should be `object`; gives its length. Then read exactly that many bytes.
    pub fn object(&mut self, object: &PlainObject) -> Result<u64, BatchError> {
        let mut bytes = [0; 8];
        self.body.read_exact(&mut bytes)?;
        let length = u64::from_be_bytes(bytes);
        self.raw = self.raw.saturating_add(length);
        if length > length_max(object) || self.raw > 2 * BATCH_RAW_MAX {
            return Err(BatchError::Object(object.id));
        }
        Ok(length)
    }

    /// Makes sure that nothing follows and that the batch is the one that was packed.
    pub fn finish(mut self) -> Result<(), BatchError> {
        if self.body.read(&mut [0])? != 0 {
            return Err(damaged("something follows its last object"));
        }
        let mut source = match self.body {
            Body::Raw(source) => source,
            Body::Zstd(decoder) => {
                let buffered = decoder.finish();
                if !buffered.buffer().is_empty() {
                    return Err(damaged("something follows its body"));
                }
                buffered.into_inner()
            }
        };
        if source.left > 0 {
            return Err(damaged("something follows its body"));
        }
        let mut digest = [0; BATCH_DIGEST_LEN as usize];
        source.packed.read_exact(&mut digest)?;
        if source.hash.finalize()[..] != digest { Err(damaged("its digest is another")) } else { Ok(()) }
    }
}

impl<R: Read> Read for BatchReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.body.read(buf)
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Body::Raw(source) => source.read(buf),
            Body::Zstd(decoder) => decoder.read(buf),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.packed.read(&mut buf[..max])?;
        self.hash.update(&buf[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

/// Verifies a packed batch of `length` bytes object by object; `progress` hears of what was hashed.
pub fn verify(
    packed: impl Read,
    length: u64,
    objects: &[PlainObject],
    progress: &dyn Fn(u64),
) -> Result<(), BatchError> {
    let mut reader = BatchReader::new(packed, length)?;
    let mut block = vec![0; BLOCK_LEN];
    for object in objects {
        let mut left = reader.object(object)?;
        let mut hash = Sha256::new();
        while left > 0 {
            let part = &mut block[..left.min(BLOCK_LEN as u64) as usize];
            reader.read_exact(part)?;
            hash.update(&*part);
            left -= part.len() as u64;
            progress(part.len() as u64);
        }
        if Digest(hash.finalize().into()) != object.id.checksum {
            return Err(BatchError::Object(object.id));
        }
    }
    reader.finish()
}

/// The longest stream that an object can have. What its commit says of its size is not believed.
fn length_max(object: &PlainObject) -> u64 {
    metadata_len_max(object.id.kind).map_or(BATCH_RAW_MAX, |max| max as u64)
}

fn damaged(why: &str) -> BatchError {
    BatchError::Damaged(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::ostree::DIRMETA_LEN_MAX;
    use fullmetal_proto::wire::ObjectKind;

    fn packed(streams: &[&[u8]]) -> (Vec<u8>, Vec<PlainObject>) {
        let mut writer = BatchWriter::new(Vec::new()).unwrap();
        let mut objects = Vec::new();
        for stream in streams {
            writer.object(stream.len() as u64).unwrap();
            writer.write_all(stream).unwrap();
            let id = ObjectId { kind: ObjectKind::File, checksum: Digest::of(stream) };
            objects.push(PlainObject { id, archived: 0, unpacked: 0, spare: false });
        }
        (writer.finish().unwrap(), objects)
    }

    fn check(bytes: &[u8], objects: &[PlainObject]) -> Result<(), String> {
        verify(bytes, bytes.len() as u64, objects, &|_| {}).map_err(|e| e.to_string())
    }

    #[test]
    fn a_batch_is_what_was_packed() {
        let big = vec![7; 3 << 20];
        let (bytes, objects) = packed(&[b"one", b"", &big]);
        assert!(bytes.len() < 10_000, "{} bytes", bytes.len());
        check(&bytes, &objects).unwrap();
        let raw = [&[0][..], &3u64.to_be_bytes(), b"one"].concat();
        let raw = [&raw[..], Digest::of(&raw).as_bytes()].concat();
        check(&raw, &objects[..1]).unwrap();
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (bytes, objects) = packed(&[b"some words", b"and some more of them"]);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(check(&flipped, &objects).is_err(), "byte {at}");
            assert!(check(&bytes[..at], &objects).is_err(), "cut at {at}");
        }
        assert!(check(&[&bytes[..], &[0]].concat(), &objects).is_err());
    }

    #[test]
    fn other_more_fewer_and_longer_objects_are_refused() {
        let (bytes, objects) = packed(&[b"one", b"two"]);
        assert_eq!(
            check(&bytes, &objects[..1]).unwrap_err(),
            "the packed batch is damaged: something follows its last object"
        );
        let swapped = [objects[1], objects[0]];
        assert!(check(&bytes, &swapped).unwrap_err().contains("something else than object"));
        let mut said_short = objects.clone();
        said_short[0].id.kind = ObjectKind::DirMeta;
        check(&bytes, &said_short).unwrap();
        let (long, mut objects) = packed(&[&vec![1; DIRMETA_LEN_MAX + 1]]);
        objects[0].id.kind = ObjectKind::DirMeta;
        assert!(check(&long, &objects).unwrap_err().contains("something else than object"));
        let (other, mut objects) = packed(&[b"longer than its commit says"]);
        objects[0].unpacked = 5;
        check(&other, &objects).unwrap();
    }
}
