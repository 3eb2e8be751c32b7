//! Objects on their way into a repository of libostree: written beside it, made durable together, then moved under their names.
//!
//! What a transaction of libostree does with content, for a third of the processor time: one hash instead of two, no streams of
//! GLib, and no temporary file without a name for each object. What lies there afterwards is the same, which the tests compare. One
//! program at a time writes in this way (the agent has the lock of its state); others may pull, prune and deploy meanwhile, as
//! objects that no commit reaches yet may go at any time in any case.

use super::StoreError;
use super::owners::META;
use crate::free_space;
use fullmetal_proto::ostree::{ContentHeader, Xattr};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

/// Below the repository's `tmp`, from which libostree removes what is older than a day.
const DIR: &str = "tmp/fullmetal-slice";
/// All content objects have this time of modification, in seconds since 1970.
const OBJECT_TIME: i64 = 0;
/// How a metadata object lies there.
const METADATA_MODE: u32 = 0o644;
/// What of a file's mode its object has where the rest is in an attribute: libostree's `commit_loose_regfile_object`.
const BARE_USER_MODES: u32 = 0o775;
/// The mode of a symbolic link's object there, which is a file with the target and a NUL as its bytes.
const LINK_MODE: u32 = 0o644;

/// How content lies in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// With its own owner, mode and xattrs; a symbolic link as one. `bare`.
    Bare,
    /// As a file of the caller's, with owner, mode and xattrs in an xattr. `bare-user`.
    BareUser,
}

/// Objects that are not in the repository yet.
#[derive(Debug)]
pub(super) struct Slice {
    repo: PathBuf,
    dir: PathBuf,
    layout: Layout,
    /// File names in `dir`: checksum and suffix.
    objects: BTreeSet<String>,
    /// Bytes of content that may still be written before the disk counts as full, which takes whole blocks of it.
    room: u64,
    block: u64,
}

/// A content object whose bytes are being written.
pub(super) struct Growing {
    file: File,
    path: PathBuf,
    name: String,
}

impl Slice {
    /// Removes what a crash has left of one in the repository at `repo`: nobody may be writing there.
    pub(super) fn remove_left(repo: &Path) -> Result<(), StoreError> {
        remove(&repo.join(DIR))
    }

    /// An empty one in the repository at `repo`, of whose disk `reserved` bytes stay free. What is left of one before, which
    /// may be torn, is removed.
    pub(super) fn new(repo: &Path, layout: Layout, reserved: u64) -> Result<Self, StoreError> {
        let dir = repo.join(DIR);
        remove(&dir)?;
        fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| StoreError::io("creating", &dir, e))?;
        let disk = rustix::fs::statvfs(&dir).map_err(|e| StoreError::io("asking for space at", &dir, e.into()))?;
        let room = free_space::free(&disk).saturating_sub(reserved);
        Ok(Slice { repo: repo.to_owned(), dir, layout, objects: BTreeSet::new(), room, block: disk.f_frsize.max(1) })
    }

    /// Adds a metadata object: `name` is its checksum and suffix.
    pub(super) fn add_metadata(&mut self, name: String, bytes: &[u8]) -> Result<(), StoreError> {
        // As with libostree, metadata finds room when its content did.
        let Some(growing) = self.create(name, 0)? else { return Ok(()) };
        let written = (&growing.file)
            .write_all(bytes)
            .and_then(|()| growing.file.set_permissions(Permissions::from_mode(METADATA_MODE)));
        self.added(growing, written)
    }

    /// Adds a content object whose bytes are there.
    pub(super) fn add_content(&mut self, name: String, header: &ContentHeader, bytes: &[u8]) -> Result<(), StoreError> {
        match (&header.target, self.layout) {
            (Some(target), Layout::Bare) => self.add_link(name, header, target),
            (Some(target), Layout::BareUser) => self.add_file(name, header, &[target.as_bytes(), &[0]].concat()),
            (None, _) => self.add_file(name, header, bytes),
        }
    }

    fn add_file(&mut self, name: String, header: &ContentHeader, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(growing) = self.create(name, bytes.len() as u64)? else { return Ok(()) };
        let written = (&growing.file).write_all(bytes).and_then(|()| describe(&growing.file, self.layout, header));
        self.added(growing, written)
    }

    fn add_link(&mut self, name: String, header: &ContentHeader, target: &str) -> Result<(), StoreError> {
        if self.objects.contains(&name) {
            return Ok(());
        }
        let path = self.dir.join(&name);
        let made = symlink(target, &path).and_then(|()| lchown(&path, Some(header.uid), Some(header.gid)));
        let made = made.and_then(|()| {
            let set =
                |x: &Xattr| rustix::fs::lsetxattr(&path, OsStr::from_bytes(&x.name), &x.value, XattrFlags::empty());
            Ok(header.xattrs.iter().try_for_each(set)?)
        });
        made.map_err(|e| StoreError::io("writing", &path, e))?;
        self.objects.insert(name);
        Ok(())
    }

    /// Begins a content object of `length` bytes; none when it is in the slice already.
    pub(super) fn create(&mut self, name: String, length: u64) -> Result<Option<Growing>, StoreError> {
        if self.objects.contains(&name) {
            return Ok(None);
        }
        let path = self.dir.join(&name);
        let taken = length.div_ceil(self.block).saturating_mul(self.block);
        self.room = self.room.checked_sub(taken).ok_or_else(|| StoreError::Full {
            path: self.repo.clone(),
            why: format!("{length} bytes more would leave less than what the repository keeps free"),
        })?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| StoreError::io("creating", &path, e))?;
        Ok(Some(Growing { file, path, name }))
    }

    /// Takes it up with all its bytes, which hash to its name.
    pub(super) fn finish(&mut self, growing: Growing, header: &ContentHeader) -> Result<(), StoreError> {
        let described = describe(&growing.file, self.layout, header);
        self.added(growing, described)
    }

    fn added(&mut self, growing: Growing, written: io::Result<()>) -> Result<(), StoreError> {
        written.map_err(|e| StoreError::io("writing", &growing.path, e))?;
        self.objects.insert(growing.name);
        Ok(())
    }

    /// Makes all durable, then visible, then that durable.
    pub(super) fn publish(self) -> Result<(), StoreError> {
        let sync = || {
            let synced = File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
            synced.map_err(|e| StoreError::io("syncing", &self.dir, e))
        };
        sync()?;
        let objects = self.repo.join("objects");
        for name in &self.objects {
            let (from, (start, rest)) = (self.dir.join(name), name.split_at(2));
            let into = objects.join(start);
            let moved = match fs::rename(&from, into.join(rest)) {
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    // Whoever pulls beside us may have made it meanwhile.
                    let made = fs::create_dir(&into);
                    let made = made.or_else(|e| if e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(e) });
                    made.and_then(|()| fs::rename(&from, into.join(rest)))
                }
                moved => moved,
            };
            moved.map_err(|e| StoreError::io("moving an object into", &into, e))?;
        }
        sync()
    }
}

impl Growing {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|e| StoreError::io("writing", &self.path, e))
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            tracing::warn!(%error, "objects that were not taken up stay until the next slice");
        }
    }
}

/// Gives a file what its object says of it: the owner first, since a change of owner takes setuid bits and capabilities away.
fn describe(file: &File, layout: Layout, header: &ContentHeader) -> io::Result<()> {
    match layout {
        Layout::Bare => {
            fchown(file, Some(header.uid), Some(header.gid))?;
            file.set_permissions(Permissions::from_mode(header.mode & 0o7777))?;
            for x in &header.xattrs {
                rustix::fs::fsetxattr(file, OsStr::from_bytes(&x.name), &x.value, XattrFlags::empty())?;
            }
        }
        Layout::BareUser => {
            let numbers = [header.uid, header.gid, header.mode].map(u32::to_be_bytes).concat();
            let meta = [numbers, header.build_xattrs()].concat();
            rustix::fs::fsetxattr(file, META, &meta, XattrFlags::empty())?;
            let mode = if header.is_symlink() { LINK_MODE } else { header.mode & BARE_USER_MODES | 0o400 };
            file.set_permissions(Permissions::from_mode(mode))?;
        }
    }
    let object_time = Timespec { tv_sec: OBJECT_TIME, tv_nsec: 0 };
    let untouched = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: untouched, last_modification: object_time })?)
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(StoreError::io("removing", dir, e)),
        _ => Ok(()),
    }
}
