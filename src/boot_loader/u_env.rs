//! `uEnv.txt`, which U-Boot reads: libostree writes it beside its entries, where it takes the loader for U-Boot's.
//!
//! Source: libostree 2022.7, `src/libostree/ostree-bootloader-uboot.c`. `kernel_image`, `ramdisk_image` and `bootargs` are those of
//! the first entry, with a 2 behind the names those of the second. What a system has in `usr/lib/ostree-boot/uEnv.txt` follows, and
//! the last value of a name counts.

use super::entries::{self, Entry};
use super::{BootLoaderError, Places};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// More than libostree ever writes.
const LEN_MAX: u64 = 64 * 1024;
/// What is behind the names of the first entry's variables and of the second's.
const SUFFIXES: [&str; 2] = ["", "2"];

pub(super) fn path(places: &Places) -> PathBuf {
    places.loader().join("uEnv.txt")
}

/// Whether it is of the entries that are there now.
pub(super) fn names_the_entries(places: &Places) -> Result<bool, BootLoaderError> {
    let path = path(places);
    let bytes = crate::untrusted::read(&path, LEN_MAX).map_err(BootLoaderError::file("reading", &path))?;
    let text = String::from_utf8_lossy(&bytes);
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let entries = entries::read(places, &places.loader().join("entries"))?;
    Ok(!entries.is_empty() && SUFFIXES.iter().zip(&entries).all(|(suffix, entry)| is_of(&variables, suffix, entry)))
}

fn is_of(variables: &BTreeMap<&str, &str>, suffix: &str, entry: &Entry) -> bool {
    let value = |name: &str| variables.get(format!("{name}{suffix}").as_str()).copied();
    // U-Boot's paths begin with /boot, those of entries do not in all releases.
    let leads_to = |name: &str, path: &Option<String>| match (value(name), path) {
        (Some(value), Some(path)) => {
            value.strip_prefix("/boot").unwrap_or(value) == path.strip_prefix("/boot").unwrap_or(path)
        }
        (value, path) => value.is_none() && path.is_none(),
    };
    let mut words = value("bootargs").unwrap_or_default().split_whitespace().rev();
    entry.kernel.is_some()
        && leads_to("kernel_image", &entry.kernel)
        && leads_to("ramdisk_image", &entry.initrd)
        && words.find_map(|word| word.strip_prefix("ostree=")) == entry.argument.as_deref()
}
