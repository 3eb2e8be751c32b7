//! The valid name that somebody most likely meant.

/// Differences from which on a name is another name, not a slip.
const DISTANCE_MAX: usize = 3;

/// The nearest of `names`, when it is near enough.
pub(super) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = names.into_iter().map(|name| (distance(given, name), name)).min()?;
    (distance <= DISTANCE_MAX && distance < name.chars().count().max(2)).then_some(name)
}

/// How many letters must be put in, left out or replaced (Levenshtein, 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_something_else_does_not() {
        let names = ["uplink", "port", "latency"];
        assert_eq!(nearest("upling", names), Some("uplink"));
        assert_eq!(nearest("ports", names), Some("port"));
        assert_eq!(nearest("bandwidth", names), None);
    }
}
