//! The boot loader of a device whose root is an OSTree deployment, played: GRUB with the configuration that the device's own
//! `fullmetal-grub` made, which counts in a real environment block.
//!
//! What it plays of the configuration is what `boot/grub/fullmetal-grub` writes above the entries; a real GRUB runs that in
//! `tests/boot_loader.rs`.

use crate::lab::output_of;
use anyhow::Context as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The line by which a configuration is known whose counting is played here.
const MADE_BY: &str = "# fullmetal-grub 1";
/// A version with this file has a kernel that starts nothing: the machine resets.
const KERNEL_HANGS: &str = "usr/lib/lab/kernel-hangs";
/// What a counted boot has on its command line.
const COUNTED_ARGUMENTS: &str = "panic=10 rd.emergency=reboot fullmetal.counted";
const TRIAL: &str = "fullmetal_trial";
const TRIES: &str = "fullmetal_tries";
const SAVED: &str = "fullmetal_saved";

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderBoot {
    /// Which of the loader's entries it is of, from 1.
    pub entry: usize,
    /// The deployment, as libostree names it: `COMMIT.SERIAL`.
    pub deployment: String,
    /// What was left of the tries after this one was counted; `None` when nothing was on trial.
    pub tries_left: Option<u8>,
    /// The kernel started something.
    pub began: bool,
}

/// Which boot loader a root is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// GRUB, with the configuration that our generator makes.
    Grub,
    /// U-Boot, with our script.
    UBoot,
}

/// One of the loader's entries.
pub(super) struct MenuEntry {
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    options: String,
}

/// Prepares a new sysroot's `/boot` as docs/integrators-os.md says: before something is deployed there.
pub(super) fn install(loader: Loader, sysroot: &Path) -> anyhow::Result<()> {
    let boot = sysroot.join("boot");
    fs::create_dir_all(boot.join("loader.0")).context("making /boot/loader.0")?;
    symlink("loader.0", boot.join("loader"))?;
    if loader == Loader::UBoot {
        return fs::write(boot.join("loader/uEnv.txt"), "").context("making uEnv.txt");
    }
    fs::create_dir(boot.join("grub")).context("making /boot/grub")?;
    fs::write(boot.join("loader/grub.cfg"), "")?;
    symlink("../loader/grub.cfg", boot.join("grub/grub.cfg"))?;
    output_of(Command::new("grub-editenv").arg(block(sysroot)).arg("create")).map(|_| ())
}

/// Boots: counts, and says what the kernel is started with. A kernel that hangs is started again, as a watchdog would have it.
/// The sysroot's files are seen at `seen`, where its journal may not have been replayed; the environment lies in the same place of
/// the disk either way.
pub(super) fn boot((sysroot, mut seen): (&Path, &Path), boots: &mut Vec<LoaderBoot>) -> anyhow::Result<String> {
    // More than an armed loader ever needs to come back.
    const STARTS_MAX: usize = 8;
    for _ in 0..STARTS_MAX {
        if variable(sysroot, SAVED)?.as_deref() != Some("1") {
            save(sysroot, SAVED, "1")?;
        }
        let mut wanted = 1;
        if is_counted(sysroot)? {
            match tries(sysroot)? {
                Some(left @ 1..=5) => save(sysroot, TRIES, &(left - 1).to_string())?,
                _ => wanted = 2,
            }
        }
        let tries_left = if is_counted(sysroot)? { Some(tries(sysroot)?.unwrap_or(0)) } else { None };
        let (entry, taken) = take(seen, wanted)?;
        let found = deployment(sysroot, &taken);
        if found.is_err() && tries_left.is_some() && seen != sysroot {
            // Its kernel mounts the disk, which replays the journal: there is no such deployment any more, and counted it reboots.
            boots.push(LoaderBoot { entry, deployment: String::new(), tries_left, began: false });
            seen = sysroot;
            continue;
        }
        let deployment = found?;
        let began = !deployment.join(KERNEL_HANGS).exists();
        let name = deployment.file_name().unwrap_or_default().to_string_lossy().into_owned();
        boots.push(LoaderBoot { entry, deployment: name, tries_left, began });
        if began {
            return Ok(taken.options);
        }
    }
    anyhow::bail!("the device does not come up: {boots:#?}")
}

/// Where the deployment lies that would boot next.
pub(super) fn next(sysroot: &Path) -> anyhow::Result<PathBuf> {
    let used_up = is_counted(sysroot)? && !matches!(tries(sysroot)?, Some(1..=5));
    let (_, taken) = take(sysroot, if used_up { 2 } else { 1 })?;
    deployment(sysroot, &taken)
}

/// The wanted entry if there is one and it can be loaded, else the other, with the number that it has.
fn take(sysroot: &Path, wanted: usize) -> anyhow::Result<(usize, MenuEntry)> {
    let mut entries: Vec<(usize, MenuEntry)> = (1..).zip(menu(sysroot)?).collect();
    anyhow::ensure!(!entries.is_empty(), "GRUB has no entry");
    // Where there is no second entry the first is all.
    let at = if entries.len() < wanted { 0 } else { wanted - 1 };
    entries.swap(0, at);
    entries.truncate(2);
    let is_there = |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0);
    let can_be_loaded = |e: &MenuEntry| is_there(&e.kernel) && e.initrd.iter().all(|path| is_there(path));
    let all: Vec<PathBuf> = entries.iter().map(|(_, e)| e.kernel.clone()).collect();
    let taken = entries.into_iter().find(|(_, entry)| can_be_loaded(entry));
    taken.with_context(|| format!("GRUB can load none of {all:?}"))
}

fn deployment(sysroot: &Path, entry: &MenuEntry) -> anyhow::Result<PathBuf> {
    let link = entry.options.split(' ').find_map(|o| o.strip_prefix("ostree=/")).context("an entry without ostree=")?;
    fs::canonicalize(sysroot.join(link)).with_context(|| format!("following {link}"))
}

/// The entries as the configuration has them, with their words as the kernel gets them.
fn menu(sysroot: &Path) -> anyhow::Result<Vec<MenuEntry>> {
    let path = sysroot.join("boot/grub/grub.cfg");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    anyhow::ensure!(text.lines().next() == Some(MADE_BY), "{} was not made by fullmetal-grub", path.display());
    let arguments = if is_counted(sysroot)? { COUNTED_ARGUMENTS } else { "" };
    let mut entries: Vec<MenuEntry> = Vec::new();
    let below = |path: &str| sysroot.join(path.trim_start_matches('/'));
    for line in text.lines().map(str::trim_start) {
        if let Some((kernel, options)) = line.strip_prefix("linux ").and_then(|rest| rest.split_once(' ')) {
            let options = options.replace(" $fullmetal_args", &format!(" {arguments}"));
            let options = plain(&options).trim_end().to_owned();
            entries.push(MenuEntry { kernel: below(&plain(kernel)), initrd: None, options });
        }
        if let (Some(initrd), Some(entry)) = (line.strip_prefix("initrd "), entries.last_mut()) {
            entry.initrd = Some(below(&plain(initrd)));
        }
    }
    Ok(entries)
}

/// What GRUB's shell makes of words without variables.
fn plain(text: &str) -> String {
    let mut escaped = false;
    let mut keep = |c: char| {
        escaped = c == '\\' && !escaped;
        !escaped
    };
    text.chars().filter(|c| keep(*c)).collect()
}

fn block(sysroot: &Path) -> PathBuf {
    sysroot.join("boot/grub/grubenv")
}

fn is_counted(sysroot: &Path) -> anyhow::Result<bool> {
    Ok(variable(sysroot, TRIAL)?.is_some_and(|trial| !trial.is_empty()))
}

fn tries(sysroot: &Path) -> anyhow::Result<Option<u8>> {
    Ok(variable(sysroot, TRIES)?.and_then(|tries| tries.parse().ok()))
}

/// A variable of the environment block.
pub(super) fn variable(sysroot: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let all = output_of(Command::new("grub-editenv").arg(block(sysroot)).arg("list"))?;
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    Ok(all.lines().find_map(value))
}

fn save(sysroot: &Path, name: &str, value: &str) -> anyhow::Result<()> {
    let block = block(sysroot);
    output_of(Command::new("grub-editenv").arg(&block).arg("set").arg(format!("{name}={value}")))?;
    // GRUB writes to the disk itself.
    File::open(block)?.sync_all().context("syncing the environment block")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: &str = "\
menuentry 'new' --id fullmetal-1 {
  linux /boot/new/vmlinuz rw ostree=/ostree/boot.1/new/0 note=a\\$b fullmetal.entry=1 $fullmetal_args
  initrd /boot/new/initrd
}
menuentry 'old' --id fullmetal-2 {
  linux /boot/old/vmlinuz rw ostree=/ostree/boot.1/old/0 fullmetal.entry=2
}
";

    /// A sysroot with both entries, and where its deployments are.
    fn sysroot() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        install(Loader::Grub, root).expect("a loader");
        fs::write(root.join("boot/loader/grub.cfg"), format!("{MADE_BY}\n{ENTRIES}")).expect("a configuration");
        for name in ["new", "old"] {
            fs::create_dir_all(root.join("boot").join(name)).expect("a directory of a kernel");
            fs::write(root.join("boot").join(name).join("vmlinuz"), "kernel").expect("a kernel");
            fs::create_dir_all(root.join("ostree/boot.1").join(name)).expect("links");
            let deployment = root.join(format!("{name}.0"));
            fs::create_dir_all(deployment.join("usr/lib/lab")).expect("a deployment");
            symlink(deployment, root.join("ostree/boot.1").join(name).join("0")).expect("a link");
        }
        fs::write(root.join("boot/new/initrd"), "initrd").expect("an initramfs");
        dir
    }

    /// Which entry boots, with what is left of the tries.
    fn boots(root: &Path) -> (usize, Option<u8>) {
        let mut boots = Vec::new();
        boot((root, root), &mut boots).expect("a boot");
        boots.last().map(|b| (b.entry, b.tries_left)).expect("it is told")
    }

    #[test]
    fn it_counts_down_what_was_armed_and_falls_back() {
        let dir = sysroot();
        let root = dir.path();
        assert_eq!(boots(root), (1, None));
        assert_eq!(variable(root, SAVED).expect("a block").as_deref(), Some("1"));
        save(root, TRIAL, "new.0").and_then(|()| save(root, TRIES, "2")).expect("armed");
        assert_eq!([boots(root), boots(root), boots(root)], [(1, Some(1)), (1, Some(0)), (2, Some(0))]);
        assert_eq!(next(root).expect("a deployment").file_name().expect("a name"), "old.0");
    }

    #[test]
    fn it_boots_the_other_entry_when_a_file_of_the_first_is_missing() {
        for file in ["vmlinuz", "initrd"] {
            let dir = sysroot();
            fs::remove_file(dir.path().join("boot/new").join(file)).expect("it is there");
            assert_eq!(boots(dir.path()), (2, None), "without {file}");
        }
    }

    #[test]
    fn a_kernel_that_hangs_is_started_until_its_tries_are_used_up() {
        let dir = sysroot();
        let root = dir.path();
        fs::write(root.join("new.0").join(KERNEL_HANGS), "").expect("a mark");
        save(root, TRIAL, "new.0").and_then(|()| save(root, TRIES, "3")).expect("armed");
        let mut boots = Vec::new();
        let options = boot((root, root), &mut boots).expect("the old one");
        assert_eq!(
            boots.iter().map(|b| (b.entry, b.began)).collect::<Vec<_>>(),
            [(1, false), (1, false), (1, false), (2, true)]
        );
        assert!(options.ends_with("fullmetal.entry=2"), "{options}");
        // Uncounted it never comes up.
        save(root, TRIAL, "").expect("cleared");
        assert!(boot((root, root), &mut boots).is_err());
    }

    #[test]
    fn words_are_as_grub_hands_them_to_the_kernel() {
        let dir = sysroot();
        let options = |root: &Path| menu(root).expect("a menu").remove(0).options;
        let before = "rw ostree=/ostree/boot.1/new/0 note=a$b fullmetal.entry=1";
        assert_eq!(options(dir.path()), before);
        save(dir.path(), TRIAL, "new.0").expect("armed");
        assert_eq!(options(dir.path()), format!("{before} {COUNTED_ARGUMENTS}"));
    }
}
