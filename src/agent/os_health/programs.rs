//! Which programs of a directory are run as root.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Somebody may execute.
const EXECUTE: u32 = 0o111;

/// The programs in `dir` in the order of their names; none where there is no such directory. Files that cannot be executed,
/// and what editors and dpkg leave behind, are none. A link counts as what it points to.
///
/// # Errors
/// When somebody else than root could change one, or a directory above it, up to `root`: what must be asked cannot be then.
pub(super) fn programs(dir: &Path, root: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("reading {}: {e}", dir.display())),
    };
    let mut programs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| format!("reading {}: {e}", dir.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-") {
            continue;
        }
        let file = fs::metadata(&path).map_err(|e| format!("looking at {}: {e}", path.display()))?;
        if file.is_file() && file.mode() & EXECUTE != 0 {
            only_root_changes(&path, root)?;
            programs.push(path);
        }
    }
    programs.sort();
    Ok(programs)
}

fn only_root_changes(program: &Path, root: &Path) -> Result<(), String> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|e| format!("looking for {}: {e}", path.display()));
    let dir = program.parent().unwrap_or(root);
    let root = real(root)?;
    for path in [real(program)?, real(dir)?] {
        for above in path.ancestors().take_while(|above| *above != root) {
            let file = fs::metadata(above).map_err(|e| format!("looking at {}: {e}", above.display()))?;
            if file.uid() != 0 || file.mode() & OTHERS_WRITE != 0 {
                let (program, above) = (program.display(), above.display());
                return Err(format!(
                    "{program} is not run: others than root may change {above}; `chown root` and `chmod go-w` it"
                ));
            }
        }
    }
    Ok(())
}
