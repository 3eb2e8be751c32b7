//! What a device says, boot by boot, in one file for each.

use std::fs;
use std::path::PathBuf;

/// The files.
#[derive(Debug)]
pub struct Said {
    dir: PathBuf,
    boots: u32,
}

/// A place in what is said.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    boot: u32,
    len: usize,
}

impl Said {
    /// Of a device that has never been on.
    pub fn new(dir: PathBuf) -> Self {
        Said { dir, boots: 0 }
    }

    /// The file for the next boot, from now on the newest.
    pub fn begin_boot(&mut self) -> PathBuf {
        self.boots += 1;
        self.file(self.boots)
    }

    /// How often the device was switched on.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// What it has said in this boot.
    pub fn now(&self) -> String {
        self.said_in(self.boots)
    }

    /// How far it is.
    pub fn mark(&self) -> Mark {
        Mark { boot: self.boots, len: self.now().len() }
    }

    /// What it has said since in each boot, first the rest of that in which the mark was made.
    pub fn since(&self, mark: Mark) -> Vec<String> {
        let first = self.said_in(mark.boot).split_off(mark.len);
        [first].into_iter().chain((mark.boot + 1..=self.boots).map(|boot| self.said_in(boot))).collect()
    }

    fn file(&self, boot: u32) -> PathBuf {
        self.dir.join(format!("boot-{boot}.log"))
    }

    fn said_in(&self, boot: u32) -> String {
        let said = fs::read(self.file(boot)).unwrap_or_default();
        String::from_utf8_lossy(&said).replace('\r', "")
    }
}
