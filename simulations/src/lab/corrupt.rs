//! A copy of a central repo that sends wrong bytes wherever pieces are.

use anyhow::Context as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// How far apart two wrong bytes are.
const APART: usize = 4_096;

/// Makes the copy at `to`: packs and file objects are wrong, everything else is a link to what `repo` has.
pub(super) fn copy(repo: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(repo).with_context(|| format!("reading {}", repo.display()))? {
        let entry = entry?;
        let (from, copied) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &copied)?;
        } else if from.extension().is_some_and(|extension| extension == "pack" || extension == "filez") {
            let mut bytes = fs::read(&from)?;
            // The last one, too: short files would stay as they are.
            bytes.iter_mut().rev().step_by(APART).for_each(|byte| *byte ^= 0xff);
            fs::write(&copied, bytes).with_context(|| format!("writing {}", copied.display()))?;
        } else {
            symlink(&from, &copied).with_context(|| format!("linking {}", copied.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_wrong_and_everything_else_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, to) = (dir.path().join("repo"), dir.path().join("wrong"));
        fs::create_dir_all(repo.join("objects/ab")).unwrap();
        for (name, bytes) in [("config", vec![1; 10]), ("objects/ab/c.filez", vec![2; 3]), ("p.pack", vec![3; 9_000])] {
            fs::write(repo.join(name), bytes).unwrap();
        }
        copy(&repo, &to).unwrap();
        let wrong = |name: &str| {
            let (a, b) = (fs::read(repo.join(name)).unwrap(), fs::read(to.join(name)).unwrap());
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).filter(|(a, b)| **a != *b).count()
        };
        assert_eq!(["config", "objects/ab/c.filez", "p.pack"].map(wrong), [0, 1, 3]);
    }
}
