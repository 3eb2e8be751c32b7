//! How far each device is, looked up in the caches of their peers: files under their names are verified pieces.

use std::fs;
use std::path::Path;

/// One look: when (microseconds), how many pieces, and their bytes.
type Look = (u64, u64, u64);

/// What was seen of one device.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Only looks at which something had changed.
    looks: Vec<Look>,
    /// When its release was first in force.
    pub in_force_at: Option<u64>,
}

impl Watched {
    /// Looks at the device of this root.
    pub fn look(&mut self, root: &Path, now: u64) {
        let (pieces, bytes) = cached(root);
        if self.looks.last().is_none_or(|(_, n, _)| *n != pieces) {
            self.looks.push((now, pieces, bytes));
        }
        if self.in_force_at.is_none() && is_in_force(root) {
            self.in_force_at = Some(now);
        }
    }

    /// Bytes of the pieces that it has.
    pub fn bytes(&self) -> u64 {
        self.looks.last().map_or(0, |(_, _, bytes)| *bytes)
    }

    fn pieces(&self) -> u64 {
        self.looks.last().map_or(0, |(_, pieces, _)| *pieces)
    }

    /// Since when it has `all` pieces, if it has.
    pub fn complete_at(&self, all: u64) -> Option<u64> {
        let lacking = self.looks.iter().rposition(|(_, pieces, _)| *pieces < all);
        self.looks.get(lacking.map_or(0, |i| i + 1)).filter(|_| all > 0).map(|(at, _, _)| *at)
    }
}

/// How many pieces the release has: as many as somebody has whose release is in force; 0 when nobody has come so far.
pub fn pieces<'a>(all: impl Iterator<Item = &'a Watched>) -> u64 {
    all.filter(|watched| watched.in_force_at.is_some()).map(Watched::pieces).max().unwrap_or(0)
}

fn cached(root: &Path) -> (u64, u64) {
    let shelf = |name: &str| fs::read_dir(root.join("var/cache/fullmetal").join(name)).into_iter().flatten().flatten();
    let named = ["frames", "batches"].into_iter().flat_map(shelf).filter(|entry| entry.file_name().len() == 64);
    named.filter_map(|entry| Some(entry.metadata().ok()?.len())).fold((0, 0), |(n, sum), len| (n + 1, sum + len))
}

fn is_in_force(root: &Path) -> bool {
    let apps = fs::read_dir(root.join("var/lib/fullmetal/apps")).into_iter().flatten().flatten();
    apps.map(|app| app.path().join("current")).any(|link| link.is_symlink())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_complete_since_it_last_came_to_have_everything() {
        let of = |looks: &[Look]| Watched { looks: looks.to_vec(), in_force_at: None };
        assert_eq!(of(&[(1, 0, 0), (5, 3, 30), (9, 4, 40)]).complete_at(4), Some(9));
        assert_eq!(of(&[(1, 0, 0), (5, 4, 40), (7, 2, 20), (9, 4, 40)]).complete_at(4), Some(9));
        assert_eq!(of(&[(1, 0, 0), (5, 3, 30)]).complete_at(4), None);
        assert_eq!(of(&[]).complete_at(4), None);
        assert_eq!(of(&[(1, 0, 0)]).complete_at(0), None);
    }

    #[test]
    fn whoever_is_furthest_is_not_complete_before_a_release_is_in_force() {
        let of = |pieces: u64, in_force_at| Watched { looks: vec![(1, pieces, pieces * 10)], in_force_at };
        let (half, whole, more) = (of(5, None), of(9, Some(3)), of(2, None));
        assert_eq!(pieces([&half, &more].into_iter()), 0);
        assert_eq!(pieces([&half, &whole, &more].into_iter()), 9);
        assert_eq!(half.complete_at(0), None);
    }
}
