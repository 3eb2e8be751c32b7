//! Everything that happened, as a hash, and as lines of text when somebody wants to read it.

use super::Moment;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Write;

/// Bytes that are gathered before they are hashed.
const BUFFER_LEN: usize = 64 << 10;

/// Names one run: the same scenario, seed and program give the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceHash([u8; 32]);

impl fmt::Display for TraceHash {
    /// The first 16 hexadecimal digits: enough to tell runs apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes note of every event and effect.
pub struct Trace {
    hasher: Sha256,
    buffer: Vec<u8>,
    notes: u64,
    log: Option<Box<dyn Write>>,
}

impl Trace {
    /// A trace of nothing yet; each note is also a line in `log`, if there is one.
    pub fn new(log: Option<Box<dyn Write>>) -> Self {
        Trace { hasher: Sha256::new(), buffer: Vec::with_capacity(BUFFER_LEN), notes: 0, log }
    }

    /// Notes that `what` happened, with all numbers that tell it from others of its kind.
    pub fn note(&mut self, at: Moment, what: &str, numbers: &[u64]) {
        self.notes += 1;
        self.buffer.extend(at.0.to_be_bytes());
        self.buffer.extend(what.as_bytes());
        self.buffer.push(numbers.len() as u8);
        numbers.iter().for_each(|n| self.buffer.extend(n.to_be_bytes()));
        if self.buffer.len() >= BUFFER_LEN - 1024 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        if let Some(log) = &mut self.log {
            let numbers: String = numbers.iter().map(|n| format!(" {n}")).collect();
            // The log is for reading along; a full disk must not change what is simulated.
            let _ = writeln!(log, "{at} {what}{numbers}");
        }
    }

    /// How many notes were taken.
    pub fn notes(&self) -> u64 {
        self.notes
    }

    /// The hash of all notes so far.
    pub fn hash(&self) -> TraceHash {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.buffer);
        TraceHash(hasher.finalize().into())
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} notes)", self.notes)
    }
}
