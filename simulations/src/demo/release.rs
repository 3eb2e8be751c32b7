//! One release: published, decided, awaited, asked for over HTTP, and read back from Hawkbit.

use super::story::{APP, Decided, Stage, get};
use super::tell::mb;
use crate::lab::{ActionState, DemoApp, Entry, Release, pull_with_ostree, wait_for};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const REF: &str = "apps/web/x86_64";
/// How long one release may take on all devices.
const RELEASE_S_MAX: u64 = 60;

/// How a release ends on a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Runs,
    RollsBack,
}

impl Stage<'_> {
    pub(super) fn publish(&mut self, app: &DemoApp, release: Release) -> anyhow::Result<()> {
        let number = release.number();
        self.teller.chapter(&format!("Release {number} is built from Debian packages and published"));
        let tree = self.fleet.dir().join(format!("tree-{number}"));
        app.build(release, &tree)?;
        let health = r#"["/bin/sh","-c","wget -q -O /dev/null http://127.0.0.1:$(cat /data/port)/"]"#;
        let mut more = vec!["--name", APP, "--cmd", "/app/run", "--health", health, "--probation", "3"];
        let known = self.operator.publish_options(APP, APP);
        more.extend(known.iter().map(String::as_str));
        let published = self.fleet.publish(&tree, REF, number, &more)?;
        if self.plain {
            self.fleet.mirror_plainly(REF)?;
        }
        self.teller.line(&format!("{REF} is commit {}", published["commit"].as_str().unwrap_or("?")));
        let (module, set) = (&published["hawkbit"]["module"], &published["hawkbit"]["set"]);
        self.teller.line(&format!("Hawkbit has it as software module {module} in distribution set {set}"));
        self.sets.insert(number, set.as_u64().context("publish made no distribution set")?);
        let before = self.central.bytes_sent();
        pull_with_ostree(&self.fleet.dir().join("one-device"), &self.central.url(), REF, None)?;
        let one = self.central.bytes_sent() - before;
        self.one_device += one;
        self.sent += one;
        self.teller.line(&format!("`ostree pull` by one device costs {} from central: that is one copy", mb(one)));
        Ok(())
    }

    /// Assigns a release and waits until those that are on have ended it.
    pub(super) fn release(
        &mut self,
        release: Release,
        to: &[String],
        expected: impl Fn(&str) -> Expected,
    ) -> anyhow::Result<()> {
        let (number, on) = (release.number(), self.devices.len());
        let words =
            format!("An operator assigns release {number} to {} devices in Hawkbit; {on} of them are on", to.len());
        self.teller.chapter(&words);
        let start = Instant::now();
        let sent = self.central.bytes_sent();
        let actions = self.operator.assign(self.sets[&number], to)?;
        for (device, action) in &actions {
            let end = if expected(device) == Expected::Runs { "finished" } else { "error" };
            self.decided.push(Decided { device: device.clone(), action: *action, release: number, end });
        }
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        let mut open: Vec<String> = self.devices.keys().cloned().collect();
        wait_for(&format!("release {number}"), Duration::from_secs(RELEASE_S_MAX), || {
            self.check()?;
            let states = self.gateway.newest_actions()?;
            for name in open.clone() {
                let Some(now) = states.get(&name).filter(|s| s.action == actions[&name] && !s.state.is_empty()) else {
                    continue;
                };
                let ActionState { state, reason, .. } = now;
                if told.insert(name.clone(), state.clone()).as_ref() != Some(state) {
                    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                    self.teller.line(&format!("{name} {state}{because}"));
                }
                if now.has_ended() {
                    self.ended(&name, state, expected(&name), start)?;
                    open.retain(|n| *n != name);
                }
            }
            Ok(open.is_empty().then_some(()))
        })?;
        self.teller.line(&format!("central sent {} for it", mb(self.central.bytes_sent() - sent)));
        self.ask_apps(release, &expected)
    }

    fn ended(&mut self, name: &str, state: &str, expected: Expected, start: Instant) -> anyhow::Result<()> {
        let should = if expected == Expected::Runs { "succeeded" } else { "failed" };
        ensure!(state == should, "{name} {state}, but it should have {should}");
        let Some(device) = self.devices.get_mut(name) else { bail!("{name} is unknown") };
        device.seconds.push(start.elapsed().as_secs_f64());
        device.state = if expected == Expected::Runs { "proven".into() } else { "rolled back".into() };
        Ok(())
    }

    /// What counts in the end is what the apps say.
    fn ask_apps(&mut self, release: Release, expected: &impl Fn(&str) -> Expected) -> anyhow::Result<()> {
        for (name, device) in &self.devices {
            let number = if expected(name) == Expected::Runs { release.number() } else { release.number() - 1 };
            let page = get(device.port).with_context(|| format!("asking the app of {name}"))?;
            ensure!(page == format!("release {number}"), "the app of {name} says {page:?}, not release {number}");
        }
        let wrong = self.devices.keys().filter(|n| expected(n) == Expected::RollsBack).count();
        let all = self.devices.len() - wrong;
        let old = if wrong == 0 { String::new() } else { format!(", {wrong} still serve the release before") };
        self.teller.line(&format!("asked over HTTP: {all} apps serve release {}{old}", release.number()));
        Ok(())
    }

    /// Reads back what Hawkbit's operators see, and compares it with what happened.
    pub(super) fn histories(&self) -> anyhow::Result<()> {
        self.teller.chapter("The histories that Hawkbit shows of all actions");
        for Decided { device, action, release, end } in &self.decided {
            let history = self.operator.history(device, *action)?;
            let of_end = |e: &&Entry| matches!(e.kind.as_str(), "finished" | "error");
            let ends: Vec<&Entry> = history.iter().filter(of_end).collect();
            let [Entry { kind, messages }] = ends[..] else {
                bail!("action {action} of {device} has {} ends in Hawkbit, not one", ends.len());
            };
            ensure!(kind == end, "action {action} of {device} is {kind} in Hawkbit, not {end}");
            let said = messages.join("; ");
            let reason = messages.iter().find(|m| m.starts_with("succeeded") || m.starts_with("failed"));
            let reason = reason.with_context(|| format!("action {action} does not say how it ended: {said}"))?;
            let steps = history.len();
            self.teller
                .line(&format!("{device} release {release}, action {action}: {end} after {steps} entries, {reason}"));
            let told = end == &"finished" || ["status 3", "/data/recipe is missing"].iter().all(|w| said.contains(w));
            ensure!(told, "action {action} of {device} lacks the app's exit status or last line: {said}");
        }
        Ok(())
    }
}
