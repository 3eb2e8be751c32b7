//! The journal's disk in memory: it can lose at a cut all that was not synced.

use super::{Disk, FILE_LEN_MAX};
use std::collections::BTreeMap;
use std::io;

/// Files in memory. File systems are free to write things back early, so that a cut may leave more than what
/// was synced: [`Survivors`] says how much.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    steps_left: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

/// What a power cut leaves of things that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivors {
    /// New and changed names.
    pub names: bool,
    /// How many of every 100 bytes of a file's new content, from its start on.
    pub data_percent: usize,
}

impl MemoryDisk {
    /// Lets `steps` changes happen and then fails all further ones, as if the power went.
    pub fn stop_after(&mut self, steps: u32) {
        self.steps_left = Some(steps);
    }

    /// What is there when the power is back.
    pub fn cut(&self, survivors: Survivors) -> MemoryDisk {
        let names = if survivors.names { &self.names } else { &self.synced_names };
        let content = |file: &Content| match survivors.data_percent {
            0 => file.synced.clone(),
            percent => file.written[..file.written.len() * percent.min(100) / 100].to_vec(),
        };
        let settled = |file: &Content| {
            let kept = if file.written == file.synced { file.synced.clone() } else { content(file) };
            Content { written: kept.clone(), synced: kept }
        };
        MemoryDisk {
            files: self.files.iter().map(settled).collect(),
            names: names.clone(),
            synced_names: names.clone(),
            steps_left: None,
        }
    }

    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps_left {
            Some(0) => Err(io::Error::other("power cut")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Content> {
        let index = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = self.names.get(name).and_then(|i| self.files.get(*i));
        match file {
            Some(file) if file.written.len() > FILE_LEN_MAX => Err(io::ErrorKind::FileTooLarge.into()),
            other => Ok(other.map(|f| f.written.clone())),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        if !self.names.contains_key(name) {
            self.files.push(Content::default());
            self.names.insert(name.to_owned(), self.files.len() - 1);
        }
        self.file(name)?.written = bytes.to_vec();
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.step()?;
        let file = self.file(name)?;
        file.synced = file.written.clone();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        let index = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), index);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.step()?;
        self.synced_names = self.names.clone();
        Ok(())
    }
}
