//! The files that a boot loader reads: where a commit holds them, what they take in `/boot`, whether they are whole there.

use super::SysrootError;
use crate::free_space;
use fullmetal_proto::Digest;
use ostree::gio::prelude::*;
use ostree::{gio, glib};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Directories of a commit in which libostree looks for a kernel, in this order: of each version one in the first.
pub(crate) const MODULES: &str = "usr/lib/modules";
pub(crate) const OLDER: [&str; 2] = ["usr/lib/ostree-boot", "boot"];
/// How the names of files begin that go to `/boot`.
const PARTS: [&str; 4] = ["vmlinuz", "initramfs", "devicetree", "dtb"];
/// What libostree takes for an initramfs, the better one first.
pub(crate) const INITRAMFS: [&str; 2] = ["initramfs.img", "initramfs"];
/// Bytes that are read at a time.
const CHUNK_LEN: usize = 256 << 10;
/// The entry and the directories that hold it all.
const SPARE_BLOCKS: u64 = 8;

/// Of the names in a directory of [`MODULES`] those that go to `/boot`, a directory with all that is in it; none where there is no
/// kernel (libostree 2022.7, `get_kernel_from_tree_usrlib_modules`).
pub(crate) fn beside_kernel<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let first = |of: [&str; 2]| of.into_iter().find_map(|wanted| names.iter().find(|name| **name == wanted).copied());
    let Some(kernel) = names.iter().find(|name| **name == "vmlinuz") else { return Vec::new() };
    [Some(*kernel), first(INITRAMFS), first(["devicetree", "dtb"])].into_iter().flatten().collect()
}

/// The same of a directory of older tools, whose names end with a checksum. What is no kernel's may be among them.
pub(crate) fn beside_older_kernel<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let goes = |name: &&&str| PARTS.iter().any(|part| name.starts_with(part));
    names.iter().filter(goes).copied().collect()
}

/// Whether an initramfs is among names that go to `/boot`.
pub(crate) fn has_initramfs(names: &[&str]) -> bool {
    names.iter().any(|name| name.starts_with("initramfs"))
}

/// The files of one commit that go to `/boot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Their objects' names, sorted, and their lengths in bytes.
    files: Vec<(String, u64)>,
    /// One of them is an initramfs.
    initramfs: bool,
}

impl Kernel {
    /// Looks for them in a commit of the repository.
    pub(super) fn of(repo: &ostree::Repo, sysroot: &Path, commit: &Digest) -> Result<Self, SysrootError> {
        let failed =
            |source| SysrootError::Libostree { what: "looking for a kernel", path: sysroot.to_owned(), source };
        let (tree, _) = repo.read_commit(&commit.to_string(), gio::Cancellable::NONE).map_err(failed)?;
        let versions = children(&tree.resolve_relative_path(MODULES)).map_err(failed)?;
        let modules = versions.into_iter().map(|version| tree.resolve_relative_path(MODULES).child(version.name()));
        let older = OLDER.iter().map(|dir| tree.resolve_relative_path(dir));
        let all = modules.map(|dir| Kernel::in_dir(&dir, beside_kernel));
        let all = all.chain(older.map(|dir| Kernel::in_dir(&dir, beside_older_kernel)));
        let all = all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut all = all.into_iter().filter(|kernel| !kernel.files.is_empty()).peekable();
        // One without an initramfs only where none has one.
        let first = all.peek().cloned();
        all.find(|kernel| kernel.initramfs).or(first).ok_or(SysrootError::NoKernel { commit: *commit })
    }

    fn in_dir(dir: &gio::File, taken: for<'n> fn(&[&'n str]) -> Vec<&'n str>) -> Result<Self, glib::Error> {
        let infos = children(dir)?;
        let names: Vec<String> = infos.iter().map(|info| info.name().to_string_lossy().into_owned()).collect();
        let taken = taken(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut files = Vec::new();
        for (info, _) in infos.iter().zip(&names).filter(|(_, name)| taken.contains(&name.as_str())) {
            files.extend(objects(&dir.child(info.name()), info)?);
        }
        files.sort();
        Ok(Kernel { files, initramfs: has_initramfs(&taken) })
    }

    /// Whether they fit into `boot` beside what is there.
    pub(super) fn fits(&self, boot: &Path, commit: &Digest) -> Result<(), SysrootError> {
        fit(boot, self.files.iter().map(|(_, length)| *length), SPARE_BLOCKS, commit)
    }

    /// Compares what the loader's entry names with the files of the deployed tree, and these with the commit: `/boot` may
    /// have files of its own, or the very same ones.
    pub(super) fn check(
        &self,
        repo: &ostree::Repo,
        (boot, tree): (&Path, &Path),
        deployment: &ostree::Deployment,
        commit: &Digest,
    ) -> Result<(), SysrootError> {
        let config = deployment.bootconfig();
        let named =
            ["linux", "initrd", "devicetree", "fdtdir"].map(|key| config.as_ref().and_then(|config| config.get(key)));
        let own = files_below(tree)?;
        let is_as_committed =
            |object: &str| repo.fsck_object(ostree::ObjectType::File, object, gio::Cancellable::NONE).is_ok();
        let are_whole = self.files.iter().all(|(object, _)| is_as_committed(object));
        if named[0].is_none() || self.initramfs && named[1].is_none() {
            return Err(SysrootError::Damaged { path: boot.join("loader"), commit: *commit });
        }
        for path in named.into_iter().flatten() {
            // As the loader sees it: from the root of the file system that holds `/boot`.
            let path = path.trim_start_matches('/');
            let path = boot.join(path.strip_prefix("boot/").unwrap_or(path));
            let hashes = hashes_below(&path)?;
            if !are_whole || hashes.is_empty() || !hashes.iter().all(|hash| own.contains(hash)) {
                return Err(SysrootError::Damaged { path, commit: *commit });
            }
        }
        Ok(())
    }
}

/// Whether files of these lengths in bytes can ever fit into `boot`, as long as they are not all known: the least that they take
/// there.
///
/// # Errors
/// When they do not fit, with the figures.
pub fn may_fit(boot: &Path, lengths: impl Iterator<Item = u64>, commit: &Digest) -> Result<(), SysrootError> {
    fit(boot, lengths, 0, commit)
}

fn fit(boot: &Path, lengths: impl Iterator<Item = u64>, spare: u64, commit: &Digest) -> Result<(), SysrootError> {
    let disk = rustix::fs::statvfs(boot).map_err(|e| SysrootError::io("asking for space at", boot)(e.into()))?;
    let block = disk.f_frsize.max(1);
    let needed = (lengths.map(|length| length.div_ceil(block)).sum::<u64>() + spare) * block;
    match needed.checked_sub(free_space::free(&disk)).filter(|lacking| *lacking > 0) {
        None => Ok(()),
        Some(lacking) => {
            let [needed, free, lacking] = [needed, free_space::free(&disk), lacking].map(free_space::mib);
            let lack = format!("needs {needed}, {free} is free; free {lacking} more");
            Err(SysrootError::BootFull { path: boot.to_owned(), commit: *commit, lack })
        }
    }
}

/// What is in a directory of a commit; nothing when it is not there.
fn children(dir: &gio::File) -> Result<Vec<gio::FileInfo>, glib::Error> {
    let none = [gio::IOErrorEnum::NotFound, gio::IOErrorEnum::NotDirectory];
    // libostree may tell that only when the first one is asked for.
    listed(dir).or_else(|error| if none.iter().any(|kind| error.matches(*kind)) { Ok(Vec::new()) } else { Err(error) })
}

fn listed(dir: &gio::File) -> Result<Vec<gio::FileInfo>, glib::Error> {
    let flags = gio::FileQueryInfoFlags::NOFOLLOW_SYMLINKS;
    let names = "standard::name,standard::type,standard::size";
    let listed = dir.enumerate_children(names, flags, gio::Cancellable::NONE)?;
    let mut all = Vec::new();
    while let Some(info) = listed.next_file(gio::Cancellable::NONE)? {
        all.push(info);
    }
    Ok(all)
}

/// A file of a commit, or all files of a directory and below.
fn objects(file: &gio::File, info: &gio::FileInfo) -> Result<Vec<(String, u64)>, glib::Error> {
    if info.file_type() == gio::FileType::Directory {
        let below = children(file)?;
        let below = below.iter().map(|info| objects(&file.child(info.name()), info));
        return Ok(below.collect::<Result<Vec<_>, _>>()?.concat());
    }
    let object = file.downcast_ref::<ostree::RepoFile>().map(|file| file.checksum().to_string());
    Ok(vec![(object.unwrap_or_default(), u64::try_from(info.size()).unwrap_or(0))])
}

/// The hashes of the files of a deployed tree that go to `/boot`.
fn files_below(tree: &Path) -> Result<Vec<[u8; 32]>, SysrootError> {
    let modules = tree.join(MODULES);
    let versions = names(&modules)?.into_iter().map(|version| modules.join(version));
    let mut hashes = Vec::new();
    for dir in versions.chain(OLDER.iter().map(|dir| tree.join(dir))) {
        for name in names(&dir)?.into_iter().filter(|name| PARTS.iter().any(|part| name.starts_with(part))) {
            hashes.extend(hashes_below(&dir.join(name))?);
        }
    }
    Ok(hashes)
}

/// Of a file, or of all files in a directory and below: device trees may be many. Links to directories are not followed.
fn hashes_below(path: &Path) -> Result<Vec<[u8; 32]>, SysrootError> {
    if !path.is_dir() {
        return Ok(vec![hash_of(path)?]);
    }
    if path.is_symlink() {
        return Ok(Vec::new());
    }
    let below = names(path)?.into_iter().map(|name| hashes_below(&path.join(name)));
    Ok(below.collect::<Result<Vec<_>, _>>()?.concat())
}

fn names(dir: &Path) -> Result<Vec<String>, SysrootError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(SysrootError::io("looking into", dir)(error)),
    }
}

fn hash_of(path: &Path) -> Result<[u8; 32], SysrootError> {
    let mut file = File::open(path).map_err(SysrootError::io("opening", path))?;
    // What lies on the disk, not what was written there a moment ago.
    let synced =
        rustix::fs::fsync(&file).and_then(|()| rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed));
    synced.map_err(|e| SysrootError::io("syncing", path)(e.into()))?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK_LEN]);
    loop {
        match file.read(&mut chunk).map_err(SysrootError::io("reading", path))? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&chunk[..read]),
        }
    }
}
