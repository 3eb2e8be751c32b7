//! How this boot came about, as the kernel's command line tells.

use super::BootLoaderError;
use super::places::Places;
use fullmetal_proto::deploy::{BootId, Entry};
use std::fs;

/// Our loader scripts add `fullmetal.loader=NAME` to the entry that they boot: proof that this boot went through them.
const MARK: &str = "fullmetal.loader=";

/// And `fullmetal.entry=1` or `2`.
const ENTRY_MARK: &str = "fullmetal.entry=";

/// The last value of our mark.
pub(super) fn loader(places: &Places) -> Result<Option<String>, BootLoaderError> {
    last(places, MARK)
}

/// Which entry this boot is of; `None` where no script of ours says so.
///
/// # Errors
/// When the kernel's command line cannot be read.
pub fn entry(places: &Places) -> Result<Option<Entry>, BootLoaderError> {
    let entries = [("1", Entry::First), ("2", Entry::Second)];
    let said = last(places, ENTRY_MARK)?;
    Ok(entries.into_iter().find(|(value, _)| said.as_deref() == Some(value)).map(|(_, entry)| entry))
}

/// The kernel's name of this boot.
///
/// # Errors
/// When it cannot be read.
pub fn boot_id(places: &Places) -> Result<BootId, BootLoaderError> {
    let path = places.boot_id();
    let text = fs::read_to_string(&path).map_err(BootLoaderError::file("reading", &path))?;
    Ok(BootId(text.trim().replace("-", "")))
}

fn last(places: &Places, mark: &str) -> Result<Option<String>, BootLoaderError> {
    let path = places.cmdline();
    let text = fs::read_to_string(&path).map_err(BootLoaderError::file("reading", &path))?;
    Ok(text.split_whitespace().rev().find_map(|word| word.strip_prefix(mark)).map(str::to_owned))
}
