//! Unit files and links in `/run`: written at boot and at each start, gone with the app.

use super::unit::{APPS_TARGET, Marked, marked, unit_name};
use super::{HostError, Layout};
use crate::config::Paths;
use fullmetal_proto::AppName;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The unit files of one device that are made anew at each boot.
#[derive(Clone, Debug)]
pub struct UnitFiles {
    root: PathBuf,
}

impl UnitFiles {
    /// Those below `paths`; systemd itself looks at `/` only.
    pub fn new(paths: &Paths) -> Self {
        UnitFiles { root: paths.root().to_owned() }
    }

    fn dir(&self) -> PathBuf {
        self.root.join("run/systemd/system")
    }

    /// Where the unit of an app is.
    pub fn path(&self, name: &AppName) -> PathBuf {
        self.dir().join(unit_name(name))
    }

    fn link(&self, name: &AppName) -> PathBuf {
        self.dir().join(format!("{APPS_TARGET}.wants")).join(unit_name(name))
    }

    /// Where FullMetalUpdate has its apps; only where the root file system has the directory.
    fn place(&self, name: &AppName) -> Option<PathBuf> {
        let apps = self.root.join("apps");
        apps.is_dir().then(|| apps.join(name.as_str()))
    }

    /// What the unit of an app says; `None` without one of ours.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn marked(&self, name: &AppName) -> Result<Option<Marked>, HostError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(marked(&text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(HostError::io("reading", &path)(e)),
        }
    }

    /// The file of the system's own that has the name of an app's unit.
    pub fn namesake(&self, name: &AppName) -> Option<PathBuf> {
        let dirs =
            ["etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
        let paths = dirs.iter().map(|dir| self.root.join(dir).join(unit_name(name)));
        paths.into_iter().find(|path| fs::symlink_metadata(path).is_ok())
    }

    /// Puts the unit of an app in place; gives whether systemd has to be told. With `wanted` the target of all apps
    /// starts it.
    ///
    /// # Errors
    /// When `/run` takes no files.
    pub fn place_unit(&self, name: &AppName, text: &str, wanted: bool) -> Result<bool, HostError> {
        let (path, link) = (self.path(name), self.link(name));
        for dir in [Some(self.dir()), link.parent().map(Path::to_owned)].into_iter().flatten() {
            fs::create_dir_all(&dir).map_err(HostError::io("making", &dir))?;
        }
        let mut changed = false;
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            // Named so that systemd does not take it for a unit.
            let new = path.with_extension("service-new");
            fs::write(&new, text).map_err(HostError::io("writing", &new))?;
            fs::rename(&new, &path).map_err(HostError::io("replacing", &path))?;
            changed = true;
        }
        let linked = fs::symlink_metadata(&link).is_ok();
        if wanted && !linked {
            let target = Path::new("..").join(unit_name(name));
            std::os::unix::fs::symlink(target, &link).map_err(HostError::io("making", &link))?;
        } else if !wanted {
            remove_file(&link)?;
        }
        self.show(name);
        Ok(changed || linked != wanted)
    }

    /// A link for people and scripts that know FullMetalUpdate's places; no app depends on it.
    fn show(&self, name: &AppName) {
        if let Some(place) = self.place(name).filter(|place| fs::symlink_metadata(place).is_err()) {
            let current = Paths::new("/").current(name);
            if let Err(error) = std::os::unix::fs::symlink(current, &place) {
                tracing::debug!(%error, path = %place.display(), "no link to the app");
            }
        }
    }

    /// Removes all that [`UnitFiles::place_unit`] made; gives whether there was a unit of ours.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_unit(&self, name: &AppName) -> Result<bool, HostError> {
        let ours = self.marked(name)?.is_some();
        if ours {
            remove_file(&self.path(name))?;
        }
        remove_file(&self.link(name))?;
        let current = Paths::new("/").current(name);
        if let Some(place) = self.place(name).filter(|p| fs::read_link(p).is_ok_and(|to| to == current))
            && let Err(error) = fs::remove_file(&place)
        {
            tracing::debug!(%error, path = %place.display(), "a link to an app that is gone stays");
        }
        Ok(ours)
    }

    /// All apps that have a unit of ours, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn all(&self) -> Result<Vec<AppName>, HostError> {
        let dir = self.dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(HostError::io("reading", &dir)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(HostError::io("reading", &dir))?;
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|n| n.strip_suffix(".service")?.parse().ok()) else { continue };
            if self.marked(&name)?.is_some() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Removes the empty groups of a unit that is gone: those of the first version's controllers that systemd does not use
/// are made by runc and known to nobody else.
pub(super) fn remove_cgroups(layout: &Layout) {
    let group = layout.cgroup();
    let Some(unit) = group.parent().and_then(|unit| unit.strip_prefix("/").ok()) else { return };
    let tops = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    for dir in tops.map(|top| top.join(unit)) {
        let _ = fs::remove_dir(dir.join("ctr"));
        let _ = fs::remove_dir(dir);
    }
}

fn remove_file(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(HostError::io("removing", path)(e)),
        _ => Ok(()),
    }
}

/// For a directory that may not be there.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
