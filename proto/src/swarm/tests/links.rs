//! Which nodes are connected, and ready-made meshes.

use super::net::Net;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Links {
    /// Pairs that connect whenever both live.
    known: BTreeSet<(usize, usize)>,
    open: BTreeMap<(usize, usize), u64>,
    last: BTreeMap<(usize, usize), u64>,
    count: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Links {
    pub(super) fn know(&mut self, a: usize, b: usize) {
        self.known.insert(pair(a, b));
    }

    pub(super) fn open(&mut self, a: usize, b: usize) {
        self.count += 1;
        self.open.insert(pair(a, b), self.count);
        self.last.insert(pair(a, b), self.count);
    }

    /// Cuts the link and returns which it was.
    pub(super) fn cut(&mut self, a: usize, b: usize) -> u64 {
        self.open.remove(&pair(a, b)).unwrap_or(0)
    }

    /// The number of the open link.
    pub(super) fn get(&self, a: usize, b: usize) -> Option<u64> {
        self.open.get(&pair(a, b)).copied()
    }

    pub(super) fn is(&self, a: usize, b: usize, link: u64) -> bool {
        self.get(a, b) == Some(link)
    }

    /// Whether no newer link has come in its place.
    pub(super) fn was_last(&self, a: usize, b: usize, link: u64) -> bool {
        self.last.get(&pair(a, b)) == Some(&link)
    }

    pub(super) fn peers_of(&self, i: usize) -> Vec<usize> {
        self.open.keys().filter(|(a, b)| *a == i || *b == i).map(|(a, b)| a + b - i).collect()
    }

    /// Known links of a node that are not open.
    pub(super) fn down_at(&self, i: usize) -> Vec<usize> {
        let mine = self.known.iter().filter(|(a, b)| *a == i || *b == i);
        mine.filter(|p| !self.open.contains_key(p)).map(|(a, b)| a + b - i).collect()
    }

    pub(super) fn all(&self) -> Vec<(usize, usize)> {
        self.known.iter().copied().collect()
    }

    /// All nodes that can be reached from `i`.
    pub(super) fn part_of(&self, i: usize) -> BTreeSet<usize> {
        let (mut part, mut todo) = (BTreeSet::from([i]), vec![i]);
        while let Some(node) = todo.pop() {
            todo.extend(self.peers_of(node).into_iter().filter(|peer| part.insert(*peer)));
        }
        part
    }
}

impl Net {
    /// Starts all nodes and connects everyone with everyone.
    pub(super) fn mesh(&mut self) {
        for a in 0..self.nodes.len() {
            (0..a).for_each(|b| self.links.know(a, b));
        }
        (0..self.nodes.len()).for_each(|i| self.start(i));
    }

    /// Starts all nodes with the links that were made known.
    pub(super) fn mesh_as_known(&mut self) {
        (0..self.nodes.len()).for_each(|i| self.start(i));
    }

    /// Starts all nodes in a ring with chords: each has up to six neighbours.
    pub(super) fn ring(&mut self) {
        let n = self.nodes.len();
        for i in 0..n {
            for step in [1, 3, 7] {
                self.links.know(i, (i + step) % n);
            }
        }
        (0..n).for_each(|i| self.start(i));
    }
}
