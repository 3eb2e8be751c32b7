//! Names that every server gives itself: which one of the recording is which one here.

use std::collections::BTreeMap;
use std::ops::Range;

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Action,
    Set,
    Module,
    Rollout,
    Entry,
    Fingerprint,
    ETag,
    Version,
}

/// What stands before an id in paths, links and messages.
const MARKS: [(&str, Kind); 11] = [
    ("/actions/", Kind::Action),
    ("/deploymentBase/", Kind::Action),
    ("/installedBase/", Kind::Action),
    ("/cancelAction/", Kind::Action),
    ("/confirmationBase/", Kind::Action),
    ("Action '", Kind::Action),
    ("valid action (", Kind::Action),
    ("/distributionsets/", Kind::Set),
    ("/softwaremodules/", Kind::Module),
    ("/rollouts/", Kind::Rollout),
    ("?c=", Kind::Fingerprint),
];

impl Kind {
    /// From the words of a setup.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "action" => Kind::Action,
            "set" => Kind::Set,
            "module" => Kind::Module,
            "rollout" => Kind::Rollout,
            _ => return None,
        })
    }
}

/// Pairs of names, one to one.
#[derive(Debug, Default)]
pub struct Names {
    here: BTreeMap<(Kind, String), String>,
    recorded: BTreeMap<(Kind, String), String>,
}

impl Names {
    /// From now on `recorded` is called `here`; false if one of them is paired with another already.
    pub fn bind(&mut self, kind: Kind, recorded: &str, here: &str) -> bool {
        let forward = self.here.entry((kind, recorded.into())).or_insert_with(|| here.into());
        let back = self.recorded.entry((kind, here.into())).or_insert_with(|| recorded.into());
        forward == here && back == recorded
    }

    /// What is called `recorded` in the recording; the same when nobody knows.
    pub fn here<'a>(&'a self, kind: Kind, recorded: &'a str) -> &'a str {
        self.here.get(&(kind, recorded.into())).map_or(recorded, String::as_str)
    }

    /// A path, link or message with the names of this server.
    pub fn rewrite(&self, text: &str) -> String {
        let (mut out, mut done) = (String::new(), 0);
        for (kind, range) in found(text) {
            out.push_str(&text[done..range.start]);
            out.push_str(self.here(kind, &text[range.clone()]));
            done = range.end;
        }
        out.push_str(&text[done..]);
        out
    }

    /// Pairs the names of two texts that say the same; false if they cannot be paired.
    pub fn bind_texts(&mut self, recorded: &str, here: &str) -> bool {
        let (a, b) = (found(recorded), found(here));
        let kinds = |found: &[(Kind, Range<usize>)]| found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
        if kinds(&a) != kinds(&b) {
            return false;
        }
        let pairs = a.into_iter().zip(b);
        pairs.fold(true, |all, ((kind, a), (_, b))| self.bind(kind, &recorded[a], &here[b]) && all)
    }
}

/// The names in a text.
fn found(text: &str) -> Vec<(Kind, Range<usize>)> {
    let mut found = Vec::new();
    for (mark, kind) in MARKS {
        for (at, _) in text.match_indices(mark) {
            let start = at + mark.len();
            let number = |c: char| c.is_ascii_digit() || c == '-';
            let end = text[start..].find(|c| !number(c)).map_or(text.len(), |len| start + len);
            if end > start {
                found.push((kind, start..end));
            }
        }
    }
    found.sort_by_key(|(_, range)| range.start);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paired_one_to_one() {
        let mut names = Names::default();
        assert!(names.bind_texts("/r1/deploymentBase/24?c=-5", "/r1/deploymentBase/7?c=9"));
        assert_eq!(names.rewrite("http://h/x/actions/24/status and ?c=-5"), "http://h/x/actions/7/status and ?c=9");
        assert!(!names.bind(Kind::Action, "24", "8"), "24 is 7 already");
        assert!(!names.bind(Kind::Action, "25", "7"), "7 is 24 already");
        assert!(!names.bind_texts("/actions/1", "/rollouts/1"));
        assert_eq!(names.rewrite("/rollouts/24"), "/rollouts/24");
    }
}
