//! Names that a power cut takes back: renames and removals whose directory was not synced afterwards.
//!
//! What they took from its name is linked into a directory of ours, so that it can have the name again. Only absolute
//! paths are seen; what a file system orders is the order of the calls.

use super::call::Call;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The changes below one directory that are not durable yet.
#[derive(Debug)]
pub(super) struct Names {
    dir: PathBuf,
    aside: PathBuf,
    /// Threads between the two stops of a call that changes names.
    begun: BTreeMap<i32, Change>,
    done: Vec<Change>,
    count: u64,
}

#[derive(Debug)]
struct Change {
    /// Where the file was; nowhere when the change removed it.
    from: Option<PathBuf>,
    name: PathBuf,
    /// What had the name before.
    before: Option<PathBuf>,
}

impl Names {
    /// What lies in `dir` now is durable.
    pub(super) fn below(dir: &Path) -> Self {
        let aside = dir.with_extension("aside");
        let _ = fs::remove_dir_all(&aside);
        Names { dir: dir.to_owned(), aside, begun: BTreeMap::new(), done: Vec::new(), count: 0 }
    }

    /// A call is about to change names.
    pub(super) fn begins(&mut self, call: &Call) -> anyhow::Result<()> {
        let Some((from, name)) = call.names() else { return Ok(()) };
        if !name.starts_with(&self.dir) {
            return Ok(());
        }
        self.count += 1;
        let link = self.aside.join(self.count.to_string());
        fs::create_dir_all(&self.aside).with_context(|| format!("creating {}", self.aside.display()))?;
        let before = match fs::hard_link(&name, &link) {
            Ok(()) => Some(link),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("keeping {}", name.display())),
        };
        self.begun.insert(call.thread, Change { from, name, before });
        Ok(())
    }

    /// A call has ended.
    pub(super) fn ends(&mut self, call: &Call) {
        let begun = self.begun.remove(&call.thread).filter(|_| call.result == 0);
        self.done.extend(begun);
        if let Some(synced) = call.synced().and_then(|descriptor| fs::read_link(descriptor).ok()) {
            self.done.retain(|change| change.name.parent() != Some(&synced));
        }
    }

    /// Takes back some of the newest changes, at least one if there are any, and says so.
    pub(super) fn take_back(mut self, draw: u64) -> anyhow::Result<()> {
        let changes = self.done.len() as u64;
        for _ in 0..(draw % changes.max(1)) + 1 {
            let Some(Change { from, name, before }) = self.done.pop() else { break };
            let taken = from.map_or(Ok(()), |from| fs::rename(&name, from));
            let taken = taken.and_then(|()| before.map_or(Ok(()), |before| fs::rename(before, &name)));
            taken.with_context(|| format!("taking {} back", name.display()))?;
            eprintln!("taken back {}", name.display());
        }
        let _ = fs::remove_dir_all(&self.aside);
        Ok(())
    }
}
