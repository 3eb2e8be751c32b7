//! One table of a scenario file, read key by key.

use super::error::{Place, ScenarioError};
use super::nearest::nearest;
use crate::sim::engine::Moment;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file of at most so many bytes.
pub(super) fn read(path: &Path, len_max: u64) -> Result<String, ScenarioError> {
    read_bounded(path, len_max).map_err(|source| ScenarioError::Read { path: path.to_owned(), source })
}

/// The text of a file of at most so many bytes. Devices and pipes have no length that could be looked at before.
pub(in crate::sim) fn read_bounded(path: &Path, len_max: u64) -> std::io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(len_max + 1).read_to_end(&mut text)?;
    if text.len() as u64 > len_max {
        return Err(std::io::Error::other(format!("it has more bytes than the limit of {len_max}")));
    }
    String::from_utf8(text).map_err(std::io::Error::other)
}

/// A scenario file's text, to tell lines.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    pub fn table(&self) -> Result<Spanned<DeTable<'a>>, ScenarioError> {
        DeTable::parse(self.text).map_err(|error| {
            let place = self.place(error.span().map_or(0, |span| span.start));
            let several = if error.message() == "duplicate key" { SEVERAL } else { "" };
            ScenarioError::Syntax { place, message: format!("{}{several}", error.message()) }
        })
    }

    pub fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        Place { file: self.file.into(), line: before.matches('\n').count() + 1 }
    }
}

/// An error about a name that the scenario does not have.
pub(super) fn unknown_name(place: Place, key: &str, name: &str, names: &[String]) -> ScenarioError {
    let meant = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
    let (key, name) = (key.to_owned(), name.to_owned());
    ScenarioError::UnknownName { place, key, name, meant, known: names.into() }
}

/// What a table that is there twice is told besides.
const SEVERAL: &str = "; tables of which there may be several have double brackets, as [[event]] has";

/// A table that is being read. What was not asked for when it is finished is unknown.
pub(super) struct Section<'a> {
    source: Source<'a>,
    /// "[network]", or "the file" for what stands before all tables.
    name: String,
    at: usize,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub fn root(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        Section { source, name: "the file".to_owned(), at: 0, table: Some(table), known: Vec::new() }
    }

    /// A table inside; one that is not there reads as empty.
    pub fn table(&mut self, key: &'static str) -> Result<Section<'a>, ScenarioError> {
        self.known.push(key);
        let name = format!("[{key}]");
        let Some(value) = self.value(key) else {
            return Ok(Section { source: self.source, name, at: self.at, table: None, known: Vec::new() });
        };
        self.inner(key, name, value)
    }

    /// All tables of a list, `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<Section<'a>>, ScenarioError> {
        self.known.push(key);
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let DeValue::Array(list) = value.get_ref() else {
            return Err(self.wrong(key, value, &format!("tables written as [[{key}]]")));
        };
        list.iter().map(|value| self.inner(key, format!("[[{key}]]"), value)).collect()
    }

    /// What is written as one `[key]` or as several `[[key]]`.
    pub fn one_or_more(&mut self, key: &'static str) -> Result<Vec<Section<'a>>, ScenarioError> {
        match self.value(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.tables(key),
            _ => Ok(vec![self.table(key)?]),
        }
    }

    fn inner(&self, key: &str, name: String, value: &'a Spanned<DeValue<'a>>) -> Result<Section<'a>, ScenarioError> {
        match value.get_ref() {
            DeValue::Table(table) => {
                let at = value.span().start;
                Ok(Section { source: self.source, name, at, table: Some(table), known: Vec::new() })
            }
            _ => Err(self.wrong(key, value, "a table")),
        }
    }

    pub fn place(&self) -> Place {
        self.source.place(self.at)
    }

    /// Where a key stands, or its table.
    pub fn place_of(&self, key: &str) -> Place {
        self.source.place(self.value(key).map_or(self.at, |value| value.span().start))
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let (_, value) = self.table?.iter().find(|(k, _)| k.get_ref() == key)?;
        Some(value)
    }

    /// A string that `parse` makes a value of; its error says what was expected.
    pub fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ScenarioError> {
        self.known.push(key);
        let Some(value) = self.value(key) else { return Ok(None) };
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            _ => return Err(self.wrong(key, value, &parse("").err().unwrap_or_else(|| "a string".to_owned()))),
        };
        parse(text).map(Some).map_err(|expected| self.wrong(key, value, &expected))
    }

    /// The same, or an error when it is not there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ScenarioError> {
        let expected = parse("").err().unwrap_or_else(|| "a string".to_owned());
        self.text(key, parse)?.ok_or_else(|| self.missing(key, &expected))
    }

    /// A list of strings.
    pub fn texts<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ScenarioError> {
        self.known.push(key);
        let Some(value) = self.value(key) else { return Ok(None) };
        let DeValue::Array(list) = value.get_ref() else {
            return Err(self.wrong(key, value, "a list of strings"));
        };
        let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => parse(text).map_err(|expected| self.wrong(key, value, &expected)),
            _ => Err(self.wrong(key, value, "a string")),
        };
        list.iter().map(one).collect::<Result<Vec<T>, _>>().map(Some)
    }

    /// One of a few words.
    pub fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<Option<T>, ScenarioError> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        self.text(key, |text| {
            let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
            found.ok_or_else(|| match nearest(text, names.iter().copied()).filter(|_| !text.is_empty()) {
                Some(name) => format!("`{name}`?"),
                None => format!("one of {}", names.join(", ")),
            })
        })
    }

    /// A whole number from `least` to `most`.
    pub fn number(&mut self, key: &'static str, least: u64, most: u64) -> Result<Option<u64>, ScenarioError> {
        self.known.push(key);
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|n| (least..=most).contains(n)).map(Some);
        number.ok_or_else(|| self.wrong(key, value, &format!("a whole number from {least} to {most}")))
    }

    pub fn truth(&mut self, key: &'static str) -> Result<Option<bool>, ScenarioError> {
        self.known.push(key);
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(truth) => Ok(Some(*truth)),
            _ => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// An error about a value that is there.
    pub fn bad(&self, key: &str, expected: &str) -> ScenarioError {
        match self.value(key) {
            Some(value) => self.wrong(key, value, expected),
            None => self.missing(key, expected),
        }
    }

    /// An error about a time at or after the end of the run, where nothing happens any more.
    pub fn too_late(&self, key: &str, until: Moment) -> ScenarioError {
        self.not_within(key, "a time", until)
    }

    /// An error about something that does not come within the run.
    pub fn not_within(&self, key: &str, what: &str, until: Moment) -> ScenarioError {
        let end = until.0 / 1_000_000;
        self.bad(key, &format!("{what} before the run ends at {end} s; `seconds` says when that is"))
    }

    /// An error about a name that the scenario does not have.
    pub fn unknown_name(&self, key: &str, name: &str, names: &[String]) -> ScenarioError {
        unknown_name(self.place_of(key), key, name, names)
    }

    /// Errs when there is a key that was not asked for.
    pub fn finish(self) -> Result<(), ScenarioError> {
        let Some(table) = self.table else { return Ok(()) };
        let unknown = table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let name = key.get_ref().as_ref();
        Err(ScenarioError::UnknownKey {
            place: self.source.place(key.span().start),
            key: name.to_owned(),
            section: self.name,
            meant: nearest(name, self.known.iter().copied()).map(str::to_owned),
            known: self.known.iter().map(|key| (*key).to_owned()).collect(),
        })
    }

    /// A key that is not there, or that was written a little otherwise.
    fn missing(&self, key: &str, expected: &str) -> ScenarioError {
        let keys = self.table.into_iter().flat_map(DeTable::keys);
        let mut slips = keys.filter(|k| !self.known.contains(&k.get_ref().as_ref()));
        if let Some(slip) = slips.find(|k| nearest(k.get_ref(), [key]).is_some()) {
            let (place, section) = (self.source.place(slip.span().start), self.name.clone());
            let (written, meant) = (slip.get_ref().to_string(), Some(key.to_owned()));
            return ScenarioError::UnknownKey { place, key: written, section, meant, known: Box::default() };
        }
        let (place, section) = (self.place(), self.name.clone());
        ScenarioError::MissingKey { place, section, key: key.to_owned(), expected: expected.to_owned() }
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> ScenarioError {
        let (place, span) = (self.source.place(value.span().start), value.span());
        let found = self.source.text.get(span).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        ScenarioError::Value { place, key: key.to_owned(), found, expected: expected.to_owned() }
    }
}
