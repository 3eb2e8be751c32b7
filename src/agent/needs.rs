//! What apps need of one another, as their checkouts say.

use super::checkouts::{entries, file_name};
use crate::config::Paths;
use crate::current;
use crate::host::UnitOptions;
use anyhow::bail;
use fullmetal_proto::deploy::order::{Cycle, Needs, needed_first};
use fullmetal_proto::deploy::{Installed, Move};
use fullmetal_proto::{AppName, Digest};
use std::collections::{BTreeMap, BTreeSet};

/// The new versions so that what is needed comes first; the other way round is how they are stopped.
///
/// Fails with the cycle spelled out when apps would wait for one another once these are in force, and with its name when
/// an app would not be there without which one of these, or of those that stay, does not run.
pub fn in_order(paths: &Paths, moves: &[Move]) -> anyhow::Result<Vec<(AppName, Installed)>> {
    let versions = after(paths, moves, |m| m.new.as_ref());
    let leaves = |app: &&AppName| moves.iter().any(|m| m.new.is_none() && m.name == **app);
    let mut needs = Needs::new();
    for (name, commit) in &versions {
        let moved = moves.iter().any(|m| m.name == *name);
        match UnitOptions::read(paths, name, commit) {
            Ok(options) => {
                if let Some(app) = options.requires.iter().find(leaves) {
                    bail!("{name} requires {app}, which this deployment removes: remove {name} too, or leave {app}");
                }
                let missing = options.requires.iter().find(|app| moved && !versions.contains_key(app));
                if let Some(app) = missing {
                    bail!("{name} requires {app}, which is neither installed nor part of this deployment: add it");
                }
                needs.insert(name.clone(), options.needs());
            }
            Err(error) if moved => return Err(error.into()),
            // What is in force was found good once; its trouble is not the new ones'.
            Err(_) => {}
        }
    }
    let version = |m: Move| Some((m.name, m.new?));
    Ok(sorted(moves, &needs)?.into_iter().filter_map(version).collect())
}

/// The apps that leave so that none of them goes before what needs it, as far as that can be known.
pub fn leaving(paths: &Paths, moves: &[Move]) -> Vec<AppName> {
    let mut names = start_order(paths, moves.iter().filter(|m| m.new.is_none()).map(|m| &m.name));
    names.reverse();
    names
}

/// The moves so that what the new versions need comes last: the order in which they are stopped. What cannot be known,
/// such as of a checkout that is damaged, does not hold a roll back up.
pub fn needed_last(paths: &Paths, moves: &[Move]) -> Vec<Move> {
    let mut moves = ordered(paths, moves, |m| m.new.as_ref());
    moves.reverse();
    moves
}

/// The moves so that what the old versions need comes first.
pub fn back_in_order(paths: &Paths, moves: &[Move]) -> Vec<Move> {
    ordered(paths, moves, |m| m.old.as_ref())
}

/// As far as it can be known, with each moved app at `version`.
fn ordered(paths: &Paths, moves: &[Move], version: fn(&Move) -> Option<&Installed>) -> Vec<Move> {
    sorted(moves, &readable(paths, &after(paths, moves, version))).unwrap_or_else(|_| moves.to_vec())
}

/// What is installed with each moved app at `version`.
fn after(paths: &Paths, moves: &[Move], version: fn(&Move) -> Option<&Installed>) -> BTreeMap<AppName, Digest> {
    let mut versions = installed(paths);
    for m in moves {
        versions.remove(&m.name);
        versions.extend(version(m).map(|version| (m.name.clone(), version.commit)));
    }
    versions
}

/// What those versions need whose checkouts say so.
fn readable(paths: &Paths, versions: &BTreeMap<AppName, Digest>) -> Needs {
    let needs = |(name, commit)| Some((AppName::clone(name), UnitOptions::read(paths, name, commit).ok()?.needs()));
    versions.iter().filter_map(needs).collect()
}

fn sorted(moves: &[Move], needs: &Needs) -> Result<Vec<Move>, Cycle> {
    let names: Vec<AppName> = moves.iter().map(|m| m.name.clone()).collect();
    let order = needed_first(&names, needs)?;
    Ok(order.iter().flat_map(|name| moves.iter().find(|m| m.name == *name)).cloned().collect())
}

/// The installed apps among these so that what is needed comes first, then those that are not installed. A cycle, which no
/// deployment brings about, and what cannot be read keep nothing from starting: their order counts for nothing then.
pub fn start_order<'a>(paths: &Paths, names: impl IntoIterator<Item = &'a AppName>) -> Vec<AppName> {
    let names: Vec<AppName> = names.into_iter().cloned().collect();
    if names.len() < 2 {
        return names;
    }
    needed_first(&names, &readable(paths, &installed(paths))).unwrap_or(names)
}

/// These apps, and all installed ones that require one of them, also over others, each with the one that it requires;
/// what is required comes first. What a person stopped stays so, and what requires it with it.
pub fn with_those_that_require<'a>(
    paths: &Paths,
    apps: impl IntoIterator<Item = &'a AppName>,
) -> Vec<(AppName, Option<AppName>)> {
    let requires = |(name, commit)| Some((AppName::clone(name), UnitOptions::read(paths, name, commit).ok()?.requires));
    let requires = installed(paths).iter().filter_map(requires).collect::<Vec<(AppName, BTreeSet<AppName>)>>();
    let mut all: BTreeMap<AppName, Option<AppName>> = apps.into_iter().map(|app| (app.clone(), None)).collect();
    let mut open: Vec<AppName> = all.keys().cloned().collect();
    while let Some(required) = open.pop() {
        for (name, of) in requires.iter().filter(|(_, of)| of.contains(&required)) {
            let stays_down = of.iter().chain([name]).any(|app| paths.stopped(app).exists());
            if !stays_down && !all.contains_key(name) {
                all.insert(name.clone(), Some(required.clone()));
                open.push(name.clone());
            }
        }
    }
    let order = start_order(paths, all.keys());
    order.into_iter().filter_map(|name| all.remove_entry(&name)).collect()
}

fn installed(paths: &Paths) -> BTreeMap<AppName, Digest> {
    let dirs = entries(&paths.apps_dir()).unwrap_or_default();
    dirs.iter().filter_map(|dir| Some((file_name(dir).parse().ok()?, current::get(dir)?.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::wire::StartOptions;
    use std::fs;

    fn version(commit: &str) -> Installed {
        let commit = Digest::of(commit.as_bytes());
        let start = StartOptions { autostart: true, job: false };
        Installed { commit, version: "1".into(), manifest: commit, start, unsigned: false }
    }

    /// A checkout of the app, with a unit file that says so.
    fn checked_out(paths: &Paths, name: &str, unit: &str) -> Move {
        let (name, new): (AppName, _) = (name.parse().unwrap(), version(unit));
        let checkout = paths.checkout(&name, &new.commit);
        fs::create_dir_all(&checkout).unwrap();
        fs::write(checkout.join("systemd.service"), unit).unwrap();
        Move { name, old: None, new: Some(new) }
    }

    fn put(paths: &Paths, app: &Move) {
        current::set(&paths.app_dir(&app.name), app.new.as_ref().unwrap()).unwrap();
    }

    /// The same, and in force.
    fn in_force(paths: &Paths, name: &str, unit: &str) -> AppName {
        let app = checked_out(paths, name, unit);
        put(paths, &app);
        app.name
    }

    fn names(moves: &[(AppName, Installed)]) -> Vec<&str> {
        moves.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn what_moves_is_ordered_also_through_what_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let [web, db] = [("web", "[Unit]\nAfter=proxy.service"), ("db", "")].map(|(n, u)| checked_out(&paths, n, u));
        let proxy = checked_out(&paths, "proxy", "[Unit]\nWants=db.service");
        assert_eq!(
            names(&in_order(&paths, &[web.clone(), db.clone()]).unwrap()),
            ["web", "db"],
            "proxy is not in force"
        );
        put(&paths, &proxy);
        assert_eq!(names(&in_order(&paths, &[web, db]).unwrap()), ["db", "web"]);
    }

    #[test]
    fn a_cycle_is_refused_also_one_that_closes_over_what_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let db = checked_out(&paths, "db", "[Unit]\nAfter=web.service");
        let web = checked_out(&paths, "web", "[Unit]\nRequires=db.service");
        put(&paths, &db);
        let told = in_order(&paths, &[web]).unwrap_err().to_string();
        assert_eq!(told, "apps wait for one another: web -> db -> web; take one of these dependencies out");
    }

    #[test]
    fn installed_apps_start_in_their_order_and_a_cycle_keeps_none_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let unit = |name, unit| in_force(&paths, name, unit);
        let apps = [
            unit("a", "[Unit]\nAfter=c.service"),
            unit("b", ""),
            unit("c", "[Unit]\nRequires=d.service"),
            unit("d", ""),
        ];
        let order: Vec<String> = start_order(&paths, &apps).iter().map(ToString::to_string).collect();
        let at = |name: &str| order.iter().position(|n| n == name).unwrap();
        assert!(order.len() == 4 && at("d") < at("c") && at("c") < at("a"), "{order:?}");
        unit("d", "[Unit]\nAfter=a.service");
        assert_eq!(start_order(&paths, &apps).len(), 4);
    }

    #[test]
    fn what_a_commit_requires_is_installed_or_comes_along() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let db = checked_out(&paths, "db", "");
        let mut web = checked_out(&paths, "web", "");
        web.new.as_mut().unwrap().commit =
            crate::installed_commit::tests::committed(&paths, "'fullmetal.requires': <['db']>");
        let told = in_order(&paths, std::slice::from_ref(&web)).unwrap_err().to_string();
        let expected = "web requires db, which is neither installed nor part of this deployment: add it";
        assert_eq!(told, expected, "a checkout that nothing names is no app");
        assert_eq!(names(&in_order(&paths, &[web.clone(), db.clone()]).unwrap()), ["db", "web"]);
        put(&paths, &db);
        assert_eq!(names(&in_order(&paths, &[web]).unwrap()), ["web"]);
    }

    #[test]
    fn who_requires_an_app_is_found_also_over_others() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let unit = |name, unit| in_force(&paths, name, unit);
        let db = unit("db", "");
        unit("web", "[Unit]\nRequires=db.service");
        unit("top", "[Unit]\nRequires=web.service");
        unit("other", "[Unit]\nWants=db.service");
        let found = || {
            let found = with_those_that_require(&paths, [&db]);
            let told = |(name, of): &(AppName, Option<AppName>)| match of {
                Some(of) => format!("{name} requires {of}"),
                None => name.to_string(),
            };
            found.iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(found(), ["db", "web requires db", "top requires web"]);
        let web = paths.stopped(&"web".parse().unwrap());
        fs::create_dir_all(web.parent().unwrap()).unwrap();
        fs::write(web, "").unwrap();
        unit("both", "[Unit]\nRequires=db.service web.service");
        assert_eq!(found(), ["db"], "what requires an app that a person stopped would start it");
    }

    fn leaves(app: &AppName) -> Move {
        Move { name: app.clone(), old: Some(version(app.as_str())), new: None }
    }

    #[test]
    fn what_stays_or_comes_keeps_what_it_requires_and_may_lose_what_it_only_wants() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let [db, cache] = ["db", "cache"].map(|name| in_force(&paths, name, ""));
        let web = in_force(&paths, "web", "[Unit]\nRequires=db.service\nWants=cache.service");
        let told = in_order(&paths, &[leaves(&db)]).unwrap_err().to_string();
        assert_eq!(told, "web requires db, which this deployment removes: remove web too, or leave db");
        let again = checked_out(&paths, "web", "[Unit]\nRequires=db.service\n[Service]\nRestart=no");
        assert_eq!(in_order(&paths, &[again, leaves(&db)]).unwrap_err().to_string(), told);
        assert!(in_order(&paths, &[leaves(&cache)]).unwrap().is_empty());
        let without = checked_out(&paths, "web", "[Unit]\nAfter=db.service");
        assert_eq!(names(&in_order(&paths, &[without, leaves(&db)]).unwrap()), ["web"]);
        let all = [leaves(&db), leaves(&cache), leaves(&web)];
        assert!(in_order(&paths, &all).unwrap().is_empty());
        assert_eq!(leaving(&paths, &all)[0], web, "what needs the others goes first");
    }
}
