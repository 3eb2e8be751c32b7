//! Boot loader entries with counters in their names.
//!
//! Source: <https://uapi-group.org/specifications/specs/boot_loader_specification/>, "Boot counting": `+LEFT` or `+LEFT-DONE` before
//! `.conf`. A loader renames the file before each boot, one from LEFT to DONE; an entry with 0 left is "bad" and comes last.

use super::BootLoaderError;
use super::DeploymentId;
use super::deployment::of_argument;
use super::places::Places;
use std::fs;
use std::path::{Path, PathBuf};

/// More than an entry ever has.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// The counters in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) left: u32,
    pub(super) done: u32,
}

pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// The name without counters and `.conf`.
    pub(super) id: String,
    pub(super) counters: Option<Counters>,
    /// libostree numbers entries by it; the highest is the newest deployment.
    version: u64,
    /// `linux` and `initrd`, as it has them.
    pub(super) kernel: Option<String>,
    pub(super) initrd: Option<String>,
    /// `ostree=` of the kernel's arguments.
    pub(super) argument: Option<String>,
    /// What it boots, as things are now.
    pub(super) deployment: Option<DeploymentId>,
}

impl Entry {
    /// Its path with other counters, or none.
    pub(super) fn named(&self, counters: Option<Counters>) -> PathBuf {
        let suffix = match counters {
            None => String::new(),
            Some(Counters { left, done: 0 }) => format!("+{left}"),
            Some(Counters { left, done }) => format!("+{left}-{done}"),
        };
        self.path.with_file_name(format!("{}{suffix}.conf", self.id))
    }
}

/// All entries, the newest deployment's first.
pub(super) fn read(places: &Places, dir: &Path) -> Result<Vec<Entry>, BootLoaderError> {
    let mut entries = Vec::new();
    for file in fs::read_dir(dir).map_err(BootLoaderError::file("reading", dir))? {
        let path = file.map_err(BootLoaderError::file("reading", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".conf"));
        let Some((id, counters)) = name.map(split) else { continue };
        let bytes = crate::untrusted::read(&path, FILE_LEN_MAX).map_err(BootLoaderError::file("reading", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let version = field(&text, "version").and_then(|version| version.parse().ok()).unwrap_or(0);
        let argument = field(&text, "options")
            .and_then(|options| options.split_whitespace().rev().find_map(|word| word.strip_prefix("ostree=")));
        let deployment = argument.and_then(|argument| of_argument(places, argument));
        let [kernel, initrd, argument] =
            [field(&text, "linux"), field(&text, "initrd"), argument].map(|value| value.map(str::to_owned));
        entries.push(Entry { id: id.to_owned(), counters, version, kernel, initrd, argument, deployment, path });
    }
    entries.sort_by(|a, b| (b.version, &b.id).cmp(&(a.version, &a.id)));
    Ok(entries)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t'])).map(str::trim)
}

/// A name without `.conf` as id and counters; what is no counter belongs to the id.
fn split(name: &str) -> (&str, Option<Counters>) {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let counters = |text: &str| {
        let (left, done) = text.split_once('-').unwrap_or((text, "0"));
        Some(Counters { left: number(left)?, done: number(done)? })
    };
    match name.rsplit_once('+') {
        Some((id, text)) if counters(text).is_some() => (id, counters(text)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_the_specification_has_them() {
        let counters = |left, done| Some(Counters { left, done });
        for (name, id, expected) in [
            ("ostree-2-fm+3", "ostree-2-fm", counters(3, 0)),
            ("ostree-2-fm+2-1", "ostree-2-fm", counters(2, 1)),
            ("ostree-2-fm+0-3", "ostree-2-fm", counters(0, 3)),
            ("ostree-2-fm", "ostree-2-fm", None),
            ("g++", "g++", None),
            ("6.1+deb12", "6.1+deb12", None),
            ("6.1+deb12+3", "6.1+deb12", counters(3, 0)),
            ("a+-1", "a+-1", None),
            ("a+1-", "a+1-", None),
            ("a+99999999999", "a+99999999999", None),
        ] {
            assert_eq!(split(name), (id, expected), "{name}");
        }
    }
}
