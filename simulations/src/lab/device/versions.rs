//! Versions of the devices' operating system in a fleet's central repo, made as an integrator makes them: trees committed by
//! OSTree's own tools, then published.

use super::system::{BASE_REF, KERNEL_DIR, lay, ostree, repository};
use super::{Device, base};
use crate::lab::{Fleet, output_of};
use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ref of the devices' operating system.
pub const SYSTEM_REF: &str = "os/lab/x86_64";
/// Where a version of the system says which it is.
pub const VERSION_FILE: &str = "/usr/share/lab-version";
/// The fastest; what it costs in bytes is of no interest here.
const LEVEL: &str = "1";

/// Seconds that a version must be well: on a busy machine its peer needs some to begin.
const PROBATION_S: u32 = 4;

/// A version of the operating system.
#[derive(Clone, Debug, Default)]
pub struct Version<'a> {
    /// Version and release number; each has a kernel of its own.
    pub release: u64,
    /// The lowest release that a device may go back to from it.
    pub floor: Option<u64>,
    /// Files that it has beyond those of the first version, with their modes.
    pub files: &'a [(&'a str, &'a str, u32)],
    /// A tree with a kernel that can be booted.
    pub kernel: Option<&'a Path>,
    /// More options of `fullmetal publish`.
    pub options: &'a [String],
}

impl Fleet {
    /// Publishes the first version: the devices' base with what `device` was given so far, but for what is its alone, and with
    /// the kernel in a tree.
    ///
    /// # Errors
    /// When OSTree or `fullmetal publish` fails.
    pub fn publish_first_system(&self, device: &Device, kernel: Option<&Path>) -> anyhow::Result<Value> {
        let seed = self.seed()?;
        fs::create_dir_all(self.repo())?;
        output_of(Command::new("cp").args(["-a", "--link"]).arg(seed.join(".")).arg(self.repo()))?;
        let layer = self.dir().join("system");
        lay(&device.files(), &layer)?;
        let first = Version { release: 1, kernel, ..Version::default() };
        let published = self.publish_tree(&first, BASE_REF, &layer);
        fs::remove_dir_all(&layer)?;
        published
    }

    /// Publishes another version: the first with other files.
    ///
    /// # Errors
    /// The same.
    pub fn publish_system(&self, version: &Version<'_>) -> anyhow::Result<Value> {
        let tree = self.dir().join(format!("system-{}", version.release));
        fs::create_dir_all(&tree)?;
        let from = output_of(ostree(&self.repo()).args(["rev-parse", "first-system"]))?;
        let published = self.publish_tree(version, from.trim(), &tree);
        fs::remove_dir_all(&tree)?;
        published
    }

    fn publish_tree(&self, version: &Version<'_>, from: &str, tree: &Path) -> anyhow::Result<Value> {
        let number = version.release.to_string();
        for (path, text, mode) in version.files {
            put(tree, path, text, *mode)?;
        }
        put(tree, VERSION_FILE, &number, 0o644)?;
        make_other(version, tree)?;
        let parent = output_of(ostree(&self.repo()).args(["rev-parse", from]))?;
        let mut commit = ostree(&self.repo());
        // Its files are root's, as this program is. Told so, ostree would read and compress those of `from` again, too.
        commit.args(["commit", "--bootable", "-b", SYSTEM_REF]);
        commit.args([&format!("--parent={}", parent.trim()), &format!("--tree=ref={from}")]);
        commit.arg(format!("--tree=dir={}", tree.display()));
        commit.arg(format!("--add-metadata-string=version={number}"));
        commit.arg(format!("--add-metadata=fullmetal.release=uint64 {number}"));
        commit.arg(format!("--add-metadata=fullmetal.probation=uint32 {PROBATION_S}"));
        commit.args(version.floor.map(|floor| format!("--add-metadata=fullmetal.floor=uint64 {floor}")));
        let made = output_of(&mut commit)?;
        if from == BASE_REF {
            output_of(ostree(&self.repo()).args(["refs", "--create=first-system", made.trim()]))?;
        }
        let mut publish = Command::new(&self.programs().fullmetal);
        publish.args(["--json", "publish", "--commit", SYSTEM_REF, "--level", LEVEL, "--repo"]).arg(self.repo());
        publish.arg("--key").arg(self.keys().join("build.key")).args(version.options);
        serde_json::from_str(&output_of(&mut publish)?).context("reading what publish printed")
    }

    /// A central repo that holds the devices' base alone, as a commit and in frames; made once.
    fn seed(&self) -> anyhow::Result<PathBuf> {
        let base = base::made()?;
        let from = repository(&base)?;
        let seed = base.with_extension("central");
        let lock = File::create(base.with_file_name("lock"))?;
        flock(&lock, FlockOperation::LockExclusive).context("waiting for the central repo of the devices' system")?;
        if !seed.is_dir() {
            let new = base.with_extension("central.new");
            let _ = fs::remove_dir_all(&new);
            output_of(ostree(&new).args(["init", "--mode=archive"]))?;
            output_of(ostree(&new).args(["config", "set", "archive.zlib-level", LEVEL]))?;
            output_of(ostree(&new).args(["pull-local", "--disable-fsync"]).arg(from).arg(BASE_REF))?;
            let mut publish = Command::new(&self.programs().fullmetal);
            publish.args(["publish", "--unsigned", "--commit", BASE_REF, "--level", LEVEL, "--repo"]).arg(&new);
            output_of(&mut publish)?;
            fs::rename(&new, &seed).context("naming the central repo of the devices' system")?;
        }
        Ok(seed)
    }
}

/// Makes the version's kernel, or what goes with it, another than those of all others.
fn make_other(version: &Version<'_>, tree: &Path) -> anyhow::Result<()> {
    let (dir, number) = (tree.join(KERNEL_DIR), usize::try_from(version.release)?);
    fs::create_dir_all(&dir)?;
    let (file, more) = match version.kernel {
        // What follows the end of an archive are zeros, as many as one likes.
        Some(kernel) => {
            output_of(Command::new("cp").arg("-a").arg(kernel.join(".")).arg(tree))?;
            ("initramfs.img", vec![0; 512 * number])
        }
        None => ("vmlinuz", format!("kernel {number}\n").into_bytes()),
    };
    let mut file = File::options().create(true).append(true).open(dir.join(file))?;
    file.write_all(&more).with_context(|| format!("writing below {}", dir.display()))
}

fn put(tree: &Path, path: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = tree.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap_or(tree))?;
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context("setting a mode")
}
