//! The demo's story with Hawkbit's decisions, on devices whose agent, peer and apps are units.

use crate::bench::{Bench, Host};
use crate::{LIMIT, check, said};
use fullmetal_sim::lab::{Operator, Usage, wait_for};
use std::collections::BTreeMap;
use std::fs;

const HEALTH: &str = r#"["/bin/sh","-c","wget -q -O /dev/null http://127.0.0.1:$(cat /data/port)/"]"#;

pub struct Story {
    pub bench: Bench,
    pub operator: Operator,
    /// Hawkbit's sets, by release.
    pub sets: BTreeMap<u64, u64>,
    /// What was decided for each device: action and the word that Hawkbit has for its end.
    pub decided: BTreeMap<String, Vec<(u64, &'static str)>>,
}

impl Story {
    fn publish(&mut self, release: u64) {
        let known = self.operator.publish_options("web");
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

    /// Waits until Hawkbit has the end of a device's newest action.
    pub fn is_told(&mut self, device: &str) {
        let (action, end) = *self.decided[device].last().unwrap();
        wait_for(&format!("Hawkbit hears of {device}"), LIMIT, || {
            self.bench.gateway.check()?;
            let history = self.operator.history(device, action)?;
            Ok(history.iter().any(|entry| entry.kind == end).then_some(()))
        })
        .unwrap();
    }

    /// What Hawkbit was told of a device's newest action, all in one.
    pub fn words(&self, device: &str) -> String {
        let (action, _) = *self.decided[device].last().unwrap();
        let history = self.operator.history(device, action).unwrap();
        history.into_iter().flat_map(|entry| entry.messages).collect::<Vec<_>>().join("; ")
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
}

/// What agent and peer cost when nothing is to be done, and how long the last switch took.
fn tell_figures(host: &Host) {
    let line = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
    for program in ["fullmetal agent", "fullmetal peer"] {
        let pids = host.device.processes().unwrap();
        let pid = pids.into_iter().find(|pid| line(*pid).contains(program)).unwrap();
        println!("{}: {program} {:?}", host.name, Usage::of(pid).unwrap());
    }
    if let (Some(ended), Some(started)) = (host.last("Stopped", "web"), host.last("Started", "web")) {
        println!("{}: from the end of the old version to the start of the new one {:.2} s", host.name, started - ended);
    }
}

#[test]
fn three_devices_with_systemd_go_through_the_demos_story() {
    let mut operator = None;
    let mut bench = Bench::new(3, |gateway| {
        let here = Operator::at(None, gateway.root()).unwrap();
        here.steer(gateway, "press-*").unwrap();
        operator = Some(here);
    });
    bench.hosts.iter_mut().for_each(|host| host.device.boot().unwrap());
    let names: Vec<String> = bench.hosts.iter().map(|h| h.name.clone()).collect();
    let operator = operator.unwrap();
    operator.knows(&names).unwrap();
    let mut story = Story { bench, operator, sets: BTreeMap::new(), decided: BTreeMap::new() };
    story.publish(1);
    story.assign(1, &[("press-1", "finished"), ("press-2", "finished")]);
    ["press-1", "press-2"].iter().for_each(|name| story.is_told(name));
    story.check(&[(1, "release 1"), (2, "release 1")]);

    // One fails with it, one is off when it comes.
    story.bench.hosts[2].device.switch_off().unwrap();
    story.host(2).set("web", "fail-2");
    story.publish(2);
    story.assign(2, &[("press-1", "finished"), ("press-2", "error"), ("press-3", "finished")]);
    ["press-1", "press-2"].iter().for_each(|name| story.is_told(name));
    story.check(&[(1, "release 2"), (2, "release 1")]);
    let said = story.words("press-2");
    for words in ["status 3", "/data/fail-2 is there"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }

    // It catches up from its neighbours.
    story.bench.gateway.end();
    story.bench.central.end();
    story.bench.hosts[2].device.boot().unwrap();
    assert_eq!(story.host(3).page(8080), "release 2");
    let peer = story.host(3).status()["peer"].clone();
    assert_eq!(peer["bytes_from_central"], 0, "{peer}");
    assert!(peer["bytes_from_peers"].as_u64().unwrap() > 0, "{peer}");

    story.bench.central.restart(fullmetal_sim::lab::Answers::Well).unwrap();
    story.bench.gateway.start_peer().unwrap();
    story.bench.gateway.start_gateway().unwrap();
    story.is_told("press-3");
    story.host(2).unset("web", "fail-2");
    story.publish(3);
    story.assign(3, &["press-1", "press-2", "press-3"].map(|name| (name, "finished")));
    names.iter().for_each(|name| story.is_told(name));
    story.check(&[(1, "release 3"), (2, "release 3"), (3, "release 3")]);
    story.bench.hosts.iter().for_each(tell_figures);
    said::what_is_said_on_the_notify_socket_decides(&mut story);
}
