//! What lies in the cache, how long it is, when it was last used, and what must stay.

use super::{CacheError, Key, Shelf};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<Key, Entry>,
    kept: BTreeSet<Key>,
    bytes: u64,
    /// Set aside for drafts.
    reserved: u64,
    tick: u64,
    dirty: BTreeSet<Shelf>,
}

#[derive(Debug)]
struct Entry {
    length: u64,
    /// Rises with every use; the smallest goes first.
    used: u64,
    modified: Option<SystemTime>,
}

impl Index {
    /// Takes a file of the start-up scan in.
    pub fn found(&mut self, key: Key, length: u64, modified: Option<SystemTime>) {
        self.bytes += length;
        self.entries.insert(key, Entry { length, used: 0, modified });
    }

    /// Ends the scan: uses follow the files' ages.
    pub fn settle(&mut self) {
        let mut order: Vec<&mut Entry> = self.entries.values_mut().collect();
        order.sort_by_key(|e| e.modified);
        for entry in order {
            self.tick += 1;
            entry.used = self.tick;
        }
    }

    pub fn length(&self, key: Key) -> Option<u64> {
        self.entries.get(&key).map(|e| e.length)
    }

    pub fn touch(&mut self, key: Key) {
        self.tick += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used = self.tick;
        }
    }

    pub fn reserve(&mut self, length: u64, max: u64) -> Result<(), CacheError> {
        if (self.bytes + self.reserved).saturating_add(length) > max {
            return Err(CacheError::NoRoom { needed: length, kept: self.bytes + self.reserved, max });
        }
        self.reserved += length;
        Ok(())
    }

    pub fn release(&mut self, length: u64) {
        self.reserved -= length;
    }

    /// A draft of `length` reserved bytes got its name.
    pub fn finished(&mut self, key: Key, length: u64) {
        self.release(length);
        self.tick += 1;
        let entry = Entry { length, used: self.tick, modified: None };
        self.bytes += length;
        if let Some(old) = self.entries.insert(key, entry) {
            self.bytes -= old.length;
        }
        self.dirty.insert(key.shelf);
    }

    pub fn remove(&mut self, key: Key) -> bool {
        let gone = self.entries.remove(&key);
        self.bytes -= gone.as_ref().map_or(0, |e| e.length);
        gone.is_some()
    }

    pub fn victims(&self, length: u64, max: u64) -> Result<Vec<Key>, CacheError> {
        let wanted = (self.bytes + self.reserved).saturating_add(length).saturating_sub(max);
        let mut loose: Vec<_> = self.entries.iter().filter(|(key, _)| !self.kept.contains(key)).collect();
        let loose_bytes: u64 = loose.iter().map(|(_, e)| e.length).sum();
        if loose_bytes < wanted {
            return Err(CacheError::NoRoom { needed: length, kept: self.bytes + self.reserved - loose_bytes, max });
        }
        loose.sort_by_key(|(_, e)| e.used);
        let mut freed = 0;
        let enough = loose.into_iter().take_while(|(_, e)| {
            let go = freed < wanted;
            freed += e.length;
            go
        });
        Ok(enough.map(|(key, _)| *key).collect())
    }

    pub fn keep(&mut self, keys: BTreeSet<Key>) {
        self.kept = keys;
    }

    pub fn keep_also(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.kept.extend(keys);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn take_dirty(&mut self) -> BTreeSet<Shelf> {
        std::mem::take(&mut self.dirty)
    }
}
