//! A site with devices whose root is an OSTree deployment, and with decisions that are taken at Hawkbit.

use crate::bench::{Bench, Host};
use crate::{LIMIT, check};
use fullmetal_sim::lab::device::Version;
use fullmetal_sim::lab::{Operator, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::SystemTime;

const HEALTH: &str = r#"["/bin/sh","-c","wget -q -O /dev/null http://127.0.0.1:$(cat /data/port)/"]"#;
/// As Hawkbit calls the set of an operating system and the app.
const WHOLE: &str = "floor";

pub struct Steered {
    pub bench: Bench,
    pub operator: Operator,
    /// Hawkbit's sets, by release.
    pub sets: BTreeMap<u64, u64>,
    /// What was decided for each device: action and the word that Hawkbit has for its end.
    pub decided: BTreeMap<String, Vec<(u64, &'static str)>>,
    /// When the end of each device's newest action was found at Hawkbit.
    pub told: BTreeMap<String, SystemTime>,
}

impl Steered {
    /// Three devices, known to Hawkbit, that run release 1 of their operating system and no app.
    pub fn begins() -> Self {
        let mut operator = None;
        let mut bench = Bench::new(3, |gateway| {
            let here = Operator::at(None, gateway.root()).unwrap();
            here.steer(gateway, "press-*").unwrap();
            operator = Some(here);
        });
        bench.boot_deployed();
        let names: Vec<String> = bench.hosts.iter().map(|h| h.name.clone()).collect();
        let operator = operator.unwrap();
        operator.knows(&names).unwrap();
        Steered { bench, operator, sets: BTreeMap::new(), decided: BTreeMap::new(), told: BTreeMap::new() }
    }

    pub fn publish(&mut self, release: u64) {
        self.publish_into("web", release);
    }

    /// A release of the operating system and one of the app, in one set.
    pub fn publish_with_system(&mut self, release: u64, files: &[(&str, &str, u32)]) {
        let options = self.operator.publish_options("lab", WHOLE);
        let version = Version { release, files, options: &options, ..Version::default() };
        self.bench.fleet.publish_system(&version).unwrap();
        self.publish_into(WHOLE, release);
    }

    fn publish_into(&mut self, set: &str, release: u64) {
        let known = self.operator.publish_options("web", set);
        let mut more = vec!["--health", HEALTH, "--probation", "2"];
        more.extend(known.iter().map(String::as_str));
        let tree = self.bench.dir.path().join("tree-web");
        let tree = crate::apps::build(&tree, release, None);
        let published = self.bench.publish_tree("web", release, &tree, &more);
        self.sets.insert(release, published["hawkbit"]["set"].as_u64().unwrap());
    }

    /// An operator's decision, and how it should end on each.
    pub fn assign(&mut self, release: u64, to: &[(&str, &'static str)]) {
        let names: Vec<String> = to.iter().map(|(name, _)| (*name).to_owned()).collect();
        let actions = self.operator.assign(self.sets[&release], &names).unwrap();
        for (name, end) in to {
            self.decided.entry((*name).to_owned()).or_default().push((actions[*name], end));
        }
    }

    /// Waits until Hawkbit has the ends of these devices' newest actions, while devices reboot as they like.
    pub fn are_told(&mut self, devices: &[&str]) {
        self.told.retain(|device, _| !devices.contains(&device.as_str()));
        wait_for(&format!("Hawkbit hears of {devices:?}"), LIMIT, || {
            self.bench.gateway.check()?;
            self.bench.follow()?;
            for device in devices.iter().filter(|device| !self.told.contains_key(**device)).collect::<Vec<_>>() {
                let (action, end) = *self.decided[*device].last().unwrap();
                if self.operator.history(device, action)?.iter().any(|entry| entry.kind == end) {
                    self.told.insert((*device).to_owned(), SystemTime::now());
                }
            }
            Ok(devices.iter().all(|device| self.told.contains_key(*device)).then_some(()))
        })
        .unwrap();
    }

    /// What Hawkbit was told of a device's newest action, all in one.
    pub fn words(&self, device: &str) -> String {
        let (action, _) = *self.decided[device].last().unwrap();
        let history = self.operator.history(device, action).unwrap();
        history.into_iter().flat_map(|entry| entry.messages).collect::<Vec<_>>().join("; ")
    }

    /// The device's own report of the end of its newest action.
    pub fn end_report(&self, device: &str) -> Value {
        let (action, _) = *self.decided[device].last().unwrap();
        self.bench.end_report(device, action)
    }

    pub fn was_told(&self, device: &str, all: &[&str]) {
        let told = self.words(device);
        for words in all {
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
    }

    pub fn host(&self, number: usize) -> &Host {
        &self.bench.hosts[number - 1]
    }

    /// All that the devices have and have told is true.
    pub fn check(&self, expected: &[(usize, &str)]) {
        for (number, page) in expected {
            let host = self.host(*number);
            assert_eq!(host.page(8080), *page, "{}", host.name);
            check::as_its_journal_says(host);
            let word = |end: &str| if end == "finished" { "succeeded" } else { "failed" };
            let told: Vec<(u64, &str)> = self.decided[&host.name].iter().map(|(a, end)| (*a, word(end))).collect();
            check::was_told_truly(&self.bench, host, &told);
            for (action, end) in &self.decided[&host.name] {
                let history = self.operator.history(&host.name, *action).unwrap();
                let ends = history.iter().filter(|e| ["finished", "error"].contains(&e.kind.as_str()));
                assert_eq!(ends.map(|e| e.kind.as_str()).collect::<Vec<_>>(), [*end], "{} {action}", host.name);
            }
        }
    }

    /// Which releases of the operating system run, none of them on trial.
    pub fn check_systems(&self, expected: [u64; 3]) {
        let hosts = self.bench.hosts.iter();
        let run: Vec<_> = hosts.map(|host| (host.name.clone(), host.system(), host.on_trial())).collect();
        assert_eq!(run.iter().map(|(_, release, _)| *release).collect::<Vec<_>>(), expected, "{run:?}");
        assert!(run.iter().all(|(.., trial)| trial.is_none()), "{run:?}");
    }
}
