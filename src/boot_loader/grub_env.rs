//! GRUB's environment block, written so that a power cut leaves the old or the new one.
//!
//! Source of the format: GRUB 2.06, `grub-core/lib/envblk.c`. 1,024 bytes: a header line, `name=value` lines in which a backslash
//! escapes a backslash or a line's end, comment lines, and `#` up to the end.
//!
//! The block is overwritten where it lies. A new file under the old name would be unsafe: GRUB reads a file system without
//! replaying its journal, might write its counter into the blocks of the old file, and the kernel would replay the rename
//! after that. `grub-editenv set` empties the file first. Here what changes is within one sector of 512 bytes, which disks write
//! whole; a block where it would not be is refused.

use super::BootLoaderError;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const HEADER: &[u8] = b"# GRUB Environment Block\n";
const LEN: usize = 1024;
/// What a disk writes in one piece.
const SECTOR: usize = 512;

pub(super) struct GrubEnv {
    path: PathBuf,
    block: Vec<u8>,
    /// Lines after the header, escaped as they are, without their ends.
    lines: Vec<Vec<u8>>,
}

impl GrubEnv {
    pub(super) fn read(path: &Path) -> Result<Self, BootLoaderError> {
        let block = fs::read(path).map_err(BootLoaderError::file("reading", path))?;
        let malformed = |problem| BootLoaderError::Malformed { path: path.to_owned(), problem };
        if block.len() != LEN || !block.starts_with(HEADER) {
            return Err(malformed("not an environment block of GRUB: make it anew with `grub-editenv FILE create`"));
        }
        let lines = lines(&block[HEADER.len()..]).ok_or_else(|| malformed("a variable has no end"))?;
        Ok(GrubEnv { path: path.to_owned(), block, lines })
    }

    /// A variable's value, if it is text; values of ours need no escapes.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| std::str::from_utf8(value(line, name)?).ok())
    }

    /// Gives variables new values, or none, in one write. New ones come first, where a sector holds them.
    pub(super) fn set(mut self, variables: &[(&str, Option<&str>)]) -> Result<(), BootLoaderError> {
        for (name, new) in variables {
            let line = new.map(|new| format!("{name}={new}").into_bytes());
            match (self.lines.iter().position(|l| value(l, name).is_some()), line) {
                (Some(at), Some(line)) => self.lines[at] = line,
                (Some(at), None) => drop(self.lines.remove(at)),
                (None, Some(line)) => self.lines.insert(0, line),
                (None, None) => {}
            }
        }
        let mut block = HEADER.to_vec();
        for line in &self.lines {
            block.extend_from_slice(line);
            block.push(b'\n');
        }
        let fits = block.len() <= LEN;
        block.resize(LEN, b'#');
        if !fits || block[SECTOR..] != self.block[SECTOR..] {
            let problem = "too full for a safe write: remove variables with `grub-editenv FILE unset NAME`";
            return Err(BootLoaderError::Malformed { path: self.path, problem });
        }
        let file = File::options().write(true).open(&self.path);
        let written = file.and_then(|file| file.write_all_at(&block, 0).and_then(|()| file.sync_all()));
        written.map_err(BootLoaderError::file("writing", &self.path))
    }
}

/// The lines up to the filling; `None` when the last one has no end.
fn lines(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    while let Some(first) = rest.first() {
        let comment = *first == b'#';
        let Some(end) = end_of_line(rest, comment) else { return comment.then_some(lines) };
        lines.push(rest[..end].to_vec());
        rest = &rest[end + 1..];
    }
    Some(lines)
}

fn end_of_line(text: &[u8], comment: bool) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|&byte| {
        let ends = byte == b'\n' && !escaped;
        escaped = byte == b'\\' && !escaped && !comment;
        ends
    })
}

fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}
