//! The store of apps on a device: a `bare-user` repository of libostree.

use super::objects::{Repository, commit_id, exists};
use super::owners;
use super::place::{place, publish};
use super::slice::Slice;
use super::{ObjectStore, Objects, StoreError};
use crate::free_space;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::ObjectId;
use ostree::{ObjectType, RepoCheckoutAtOptions, RepoCheckoutMode, RepoMode, RepoPruneFlags, gio};
use rustix::fs::StatVfs;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// An object store in a `bare-user` repository, which keeps owner, mode and xattrs in an xattr of the
/// object, so that a checkout is hardlinked but for files of other owners than root, without setuid, and any commit passes
/// `ostree fsck`. The file system must have user xattrs.
///
/// Commits that other refs than ours name survive a prune as well.
#[derive(Debug)]
pub struct LibostreeStore {
    objects: Repository,
    path: PathBuf,
}

impl LibostreeStore {
    /// Opens the repository at `path`, or makes it and its parents.
    pub fn open_or_create(path: &Path) -> Result<Self, StoreError> {
        if !exists(&path.join("config"))? {
            create(path)?;
        }
        let why = "only bare-user keeps owners and xattrs of apps: move it away";
        Ok(LibostreeStore { objects: Repository::open(path, RepoMode::BareUser, why)?, path: path.to_owned() })
    }

    /// The same for the one that writes to it: what a crash has left of objects that were being written, and may be what fills
    /// the disk, is removed.
    pub fn open_to_write(path: &Path) -> Result<Self, StoreError> {
        let store = Self::open_or_create(path)?;
        Slice::remove_left(path)?;
        Ok(store)
    }

    /// Hashes an object that is there.
    ///
    /// # Errors
    /// When it is not there, or is not what its name says.
    pub fn verify(&self, id: &ObjectId) -> Result<(), StoreError> {
        self.objects.verify(id)
    }

    /// The visible object's file; objects of the current slice lie elsewhere.
    pub fn object_path(&self, id: &ObjectId) -> PathBuf {
        self.objects.object_path(id)
    }

    pub(super) fn load(&self, id: &ObjectId) -> Result<Vec<u8>, StoreError> {
        self.objects.load(id)
    }

    /// Moves the keep refs to `keep`, then removes every commit that no ref names: an interruption from here on
    /// leaves unreachable objects, never a commit with holes.
    fn drop_commits(&self, keep: &[Digest]) -> Result<(), StoreError> {
        self.objects.hold(keep)?;
        self.objects.let_go_but(keep)?;
        let (objects, none) = (&self.objects, gio::Cancellable::NONE);
        let named = objects.repo.list_refs(None, none).map_err(objects.failed("listing refs"))?;
        for commit in self.commits()?.iter().filter(|c| !named.values().any(|n| n == *c)) {
            let removed = objects.repo.delete_object(ObjectType::Commit, commit, none);
            removed.map_err(objects.failed("removing a commit"))?;
        }
        let root = fs::File::open(&self.path).map_err(|e| StoreError::io("opening", &self.path, e))?;
        rustix::fs::syncfs(&root).map_err(|e| StoreError::io("syncing", &self.path, e.into()))
    }

    /// Every commit object, partial ones too.
    fn commits(&self) -> Result<Vec<String>, StoreError> {
        let objects = self.path.join("objects");
        let listing = |e| StoreError::io("listing", &objects, e);
        let mut commits = Vec::new();
        for directory in fs::read_dir(&objects).map_err(listing)? {
            let directory = directory.map_err(listing)?;
            for object in fs::read_dir(directory.path()).map_err(listing)? {
                let name = object.map_err(listing)?.file_name();
                if let Some(rest) = name.to_str().and_then(|n| n.strip_suffix(".commit")) {
                    commits.push(format!("{}{rest}", directory.file_name().to_string_lossy()));
                }
            }
        }
        Ok(commits)
    }

    fn check_out(&self, commit: &Digest, into: &Path, reserve: fn(&StatVfs) -> u64) -> Result<(), StoreError> {
        if !self.objects.has(&commit_id(commit))? {
            return Err(StoreError::Missing { object: commit_id(commit) });
        }
        place(into, |temporary| {
            let options = RepoCheckoutAtOptions {
                mode: RepoCheckoutMode::User,
                no_copy_fallback: true,
                // Empty files are the likeliest to meet the file system's limit of links.
                force_copy_zerosized: true,
                ..RepoCheckoutAtOptions::default()
            };
            self.objects
                .repo
                .checkout_at(Some(&options), ostree::AT_FDCWD, temporary, &commit.to_string(), gio::Cancellable::NONE)
                .map_err(self.objects.failed("checking a commit out"))?;
            owners::restore(self, commit, temporary, reserve)
        })
    }
}

impl Objects for LibostreeStore {
    fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        self.objects.missing(ids)
    }

    fn write(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError> {
        self.objects.write(id, length, stream)
    }

    fn write_whole(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        self.objects.write_whole(id, bytes)
    }

    fn commit_slice(&mut self) -> Result<(), StoreError> {
        self.objects.commit_slice()
    }
}

impl ObjectStore for LibostreeStore {
    fn checkout(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        self.check_out(commit, into, free_space::reserve)
    }

    fn checkout_again(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        self.check_out(commit, into, |_| 0)
    }

    fn prune(&mut self, keep: &[Digest]) -> Result<u64, StoreError> {
        self.objects.drop_slice();
        self.drop_commits(keep)?;
        let pruned = self.objects.repo.prune(RepoPruneFlags::REFS_ONLY, 0, gio::Cancellable::NONE);
        let (_, _, bytes) = pruned.map_err(self.objects.failed("pruning"))?;
        Ok(bytes)
    }
}

/// Makes the repository beside its place and moves it there, so that a crash leaves none or a whole one.
fn create(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.new"));
    let creating = |e| StoreError::io("creating", path, e);
    // An empty directory, such as tmpfiles may have made, is as good as none.
    for (what, removed) in [(path, fs::remove_dir(path)), (&temporary, fs::remove_dir_all(&temporary))] {
        removed
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .map_err(|e| StoreError::io("making room for the repository at", what, e))?;
    }
    fs::create_dir_all(&temporary).map_err(creating)?;
    ostree::Repo::new_for_path(&temporary)
        .create(RepoMode::BareUser, gio::Cancellable::NONE)
        .map_err(|e| StoreError::libostree("creating the repository", path, e))?;
    publish(parent, &temporary, path).map_err(creating)
}
