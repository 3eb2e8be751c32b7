//! Files, links and directories that are whole under their name or not there, also after a power cut.
//!
//! A file is written under a temporary name, synced, renamed, and its directory synced. Whoever may be killed
//! in between leaves a temporary file at most, which [`sweep`] removes.

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How temporary names start.
const PREFIX: &str = ".tmp-";

/// What the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}", path = .path.display())]
pub struct DurableError {
    /// What was tried.
    pub action: &'static str,
    /// With which file or directory.
    pub path: PathBuf,
    /// The system's word.
    pub source: io::Error,
}

impl DurableError {
    fn of<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + use<'a> {
        move |source| DurableError { action, path: path.to_owned(), source }
    }

    /// Whether a file had the name already.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == ErrorKind::AlreadyExists
    }
}

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The new file takes its place in one step.
    Replaced,
    /// It stays, and that is an error: see [`DurableError::is_taken`].
    Refused,
}

/// A file without its name yet; dropping it removes it.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// Where it is; `None` once it has its name.
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// An empty file in `dir`, which must be in the file system of its later name. Only its owner may read it.
    pub fn in_dir(dir: &Path) -> Result<Self, DurableError> {
        let path = temporary(dir);
        let made = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = made.map_err(DurableError::of("making a file in", dir))?;
        Ok(NewFile { file, temporary: Some(path) })
    }

    /// Its open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs the content and gives the file `mode` and its name. The name becomes durable by [`sync_dir`].
    pub fn name(mut self, path: &Path, mode: u32, existing: Existing) -> Result<(), DurableError> {
        self.file.set_permissions(Permissions::from_mode(mode)).map_err(DurableError::of("writing", path))?;
        self.file.sync_all().map_err(DurableError::of("syncing", path))?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        match existing {
            Existing::Replaced => fs::rename(temporary, path),
            Existing::Refused => rename_new(temporary, path),
        }
        .map_err(DurableError::of("writing", path))?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes `bytes` the content of `path` with `mode`, whatever the umask.
pub fn write(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<(), DurableError> {
    let dir = parent(path);
    let mut file = NewFile::in_dir(dir).map_err(|e| DurableError::of("writing", path)(e.source))?;
    file.file.write_all(bytes).map_err(DurableError::of("writing", path))?;
    file.name(path, mode, existing)?;
    sync_dir(dir)
}

/// Makes `link` point to `target`, in place of what it pointed to.
pub fn symlink(target: &Path, link: &Path) -> Result<(), DurableError> {
    let (dir, err) = (parent(link), DurableError::of("pointing", link));
    if !fs::read_link(link).is_ok_and(|t| t == target) {
        let new = temporary(dir);
        std::os::unix::fs::symlink(target, &new).map_err(&err)?;
        fs::rename(&new, link).inspect_err(|_| drop(fs::remove_file(&new))).map_err(&err)?;
    }
    // Also when it pointed there: a predecessor may have been killed between the rename and this.
    sync_dir(dir)
}

/// Removes a file or link for good, also when a killed predecessor had removed it.
pub fn remove(path: &Path) -> Result<(), DurableError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(DurableError::of("removing", path)(e)),
        _ if parent(path).is_dir() => sync_dir(parent(path)),
        _ => Ok(()),
    }
}

/// Makes `dir` with `mode` and its missing parents with 0755, less the umask; every new name is synced, and that of `dir`
/// also when a killed predecessor made it.
pub fn make_dir(dir: &Path, mode: u32) -> Result<(), DurableError> {
    let missing: Vec<_> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.is_dir()).collect();
    for new in missing.iter().rev() {
        match DirBuilder::new().mode(if *new == dir { mode } else { 0o755 }).create(new) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && new.is_dir() => {}
            made => made.map_err(DurableError::of("making directory", new))?,
        }
        sync_dir(parent(new))?;
    }
    // The root has no parent, and its name needs none.
    if missing.is_empty() && dir.parent().is_some() { sync_dir(parent(dir)) } else { Ok(()) }
}

/// Gives the finished directory `from` the name `to` beside it, where nothing but an empty directory may be.
pub fn place_dir(from: &Path, to: &Path) -> Result<(), DurableError> {
    sync_dir(from)?;
    fs::rename(from, to).map_err(DurableError::of("making", to))?;
    sync_dir(parent(to))
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), DurableError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(DurableError::of("syncing", dir))
}

/// Adds `bytes` to the end of `file` and syncs them; when that fails, nothing of them stays if that can be helped.
pub fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let added = file.write_all(bytes).and_then(|()| file.sync_data());
    if added.is_err() {
        let _ = file.set_len(end);
    }
    added
}

/// Removes what was being written in `dir` when its writer was killed; nobody else may write there meanwhile.
pub fn sweep(dir: &Path) -> Result<(), DurableError> {
    for entry in fs::read_dir(dir).map_err(DurableError::of("reading", dir))? {
        let entry = entry.map_err(DurableError::of("reading", dir))?;
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            fs::remove_file(entry.path()).map_err(DurableError::of("removing", &entry.path()))?;
        }
    }
    Ok(())
}

/// The directory that `path` is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name in `dir` that nobody has: random, so that what a killed predecessor left is not taken for ours.
fn temporary(dir: &Path) -> PathBuf {
    let mut tag = [0; 8];
    getrandom::fill(&mut tag).expect("the system has randomness");
    dir.join(format!("{PREFIX}{}", hex::encode(tag)))
}

/// Renames unless `to` exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows it; those know hard links, which fail on an existing name too.
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_never_takes_the_place_of_another_unless_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"first", 0o600, Existing::Refused).unwrap();
        let error = write(&path, b"second", 0o600, Existing::Refused).unwrap_err();
        assert!(error.is_taken(), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        write(&path, b"third", 0o644, Existing::Replaced).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(names(dir.path()), ["key"], "no temporary file stays");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_and_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/such/file");
        let error = write(&path, b"x", 0o600, Existing::Replaced).unwrap_err();
        assert_eq!(error.to_string(), format!("writing {}: No such file or directory (os error 2)", path.display()));
        // A directory cannot be replaced by a file.
        fs::create_dir(dir.path().join("taken")).unwrap();
        write(&dir.path().join("taken"), b"x", 0o600, Existing::Replaced).unwrap_err();
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("kept"), b"x", 0o600, Existing::Refused).unwrap();
        let killed = NewFile::in_dir(dir.path()).unwrap();
        std::mem::forget(killed);
        assert_eq!(names(dir.path()).len(), 2);
        sweep(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["kept"]);
    }

    #[test]
    fn a_link_is_pointed_elsewhere_in_one_step_and_again_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        for target in ["one", "two", "two"] {
            symlink(Path::new(target), &link).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(names(dir.path()), ["current"]);
        remove(&link).unwrap();
        remove(&link).unwrap();
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn directories_are_made_with_their_parents_and_a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        make_dir(&deep, 0o700).unwrap();
        make_dir(&deep, 0o700).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o7777, 0o700);
        fs::write(deep.join("file"), b"").unwrap();
        let error = make_dir(&deep.join("file"), 0o755).unwrap_err().to_string();
        assert!(error.contains("a/b/file"), "{error}");
    }

    #[test]
    fn a_directory_takes_the_place_of_an_empty_one_and_of_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (new, out) = (dir.path().join(".new"), dir.path().join("out"));
        for _ in 0..2 {
            fs::create_dir(&new).unwrap();
            fs::write(new.join("file"), b"x").unwrap();
            let placed = place_dir(&new, &out);
            assert_eq!(placed.is_ok(), !new.exists());
            assert_eq!(names(&out), ["file"]);
        }
        assert!(new.exists(), "the second did not take the place of the first");
    }

    #[test]
    fn lines_are_added_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for line in ["one\n", "two\n"] {
            let mut file = File::options().create(true).append(true).open(&path).unwrap();
            append(&mut file, line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
