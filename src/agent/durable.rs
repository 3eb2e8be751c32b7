//! Small changes to directories that survive a power cut once they are done.

use anyhow::Context as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).with_context(|| format!("syncing {}", dir.display()))
}

/// Makes a directory and its parents where they are missing. Its own name is durable afterwards even if a killed
/// predecessor made it; that of a parent which was there before is its maker's business.
pub fn create_dir(dir: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty() && !p.is_dir()).collect();
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for made in missing.into_iter().chain([dir]) {
        if let Some(parent) = made.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

/// Writes a file whole in the place of the one before, durably.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file, durably also when a killed predecessor had done so.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| format!("removing {}", path.display())),
        _ => match path.parent() {
            Some(dir) if dir.is_dir() => sync_dir(dir),
            _ => Ok(()),
        },
    }
}
