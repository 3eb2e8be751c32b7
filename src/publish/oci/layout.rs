//! An OCI image layout on disk: `oci-layout`, `index.json`, and blobs that are believed once they hash to their name.
//!
//! Format: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.

use crate::publish::error::{Doing, PublishError, on};
use crate::untrusted;
use fullmetal_proto::Digest;
use oci_spec::image::{Descriptor, DigestAlgorithm, ImageIndex, OciLayout};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The file that marks a layout.
const MARK: &str = "oci-layout";
/// The longest index, manifest or configuration: what registries take.
const DOCUMENT_LEN_MAX: u64 = 4 << 20;
/// How much is read at once.
const BUFFER_LEN: usize = 256 << 10;

/// Whether `dir` is an image layout.
pub(super) fn is_layout(dir: &Path) -> bool {
    dir.join(MARK).is_file()
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// How many bytes all layers of an image may have after decompression: bounds what a bomb writes to `$TMPDIR`.
pub(super) struct Room {
    pub total: u64,
    pub left: u64,
}

/// A layout whose mark was read.
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Opens the layout in `dir` and reads its index.
    pub fn open(dir: &Path) -> Result<(Self, ImageIndex), PublishError> {
        let layout = Layout { dir: dir.to_owned() };
        let mark: OciLayout = layout.document(&dir.join(MARK), |_| Ok(()))?;
        let version = mark.image_layout_version();
        if !version.starts_with("1.") {
            let problem = format!("image layout version {version:?} is not known; 1.0.0 is");
            return Err(PublishError::source(dir.join(MARK).display().to_string(), problem));
        }
        let index = layout.document(&dir.join("index.json"), |_| Ok(()))?;
        Ok((layout, index))
    }

    /// The JSON document that `descriptor` names.
    pub fn json<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T, PublishError> {
        let (path, digest) = self.blob(descriptor)?;
        self.document(&path, |bytes| {
            let (found, length) = (Digest::of(bytes), bytes.len() as u64);
            if (found, length) == (digest, descriptor.size()) {
                Ok(())
            } else {
                Err(corrupt(descriptor, found, length))
            }
        })
    }

    fn document<T: DeserializeOwned>(
        &self,
        path: &Path,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<T, PublishError> {
        let bad = |problem: String| PublishError::source(path.display().to_string(), problem);
        let mut bytes = Vec::new();
        let file = untrusted::open(path).doing(|| on("opening", path))?;
        file.take(DOCUMENT_LEN_MAX + 1).read_to_end(&mut bytes).doing(|| on("reading", path))?;
        if bytes.len() as u64 > DOCUMENT_LEN_MAX {
            return Err(bad(format!("longer than {} MiB", DOCUMENT_LEN_MAX >> 20)));
        }
        check(&bytes).map_err(bad)?;
        serde_json::from_slice(&bytes).map_err(|e| bad(format!("is not what an image has there: {e}")))
    }

    /// The uncompressed bytes of a layer in a nameless file in `$TMPDIR`, at most as many as `room` has left. They are
    /// those that hash to the descriptor's digest packed, and to `diff_id` unpacked.
    pub fn layer(
        &self,
        descriptor: &Descriptor,
        packing: Packing,
        diff_id: Digest,
        room: &mut Room,
    ) -> Result<File, PublishError> {
        let (path, digest) = self.blob(descriptor)?;
        let bad = |problem: String| PublishError::source(path.display().to_string(), problem);
        let file = untrusted::open(&path).doing(|| on("opening", &path))?;
        // One byte more than there should be, so that a longer file does not pass.
        let mut packed = Hashing::new(file.take(descriptor.size().saturating_add(1)));
        let mut plain = tempfile::tempfile().doing(|| on("making a temporary file in", &std::env::temp_dir()))?;
        let unpacked = unpack(&mut packed, packing, &mut plain, room.left);
        // The compressed stream may end before the file does.
        io::copy(&mut packed, &mut io::sink()).doing(|| on("reading", &path))?;
        let (found, length) = packed.finish();
        if (found, length) != (digest, descriptor.size()) {
            return Err(bad(corrupt(descriptor, found, length)));
        }
        let (found, length) = unpacked.doing(|| on("decompressing", &path))?;
        let Some(left) = room.left.checked_sub(length) else {
            return Err(bad(format!("the image's layers are longer than {} bytes after decompression", room.total)));
        };
        room.left = left;
        if found != diff_id {
            return Err(bad(format!(
                "decompresses to sha256:{found}, but the image's configuration says sha256:{diff_id}"
            )));
        }
        plain.rewind().doing(|| on("reading", &path))?;
        Ok(plain)
    }

    /// Where the blob is, and its digest.
    fn blob(&self, descriptor: &Descriptor) -> Result<(PathBuf, Digest), PublishError> {
        let bad = |problem: &str| {
            let path = format!("{}: blob {}", self.dir.display(), descriptor.digest());
            Err(PublishError::source(path, problem))
        };
        if *descriptor.digest().algorithm() != DigestAlgorithm::Sha256 {
            return bad("only sha256 digests are read; copy the image with skopeo");
        }
        let Ok(digest) = descriptor.digest().digest().parse::<Digest>() else { return bad("no sha256 digest") };
        let path = self.dir.join(format!("blobs/sha256/{digest}"));
        if !path.exists() {
            return bad("is missing from the layout; copy the whole image, such as with `skopeo copy`");
        }
        Ok((path, digest))
    }
}

fn corrupt(descriptor: &Descriptor, found: Digest, length: u64) -> String {
    let (wanted, size) = (descriptor.digest(), descriptor.size());
    format!("is corrupt: {length} bytes or more of sha256:{found} where {size} bytes of {wanted} belong")
}

/// Copies what `packed` unpacks to, but no more than one byte over `left`: digest and length.
fn unpack(packed: &mut impl Read, packing: Packing, plain: &mut File, left: u64) -> io::Result<(Digest, u64)> {
    let reader: Box<dyn Read + '_> = match packing {
        Packing::Plain => Box::new(packed),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
    };
    let mut reader = Hashing::new(reader.take(left.saturating_add(1)));
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(reader.finish()),
            Ok(n) => plain.write_all(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Hashing { inner, hash: Sha256::new(), length: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (Digest(self.hash.finalize().into()), self.length)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        self.length += n as u64;
        Ok(n)
    }
}
