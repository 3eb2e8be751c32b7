//! What a tree must have to be deployed by OSTree and booted (ostree manual, "Adapting existing mainstream distributions"
//! and "Deployments"): looked at before anything of it is written.

use super::central::Central;
use super::error::PublishError;
use super::source::{Dir, Node, S_IFMT, S_IFREG};
use crate::sysroot::{INITRAMFS, MODULES, OLDER, beside_kernel, beside_older_kernel, has_initramfs};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{DirMeta, DirTree, OstreeError};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::collections::BTreeSet;

/// Where a system says what it is called; the loader's entries are named by it.
const RELEASE: [&str; 2] = ["usr/etc/os-release", "usr/lib/os-release"];
/// What is mounted somewhere at boot. The root is read-only, so it must be there before.
const MOUNT_POINTS: [&str; 7] = ["boot", "dev", "proc", "run", "sys", "sysroot", "var"];
/// What puts the root together at boot, from the initramfs.
const PREPARE: [&str; 2] = ["usr/lib/ostree/ostree-prepare-root", "usr/libexec/libostree/ostree-prepare-root"];
/// Our own program in a device's operating system.
const AGENT: &str = "usr/bin/fullmetal";
/// Everybody may enter the root and see what is there.
const ROOT_MODE: u32 = 0o755;

/// A tree that was found fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Os {
    /// The version of its kernel; none where older tools put it.
    pub kernel: Option<String>,
    /// What may be meant so, and is told.
    pub notes: Vec<String>,
}

/// What lies at a path; symlinks are not followed.
pub(super) enum Found {
    /// A directory with these names.
    Dir(Vec<String>),
    File,
    /// A symlink to this.
    Link(String),
}

/// A tree that is looked into by paths without a leading slash.
pub(super) trait Look {
    /// What is there, if anything.
    fn at(&self, path: &str) -> Result<Option<Found>, PublishError>;
    /// Permissions of its root.
    fn root_mode(&self) -> Result<u32, PublishError>;
}

/// Looks at a tree; `shown` is its name for people.
///
/// # Errors
/// With all that it lacks, and what to do about each.
pub(super) fn check(tree: &dyn Look, shown: &str, needs_initramfs: bool) -> Result<Os, PublishError> {
    let mut lacks = Vec::new();
    let kernel = kernel(tree, needs_initramfs, &mut lacks)?;
    match (tree.at("etc")?.is_some(), is_dir(tree, "usr/etc")?) {
        (false, true) => {}
        (_, false) => lacks.push("there is no usr/etc, which devices make their /etc of: move etc there".to_owned()),
        (true, true) => {
            lacks.push("there are etc and usr/etc: move what is in etc to usr/etc, and remove etc".to_owned())
        }
    }
    if !any_file(tree, &RELEASE)? {
        lacks.push(format!("there is no {}, by which the boot loader's entry is named", RELEASE[1]));
    }
    let mut missing = Vec::new();
    for dir in MOUNT_POINTS {
        if !is_dir(tree, dir)? {
            missing.push(dir);
        }
    }
    if !missing.is_empty() {
        lacks.push(format!("something is mounted at boot where there is no directory: make {}", missing.join(", ")));
    }
    if !matches!(tree.at("ostree")?, Some(Found::Link(to)) if to.trim_start_matches('/') == "sysroot/ostree") {
        lacks.push("ostree must be a symlink to sysroot/ostree, where the device's repository is".to_owned());
    }
    let mode = tree.root_mode()? & 0o7777;
    if mode != ROOT_MODE {
        lacks.push(format!("its root has mode {mode:o}, and so would the device's: make it {ROOT_MODE:o}"));
    }
    if !lacks.is_empty() {
        return Err(PublishError::NotBootable { what: shown.to_owned(), lacks });
    }
    Ok(Os { kernel, notes: notes(tree)? })
}

fn notes(tree: &dyn Look) -> Result<Vec<String>, PublishError> {
    let mut notes = Vec::new();
    if !any_file(tree, &PREPARE)? {
        notes.push(format!("there is no {}: the initramfs must have it from elsewhere", PREPARE[0]));
    }
    if !any_file(tree, &[AGENT])? {
        notes.push(format!("there is no {AGENT}: without an agent it proves nothing, and devices go back"));
    }
    let keys =
        names(tree, "usr/etc/ssh")?.into_iter().filter(|name| name.starts_with("ssh_host_") && name.ends_with("_key"));
    if let Some(key) = keys.into_iter().next() {
        notes.push(format!("usr/etc/ssh/{key} is the same for all devices, and for all who can read the repository"));
    }
    if !names(tree, "var")?.is_empty() {
        notes.push(
            "var is not empty: devices have a /var of their own; what must be there is for tmpfiles.d".to_owned(),
        );
    }
    Ok(notes)
}

/// The version of the one kernel, where libostree finds it.
fn kernel(tree: &dyn Look, needs_initramfs: bool, lacks: &mut Vec<String>) -> Result<Option<String>, PublishError> {
    let mut versions = Vec::new();
    for version in names(tree, MODULES)? {
        if any_file(tree, &[&format!("{MODULES}/{version}/vmlinuz")])? {
            versions.push(version);
        }
    }
    let (kernel, has_initramfs) = match &versions[..] {
        [] => {
            let Some(names) = older_kernel(tree)? else {
                lacks.push(format!("there is no kernel: it must be {MODULES}/VERSION/vmlinuz"));
                return Ok(None);
            };
            (None, names.iter().any(|name| has_checksum(name, "initramfs-")))
        }
        [version] => {
            let dir = format!("{MODULES}/{version}");
            let files = INITRAMFS.map(|name| format!("{dir}/{name}"));
            let has_initramfs = any_file(tree, &[&files[0], &files[1]])?;
            // libostree takes one of older tools instead that has an initramfs.
            let older = if has_initramfs { None } else { older_kernel(tree)? };
            match older.is_some_and(|names| names.iter().any(|name| has_checksum(name, "initramfs-"))) {
                true => (None, true),
                false => (Some(version.clone()), has_initramfs),
            }
        }
        several => {
            let all = several.join(", ");
            lacks.push(format!("there are several kernels, {all}: leave one of them in {MODULES}"));
            return Ok(None);
        }
    };
    if needs_initramfs && !has_initramfs {
        let place = kernel.as_deref().map_or_else(|| OLDER[0].to_owned(), |version| format!("{MODULES}/{version}"));
        lacks.push(format!(
            "there is no initramfs beside the kernel: it must be {place}/initramfs.img, with ostree-prepare-root; \
             say --no-initramfs if the kernel needs none"
        ));
    }
    Ok(kernel)
}

/// The names beside a kernel of older tools.
fn older_kernel(tree: &dyn Look) -> Result<Option<Vec<String>>, PublishError> {
    for dir in OLDER {
        let names = names(tree, dir)?;
        if names.iter().any(|name| has_checksum(name, "vmlinuz-")) {
            return Ok(Some(names));
        }
    }
    Ok(None)
}

/// Whether it begins so and ends with a checksum.
fn has_checksum(name: &str, start: &str) -> bool {
    let end = name.strip_prefix(start).and_then(|rest| rest.rsplit('-').next());
    end.is_some_and(|end| end.parse::<Digest>().is_ok())
}

fn names(tree: &dyn Look, path: &str) -> Result<Vec<String>, PublishError> {
    Ok(if let Some(Found::Dir(names)) = tree.at(path)? { names } else { Vec::new() })
}

fn is_dir(tree: &dyn Look, path: &str) -> Result<bool, PublishError> {
    Ok(matches!(tree.at(path)?, Some(Found::Dir(_))))
}

fn any_file(tree: &dyn Look, paths: &[&str]) -> Result<bool, PublishError> {
    for path in paths {
        if let Some(Found::File) = tree.at(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Look for Dir {
    fn at(&self, path: &str) -> Result<Option<Found>, PublishError> {
        let (mut dir, mut names) = (self, path.split('/').peekable());
        while let Some(name) = names.next() {
            match dir.children.get(name) {
                Some(Node::Dir(child)) if names.peek().is_some() => dir = child,
                Some(Node::Dir(child)) => return Ok(Some(Found::Dir(child.children.keys().cloned().collect()))),
                Some(Node::Leaf(leaf)) if names.peek().is_none() => {
                    let is_file = leaf.meta.mode & S_IFMT == S_IFREG;
                    return Ok(Some(if is_file { Found::File } else { Found::Link(leaf.target.clone()) }));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn root_mode(&self) -> Result<u32, PublishError> {
        Ok(self.meta.mode)
    }
}

/// The tree of a commit in the repo.
pub(super) struct Committed<'c> {
    pub central: &'c Central,
    /// Dirtree and dirmeta of its root.
    pub root: (Digest, Digest),
}

impl Committed<'_> {
    fn read<T>(
        &self,
        kind: ObjectKind,
        checksum: Digest,
        parse: impl Fn(&[u8]) -> Result<T, OstreeError>,
    ) -> Result<T, PublishError> {
        let object = ObjectId { kind, checksum };
        parse(&self.central.metadata(&object)?).map_err(|problem| PublishError::Unfit { object, problem })
    }

    fn tree(&self, checksum: Digest) -> Result<DirTree, PublishError> {
        self.read(ObjectKind::DirTree, checksum, DirTree::parse)
    }

    /// The directory at a path.
    fn dir(&self, path: &str) -> Result<Option<DirTree>, PublishError> {
        let mut tree = self.tree(self.root.0)?;
        for name in path.split('/') {
            let Some(dir) = tree.dirs.iter().find(|dir| dir.name == name) else { return Ok(None) };
            tree = self.tree(dir.tree)?;
        }
        Ok(Some(tree))
    }

    /// The files that go to `/boot`: of the first kernel with an initramfs where libostree looks for one, else of the first.
    pub(super) fn boot_files(&self) -> Result<BTreeSet<Digest>, PublishError> {
        let versions = self.dir(MODULES)?.map_or_else(Vec::new, |modules| modules.dirs);
        let mut first = BTreeSet::new();
        let modules = versions.into_iter().map(|version| (self.tree(version.tree), true));
        let older = OLDER.iter().map(|dir| (self.dir(dir).map(Option::unwrap_or_default), false));
        for (dir, is_modules) in modules.chain(older) {
            let DirTree { files: own, dirs } = dir?;
            let names = own.iter().map(|file| &*file.name).chain(dirs.iter().map(|dir| &*dir.name)).collect::<Vec<_>>();
            let taken = if is_modules { beside_kernel(&names) } else { beside_older_kernel(&names) };
            let named = |name: &str| taken.contains(&name);
            let mut files: BTreeSet<Digest> =
                own.iter().filter(|file| named(&file.name)).map(|file| file.content).collect();
            dirs.iter().filter(|dir| named(&dir.name)).try_for_each(|dir| self.all_below(dir.tree, &mut files))?;
            if has_initramfs(&taken) {
                return Ok(files);
            }
            if first.is_empty() {
                first = files;
            }
        }
        Ok(first)
    }

    fn all_below(&self, tree: Digest, files: &mut BTreeSet<Digest>) -> Result<(), PublishError> {
        let DirTree { files: own, dirs } = self.tree(tree)?;
        files.extend(own.into_iter().map(|file| file.content));
        dirs.into_iter().try_for_each(|dir| self.all_below(dir.tree, files))
    }
}

impl Look for Committed<'_> {
    fn at(&self, path: &str) -> Result<Option<Found>, PublishError> {
        let (above, name) = path.rsplit_once('/').map_or((None, path), |(above, name)| (Some(above), name));
        let tree = above.map_or_else(|| self.tree(self.root.0).map(Some), |above| self.dir(above))?;
        let Some(tree) = tree else { return Ok(None) };
        if let Some(dir) = tree.dirs.iter().find(|dir| dir.name == name) {
            let DirTree { files, dirs } = self.tree(dir.tree)?;
            let names = files.into_iter().map(|file| file.name).chain(dirs.into_iter().map(|dir| dir.name));
            return Ok(Some(Found::Dir(names.collect())));
        }
        let Some(file) = tree.files.iter().find(|file| file.name == name) else { return Ok(None) };
        let (header, ..) = self.central.head(&ObjectId { kind: ObjectKind::File, checksum: file.content })?;
        Ok(Some(header.target.map_or(Found::File, Found::Link)))
    }

    fn root_mode(&self) -> Result<u32, PublishError> {
        self.read(ObjectKind::DirMeta, self.root.1, DirMeta::parse).map(|meta| meta.mode)
    }
}
