//! Commits of the repository that are held by a ref of ours from their import on.

use super::view::View;
use super::{Sysroot, SysrootError};
use crate::repo::KEEP_PREFIX;
use fullmetal_proto::Digest;
use ostree::{RepoListRefsExtFlags, gio};

impl Sysroot {
    /// Drops the refs of all commits but these: what is deployed holds itself.
    pub(super) fn let_go_but(&self, view: &View, keep: &[Digest]) -> Result<(), SysrootError> {
        let (repo, none) = (view.sysroot.repo(), gio::Cancellable::NONE);
        let refs = repo.list_refs_ext(Some(KEEP_PREFIX), RepoListRefsExtFlags::NONE, none);
        for (name, commit) in refs.map_err(self.failed("listing what is held"))? {
            if !keep.iter().any(|kept| kept.to_string() == *commit) {
                repo.set_ref_immediate(None, &name, None, none).map_err(self.failed("letting a commit go"))?;
            }
        }
        Ok(())
    }
}
