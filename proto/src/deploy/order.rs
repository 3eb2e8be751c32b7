//! In which order apps are started and stopped: what an app needs comes up before it and goes down after it.

use crate::AppName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What each app needs to be there first.
pub type Needs = BTreeMap<AppName, BTreeSet<AppName>>;

/// Apps that wait for one another: none of them could be the first to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Cycle(
    /// Each needs the next; the last is the first again.
    pub Vec<AppName>,
);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way: Vec<&str> = self.0.iter().map(AppName::as_str).collect();
        write!(f, "apps wait for one another: {}; take one of these dependencies out", way.join(" -> "))
    }
}

/// Gives `names` so that each comes after what it needs, also through apps that are not among them; where nothing says
/// otherwise, the order stays as it is. To stop them, go backwards.
///
/// # Errors
/// When what one of them needs needs it in turn.
pub fn needed_first(names: &[AppName], needs: &Needs) -> Result<Vec<AppName>, Cycle> {
    let mut walk = Walk { needs, done: BTreeSet::new(), path: Vec::new(), order: Vec::new() };
    names.iter().try_for_each(|name| walk.visit(name))?;
    let wanted: BTreeSet<&AppName> = names.iter().collect();
    Ok(walk.order.into_iter().filter(|name| wanted.contains(name)).collect())
}

/// A walk that goes as deep as there are apps on the way, which the journal bounds.
struct Walk<'a> {
    needs: &'a Needs,
    done: BTreeSet<AppName>,
    path: Vec<AppName>,
    order: Vec<AppName>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &AppName) -> Result<(), Cycle> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|n| n == name) {
            let back = std::iter::once(name);
            return Err(Cycle(self.path[start..].iter().chain(back).cloned().collect()));
        }
        self.path.push(name.clone());
        let needs = self.needs;
        needs.get(name).into_iter().flatten().try_for_each(|needed| self.visit(needed))?;
        self.path.pop();
        self.done.insert(name.clone());
        self.order.push(name.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<AppName> {
        text.split_whitespace().map(|n| n.parse().unwrap()).collect()
    }

    fn needs(pairs: &[(&str, &str)]) -> Needs {
        pairs.iter().map(|(name, needed)| (name.parse().unwrap(), names(needed).into_iter().collect())).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_the_rest_stays_in_its_order() {
        let needs = needs(&[("web", "db cache"), ("cache", "net")]);
        assert_eq!(needed_first(&names("z web a db cache"), &needs).unwrap(), names("z cache db web a"));
        assert_eq!(needed_first(&names("b a"), &Needs::new()).unwrap(), names("b a"));
    }

    #[test]
    fn what_is_needed_through_an_app_that_does_not_move_still_comes_first() {
        let needs = needs(&[("web", "proxy"), ("proxy", "db")]);
        assert_eq!(needed_first(&names("web db"), &needs).unwrap(), names("db web"));
    }

    #[test]
    fn a_cycle_is_spelled_out_without_what_only_leads_to_it() {
        let needs = needs(&[("first", "a"), ("a", "b"), ("b", "c"), ("c", "a")]);
        let cycle = needed_first(&names("first"), &needs).unwrap_err();
        assert_eq!(
            cycle.to_string(),
            "apps wait for one another: a -> b -> c -> a; take one of these dependencies out"
        );
        let of_itself = [(names("a").remove(0), names("a").into_iter().collect())].into();
        let own = needed_first(&names("a"), &of_itself).unwrap_err();
        assert_eq!(own, Cycle(names("a a")));
    }

    proptest! {
        #[test]
        fn an_order_holds_every_need_and_a_cycle_is_one(pairs in prop::collection::vec((0u8..8, 0u8..8), 0..16)) {
            let name = |n: u8| -> AppName { format!("a{n}").parse().unwrap() };
            let mut needs = Needs::new();
            for (from, to) in &pairs {
                needs.entry(name(*from)).or_default().insert(name(*to));
            }
            let all: Vec<AppName> = (0..8).map(name).collect();
            match needed_first(&all, &needs) {
                Ok(order) => {
                    let place = |n: &AppName| order.iter().position(|o| o == n).unwrap();
                    prop_assert_eq!(order.len(), all.len());
                    prop_assert!(needs.iter().all(|(n, on)| on.iter().all(|o| place(o) < place(n))));
                }
                Err(Cycle(way)) => {
                    prop_assert_eq!(way.first(), way.last());
                    prop_assert!(way.len() > 1 && way.windows(2).all(|w| needs[&w[0]].contains(&w[1])));
                }
            }
        }
    }
}
