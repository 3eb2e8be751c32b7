//! How this boot came about, as the kernel's command line tells.

use super::BootLoaderError;
use super::places::Places;
use std::fs;

/// Our loader scripts add `fullmetal.loader=NAME` to the entry that they boot: proof that this boot went through them.
const MARK: &str = "fullmetal.loader=";

/// The last value of our mark.
pub(super) fn loader(places: &Places) -> Result<Option<String>, BootLoaderError> {
    let path = places.cmdline();
    let text = fs::read_to_string(&path).map_err(BootLoaderError::file("reading", &path))?;
    Ok(text.split_whitespace().rev().find_map(|word| word.strip_prefix(MARK)).map(str::to_owned))
}
