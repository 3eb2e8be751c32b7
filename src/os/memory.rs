//! An operating system in memory, with its boot loader, for tests of whoever updates one.
//!
//! The steps are the real ones; in memory are the deployments and the counter.

use super::deployed::{Deployed, Write};
use super::{Os, OsError, Parts, Step};
use crate::boot_loader::{BootLoader, BootLoaderError, Counted, Found, Kind, Tries};
use crate::sysroot::OsDeployment;
use fullmetal_proto::deploy::{BootId, Entry, OsView};
use fullmetal_proto::{DeploymentId, Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The twin of [`UnitOs`](super::UnitOs). A clone is the same system.
#[derive(Clone, Debug)]
pub struct MemoryOs(Arc<Mutex<Disk>>);

/// What survives a reboot, and this boot.
#[derive(Debug)]
struct Disk {
    /// The repository's commits, and what keeps one from being made to boot.
    commits: BTreeMap<Digest, Option<&'static str>>,
    /// Not those that are staged.
    entries: Vec<OsDeployment>,
    /// Those that a boot loader sees which does not replay the file system's journal.
    seen: Vec<OsDeployment>,
    staged: Option<OsDeployment>,
    counted: Option<Counted>,
    obstacle: Option<&'static str>,
    too_large: BTreeSet<Digest>,
    entry: Entry,
    boots: u64,
    /// After that many more writes the power goes.
    writes_left: Option<u32>,
}

impl MemoryOs {
    /// A system that runs the only deployment of a commit, which others made.
    pub fn new(first: Digest) -> Self {
        let booted = OsDeployment { booted: true, ours: false, ..deployment(first, 0) };
        MemoryOs(Arc::new(Mutex::new(Disk {
            commits: BTreeMap::from([(first, None)]),
            seen: vec![booted.clone()],
            entries: vec![booted],
            staged: None,
            counted: None,
            obstacle: None,
            too_large: BTreeSet::new(),
            entry: Entry::First,
            boots: 1,
            writes_left: None,
        })))
    }

    /// A commit is in the repository.
    pub fn fetched(&self, commit: Digest) {
        self.disk().commits.insert(commit, None);
    }

    /// A commit is in the repository that cannot be made to boot.
    pub fn fetched_broken(&self, commit: Digest, why: &'static str) {
        self.disk().commits.insert(commit, Some(why));
    }

    /// The kernel of a commit does not fit into `/boot`.
    pub fn is_too_large(&self, commit: Digest) {
        self.disk().too_large.insert(commit);
    }

    /// Nothing can be put on trial from now on.
    pub fn is_unprepared(&self, obstacle: Option<&'static str>) {
        self.disk().obstacle = obstacle;
    }

    /// Local root deploys a commit that is in the repository behind all others, and pins it.
    pub fn is_pinned(&self, commit: Digest) {
        let mut disk = self.disk();
        let serial = disk.next_serial(&commit);
        disk.entries.push(OsDeployment { pinned: true, ours: false, ..deployment(commit, serial) });
    }

    /// Local root makes an entry the first.
    pub fn is_first(&self, id: DeploymentId) {
        self.disk().entries.sort_by_key(|entry| entry.id != id);
    }

    /// Somebody else arms the loader.
    pub fn is_counted(&self, trial: Option<DeploymentId>, tries_left: u8) {
        self.disk().counted = Some(Counted { trial, tries_left });
    }

    /// The power goes after that many more writes: all fails from then on, up to the next boot.
    pub fn cut_after(&self, writes: u32) {
        self.disk().writes_left = Some(writes);
    }

    /// Boots as the loader does, after the system went down in order; the entry that it took.
    pub fn boot(&self) -> Entry {
        self.disk().settle();
        self.boot_after_a_cut()
    }

    /// The same where the power went: the loader may still see the entries as they were before the newest change.
    pub fn boot_after_a_cut(&self) -> Entry {
        let mut disk = self.disk();
        let mut entry = Entry::First;
        if let Some(counted) = &mut disk.counted {
            match counted.tries_left {
                0 => entry = Entry::Second,
                left => counted.tries_left = left - 1,
            }
        }
        // Without a second entry there is nothing to fall back to.
        let place = if entry == Entry::Second && disk.seen.len() > 1 { 1 } else { 0 };
        let booted = disk.seen[place].clone();
        if !disk.entries.iter().any(|deployment| deployment.id == booted.id) {
            disk.entries.push(booted.clone());
        }
        disk.entries.iter_mut().for_each(|deployment| deployment.booted = deployment.id == booted.id);
        disk.settle();
        disk.entry = if place == 0 { Entry::First } else { Entry::Second };
        (disk.staged, disk.writes_left, disk.boots) = (None, None, disk.boots + 1);
        disk.entry
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written<T>(&self, what: impl FnOnce(&mut Disk) -> Result<T, OsError>) -> Result<T, OsError> {
        let mut disk = self.disk();
        match &mut disk.writes_left {
            Some(0) => return Err(OsError::passing("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        what(&mut disk)
    }

    fn count(&self, counted: Option<Counted>) -> Result<(), BootLoaderError> {
        self.written(|disk| {
            disk.counted = counted;
            Ok(())
        })
        .map_err(|error| BootLoaderError::File {
            action: "writing",
            path: "the boot loader in memory".into(),
            source: io::Error::other(error),
        })
    }
}

fn deployment(commit: Digest, serial: u32) -> OsDeployment {
    let id = DeploymentId { commit, serial };
    OsDeployment { id, version: None, booted: false, staged: false, pinned: false, ours: true }
}

impl Disk {
    /// The journal is replayed, or was written out.
    fn settle(&mut self) {
        self.seen.clone_from(&self.entries);
    }

    fn next_serial(&self, commit: &Digest) -> u32 {
        let serials = self.entries.iter().filter(|d| d.id.commit == *commit).map(|d| d.id.serial + 1);
        serials.max().unwrap_or(0)
    }

    fn finalize(&mut self, id: &DeploymentId) -> Result<(), OsError> {
        if self.entries.first().is_some_and(|first| first.id == *id) {
            return Ok(());
        }
        let staged = self.staged.take().filter(|staged| staged.id == *id);
        let staged = staged.ok_or_else(|| OsError::lasting(format!("{id} is not staged")))?;
        if let Some(why) = self.commits.get(&id.commit).copied().flatten() {
            return Err(OsError::lasting(format!("{id} was not made to boot next: {why}")));
        }
        self.entries.retain(|deployment| deployment.booted || deployment.pinned || !deployment.ours);
        self.entries.iter_mut().filter(|deployment| deployment.booted).for_each(|deployment| deployment.ours = true);
        self.entries.insert(0, OsDeployment { staged: false, ..staged });
        Ok(())
    }

    fn put_first(&mut self, first: &[DeploymentId]) -> Result<(), OsError> {
        let place = |id: &DeploymentId| first.iter().position(|other| other == id).unwrap_or(first.len());
        if let Some(missing) = first.iter().find(|id| !self.entries.iter().any(|entry| entry.id == **id)) {
            return Err(OsError::lasting(format!("{missing} is no entry")));
        }
        let before: Vec<_> = self.entries.iter().map(|entry| entry.id).collect();
        self.entries.sort_by_key(|entry| place(&entry.id));
        if before != self.entries.iter().map(|entry| entry.id).collect::<Vec<_>>() {
            self.staged = None;
        }
        Ok(())
    }
}

impl Deployed for MemoryOs {
    fn deployments(&self) -> Result<Vec<OsDeployment>, OsError> {
        let disk = self.disk();
        Ok(disk.staged.iter().chain(&disk.entries).cloned().collect())
    }

    fn room(&self, commit: &Digest) -> Result<(), OsError> {
        match self.disk().too_large.contains(commit) {
            true => Err(OsError::lasting(format!("not enough space in /boot for the kernel of OS commit {commit}"))),
            false => Ok(()),
        }
    }

    fn stage(&self, commit: &Digest) -> Result<DeploymentId, OsError> {
        self.written(|disk| {
            if !disk.commits.contains_key(commit) {
                return Err(OsError::lasting(format!("OS commit {commit} is not in the repository")));
            }
            let again = disk.staged.take().filter(|staged| staged.id.commit == *commit);
            let fresh = OsDeployment { staged: true, ..deployment(*commit, disk.next_serial(commit)) };
            Ok(disk.staged.insert(again.unwrap_or(fresh)).id)
        })
    }

    fn etc_kept(&self, _: &DeploymentId) -> Vec<String> {
        Vec::new()
    }

    fn check_next(&self, id: &DeploymentId) -> Result<(), OsError> {
        let disk = self.disk();
        match &disk.entries[..] {
            [first, ..] if first.id != *id => {
                Err(OsError::lasting(format!("the first entry is {}, not {id}", first.id)))
            }
            [first, second, ..] if !first.booted && !second.booted => {
                Err(OsError::lasting("the boot loader's second entry is not what runs now"))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, what: Write<'_>) -> Result<(), OsError> {
        if let Write::Nothing = what {
            return Ok(());
        }
        let settles = matches!(what, Write::First(_) | Write::Finalized(_));
        self.written(|disk| {
            // libostree has what was changed before written out.
            disk.settle();
            match what {
                Write::Nothing => {}
                Write::Finalized(id) => disk.finalize(id)?,
                Write::Without(id) => disk.entries.retain(|entry| entry.booted || entry.id != *id),
                Write::First(first) => return disk.put_first(first),
                Write::Kept(commits) => {
                    disk.entries.retain(|d| d.booted || d.pinned || !d.ours || commits.contains(&d.id.commit));
                }
            }
            disk.staged = None;
            Ok(())
        })?;
        if !settles {
            return Ok(());
        }
        self.written(|disk| {
            if disk.entries.len() > 1 {
                disk.settle();
            }
            Ok(())
        })
    }
}

impl BootLoader for MemoryOs {
    fn check(&self) -> Result<Option<&'static str>, BootLoaderError> {
        match self.disk().obstacle {
            None => Ok(None),
            Some(problem) => Err(BootLoaderError::Unprepared {
                loader: "the boot loader in memory",
                problem: problem.to_owned(),
                remedy: "prepare it",
            }),
        }
    }

    fn arm(&self, trial: &DeploymentId, tries: Tries) -> Result<(), BootLoaderError> {
        self.count(Some(Counted { trial: Some(*trial), tries_left: tries.get() }))
    }

    fn counted(&self) -> Result<Option<Counted>, BootLoaderError> {
        Ok(self.disk().counted.clone())
    }

    fn give_up(&self, trial: &DeploymentId) -> Result<(), BootLoaderError> {
        self.count(Some(Counted { trial: Some(*trial), tries_left: 0 }))
    }

    fn clear(&self) -> Result<(), BootLoaderError> {
        self.count(None)
    }
}

impl Os for MemoryOs {
    fn ask(&self, step: &Step) -> Result<Option<OsView>, OsError> {
        let (boots, entry) = {
            let disk = self.disk();
            (disk.boots, disk.entry)
        };
        let parts = Parts {
            deployed: Box::new(self.clone()),
            loader: Ok(Found { kind: Kind::UBoot, loader: Box::new(self.clone()) }),
            boot: BootId(format!("boot-{boots}")),
            entry: Some(entry),
        };
        parts.do_and_look(step).map(Some)
    }
}

#[cfg(test)]
#[path = "../../tests/os/conformance.rs"]
mod conformance;

#[cfg(test)]
mod tests {
    use super::conformance::{Bed, an_os};
    use super::*;

    struct Memory {
        os: MemoryOs,
        commits: u8,
    }

    impl Bed for Memory {
        fn os(&self) -> &dyn Os {
            &self.os
        }

        fn commit(&mut self) -> Digest {
            self.commits += 1;
            let commit = Digest::of(&[self.commits]);
            self.os.fetched(commit);
            commit
        }

        fn reboot(&mut self) {
            self.os.boot();
        }
    }

    #[test]
    fn the_system_in_memory_is_an_operating_system() {
        an_os(&mut Memory { os: MemoryOs::new(Digest::of(b"first")), commits: 0 });
    }
}
