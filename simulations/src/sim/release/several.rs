//! All releases of a run. Each piece has one number, whichever releases it belongs to: what did not change from one
//! release to the next is the same piece in both.

use super::{REQUEST_LEN, Release, RepoError};
use crate::sim::engine::Random;
use crate::sim::scenario::{Kind, Scenario};
use fullmetal_proto::swarm::limits::RUN_FRAMES_MAX;
use fullmetal_proto::{Bitmap, Digest};
use std::collections::BTreeMap;

/// The releases in their order, and all their pieces.
#[derive(Clone, Debug)]
pub struct Releases {
    all: Vec<Release>,
    /// For each release, the numbers of its pieces in its own order.
    numbers: Vec<Vec<u32>>,
    /// For each release, the places of its pieces by their numbers.
    places: Vec<BTreeMap<u32, u32>>,
    /// Bytes of each piece.
    lengths: Vec<u64>,
    /// For each piece of a plain release, the bytes of its objects; empty with frames.
    objects: Vec<Vec<u64>>,
}

impl Releases {
    /// Builds the releases of a scenario; what is left to chance is drawn from `seed`.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, RepoError> {
        let first = Release::new(&scenario.release, seed)?;
        let new = scenario.later.iter().map(|later| new_pieces(first.pieces(), later.changed) as u64);
        let count = u64::from(first.pieces()) + new.sum::<u64>();
        if count > u64::from(Bitmap::LEN_MAX) {
            return Err(RepoError::Pieces { count });
        }
        let numbers: Vec<u32> = (0..first.pieces()).collect();
        let lengths = (0..first.pieces()).map(|piece| first.length(piece)).collect();
        let objects = first.objects.clone();
        let mut releases = Releases { all: Vec::new(), numbers: Vec::new(), places: Vec::new(), lengths, objects };
        releases.put(first, numbers);
        for (i, later) in scenario.later.iter().enumerate() {
            let mut random = Random::new(seed, &format!("release {}", i + 1));
            releases.follow(later.changed, scenario.release.kind, &mut random);
        }
        Ok(releases)
    }

    fn put(&mut self, release: Release, numbers: Vec<u32>) {
        self.places.push(numbers.iter().copied().zip(0..).collect());
        self.numbers.push(numbers);
        self.all.push(release);
    }

    /// One more release, in which so many millionths of the pieces are new, each as long as the one in its place before.
    fn follow(&mut self, changed: u32, kind: Kind, random: &mut Random) {
        let at = self.all.len();
        let mut release = self.all[at - 1].clone();
        let mut numbers = self.numbers[at - 1].clone();
        let count = new_pieces(release.pieces(), changed);
        let mut places: Vec<usize> = (0..numbers.len()).collect();
        let mut new: Vec<usize> = (0..count).map(|_| places.swap_remove(random.index(places.len()))).collect();
        new.sort_unstable();
        for place in &new {
            let before = numbers[*place] as usize;
            numbers[*place] = self.lengths.len() as u32;
            self.lengths.push(self.lengths[before]);
            if let Some(objects) = self.objects.get(before).cloned() {
                self.objects.push(objects);
            }
        }
        let text: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        release.manifest = Digest::of_parts(&[b"simulated manifest\0", &(at as u64).to_be_bytes(), &text]);
        let bytes: u64 = new.iter().map(|place| release.length(*place as u32)).sum();
        let requests = match kind {
            Kind::Frames => runs(&new),
            Kind::Plain { .. } => new.iter().map(|place| release.objects[*place].len() as u64).sum(),
        };
        release.one_copy = bytes + REQUEST_LEN * requests;
        self.put(release, numbers);
    }

    /// How many releases there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// One of them.
    pub fn get(&self, release: usize) -> &Release {
        &self.all[release]
    }

    /// The release with this manifest.
    pub fn with_manifest(&self, manifest: &Digest) -> Option<usize> {
        self.all.iter().position(|release| release.manifest == *manifest)
    }

    /// The release that is this commit.
    pub fn with_commit(&self, commit: &Digest) -> Option<usize> {
        self.all.iter().position(|release| release.commit() == *commit)
    }

    /// How many pieces there are in all.
    pub fn pieces(&self) -> u32 {
        self.lengths.len() as u32
    }

    /// Bytes of a piece.
    pub fn length(&self, number: u32) -> u64 {
        self.lengths.get(number as usize).copied().unwrap_or(0)
    }

    /// Bytes of all pieces of `map`.
    pub fn length_of(&self, map: &Bitmap) -> u64 {
        map.iter().map(|number| self.length(number)).sum()
    }

    /// Bytes of the objects of a piece, of which each is a request; none with frames.
    pub fn objects(&self, number: u32) -> Option<&[u64]> {
        self.objects.get(number as usize).map(Vec::as_slice)
    }

    /// Whether a run of pieces is one request.
    pub fn is_framed(&self) -> bool {
        self.objects.is_empty()
    }

    /// Bytes of all pieces of these releases, each counted once.
    pub fn bytes_of(&self, releases: impl Iterator<Item = usize>) -> u64 {
        let mut map = Bitmap::new(self.pieces());
        for number in releases.flat_map(|release| &self.numbers[release]) {
            map.set(*number);
        }
        self.length_of(&map)
    }

    /// Bytes of all pieces.
    pub fn bytes(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// Bytes of one copy of all, packets not counted.
    pub fn one_copy(&self) -> u64 {
        self.all.iter().map(|release| release.one_copy).sum()
    }

    /// The number of a release's piece.
    pub fn number(&self, release: usize, piece: u32) -> u32 {
        self.numbers[release][piece as usize]
    }

    /// The place of a piece in a release, if it belongs to it.
    pub fn place(&self, release: usize, number: u32) -> Option<u32> {
        self.places[release].get(&number).copied()
    }

    /// Which pieces of a release are in `cache`, by their places.
    pub fn held(&self, release: usize, cache: &Bitmap) -> Bitmap {
        let mut held = Bitmap::new(self.get(release).pieces());
        for (number, place) in self.numbers[release].iter().zip(0..) {
            if cache.get(*number) {
                held.set(place);
            }
        }
        held
    }

    /// So many millionths of the first release's pieces, drawn.
    pub fn share(&self, ppm: u32, random: &mut Random) -> Bitmap {
        let mut cache = Bitmap::new(self.pieces());
        cache.union_with(&self.get(0).share(ppm, random));
        cache
    }
}

/// How many pieces are new where so many millionths are.
fn new_pieces(pieces: u32, changed: u32) -> usize {
    (u64::from(pieces) * u64::from(changed)).div_ceil(1_000_000) as usize
}

/// Requests that these places take when neighbours are asked for together.
fn runs(places: &[usize]) -> u64 {
    let (mut runs, mut length) = (0, 0);
    for (i, place) in places.iter().enumerate() {
        let goes_on = i > 0 && places[i - 1] + 1 == *place && length < RUN_FRAMES_MAX;
        length = if goes_on { length + 1 } else { 1 };
        runs += u64::from(!goes_on);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn releases(release: &str) -> Releases {
        let text = format!(
            "name = \"x\"\n[network]\nuplink = \"1 MB/s\"\n[[group]]\nname = \"a\"\n[[release]]\n{release}\n\
             [[release]]\nannounced = \"9 s\"\nchanged = \"30 %\"\n"
        );
        Releases::new(&Scenario::parse(&text, Path::new("x.toml")).unwrap(), 5).unwrap()
    }

    #[test]
    fn a_later_release_shares_what_did_not_change() {
        let two = releases("size = \"10 MB\"\nframe = \"1 MB\"");
        assert_eq!((two.count(), two.get(1).pieces(), two.pieces(), two.bytes()), (2, 10, 13, 13_000_000));
        let all_of_first = two.share(1_000_000, &mut Random::new(1, "has"));
        let held = two.held(1, &all_of_first);
        assert_eq!(held.count(), 7);
        for place in 0..10 {
            let number = two.number(1, place);
            assert_eq!((two.place(1, number), two.length(number)), (Some(place), 1_000_000));
            assert_eq!(two.place(0, number).is_some(), held.get(place));
        }
        assert_eq!(two.bytes_of(0..2), 13_000_000);
        assert_ne!(two.get(0).manifest, two.get(1).manifest);
    }

    #[test]
    fn one_copy_of_a_later_release_is_what_is_new_and_the_requests_for_it() {
        let two = releases("kind = \"plain\"\nsizes = [\"1 kB\", \"1 kB\", \"1 kB\"]\nbatch_objects = 1");
        assert_eq!(two.one_copy(), 4 * (1_000 + REQUEST_LEN));
        assert_eq!(two.objects(two.pieces() - 1), Some(&[1_000][..]));
        assert_eq!((runs(&[0, 1, 2, 5, 6]), runs(&(0..9).collect::<Vec<_>>())), (2, 2));
    }
}
