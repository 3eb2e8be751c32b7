//! On which line of its file each table and key of a scenario stands, for those who find fault with it after it was read.

use super::error::Place;
use super::section::Source;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Lines by table, its number among those of that name, and key. What stands before all tables is in the table "", and a
/// table's own line is that of the key "".
#[derive(Clone, Debug)]
pub struct Lines {
    file: Arc<Path>,
    all: BTreeMap<(String, usize, String), usize>,
}

impl Lines {
    pub(super) fn of(source: Source<'_>, root: &DeTable<'_>) -> Self {
        let ends: Vec<usize> = source.text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |value: &Spanned<DeValue<'_>>| 1 + ends.partition_point(|end| *end < value.span().start);
        let mut all = BTreeMap::new();
        let mut note = |table: &str, index: usize, key: &str, value: &Spanned<DeValue<'_>>| {
            all.insert((table.to_owned(), index, key.to_owned()), line(value));
        };
        for (name, value) in root {
            let name = name.get_ref();
            note("", 0, name, value);
            let tables = if let DeValue::Array(list) = value.get_ref() { list } else { std::slice::from_ref(value) };
            for (index, value) in tables.iter().enumerate() {
                let DeValue::Table(table) = value.get_ref() else { continue };
                note(name, index, "", value);
                table.iter().for_each(|(key, value)| note(name, index, key.get_ref(), value));
            }
        }
        Lines { file: source.file.into(), all }
    }

    /// The line of a key, if it is there.
    pub fn line(&self, table: &str, index: usize, key: &str) -> Option<usize> {
        self.all.get(&(table.to_owned(), index, key.to_owned())).copied()
    }

    /// Where a key stands, else its table, else the file.
    pub fn place(&self, table: &str, index: usize, key: &str) -> Place {
        let line = self.line(table, index, key).or_else(|| self.line(table, index, ""));
        Place { file: self.file.clone(), line: line.unwrap_or(1) }
    }
}
