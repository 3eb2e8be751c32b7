//! Bytes behind descriptors.

use super::LocalError;
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// Reads all bytes behind `fd` from offset 0, at most `max`. A pipe or socket gives an error rather than a wait.
pub fn read_descriptor(fd: &OwnedFd, max: u64) -> Result<Vec<u8>, LocalError> {
    let file = File::from(fd.try_clone()?);
    let len = file.metadata()?.len();
    if len > max {
        return Err(LocalError::DescriptorTooLong { max });
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| LocalError::DescriptorTooLong { max })?];
    file.read_exact_at(&mut bytes, 0)?;
    if len == 0 {
        // A pipe has length 0; reading at an offset tells it from an empty file.
        file.read_at(&mut [0], 0)?;
    }
    Ok(bytes)
}

/// The bytes behind a descriptor, read at positions of our own: whoever shares the descriptor cannot move them.
#[derive(Debug)]
pub struct DescriptorReader {
    file: File,
    at: u64,
}

impl DescriptorReader {
    /// Reads from offset 0; also gives the length. A pipe or socket gives errors rather than waits.
    pub fn new(fd: OwnedFd) -> Result<(Self, u64), LocalError> {
        let file = File::from(fd);
        let length = file.metadata()?.len();
        Ok((DescriptorReader { file, at: 0 }, length))
    }
}

impl Read for DescriptorReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// An anonymous file that holds `bytes` and can no longer be changed.
pub fn sealed_descriptor(bytes: &[u8]) -> Result<OwnedFd, LocalError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("fullmetal", flags).map_err(std::io::Error::from)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file.as_fd(), seals).map_err(std::io::Error::from)?;
    Ok(file.into())
}
