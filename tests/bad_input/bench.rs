//! A site with a tiny app, to which bad things are handed.

use super::said::{Said, has, run};
use fullmetal_sim::lab::{APP_REF, ActionState, Node, Site, SiteOptions, SmallApp, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(90);

pub struct Bench {
    pub site: Site,
    pub app: SmallApp,
    /// The last release that was published, good or bad.
    pub release: u64,
    /// What the devices' app must serve.
    pub serving: u64,
    pub dir: tempfile::TempDir,
    decisions: u32,
}

impl Bench {
    /// A site whose devices run nothing yet.
    pub fn bare(devices: u8) -> Self {
        let site = Site::start(SiteOptions::of(devices)).unwrap();
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        Bench { site, app: SmallApp::new(dir.path()), release: 0, serving: 0, dir, decisions: 0 }
    }

    /// A site whose devices run release 1.
    pub fn new(devices: u8) -> Self {
        let mut bench = Bench::bare(devices);
        bench.publish();
        bench.deploys();
        bench
    }

    pub fn device(&self) -> &Node {
        &self.site.devices[0]
    }

    /// Publishes a good release.
    pub fn publish(&mut self) -> Value {
        self.publish_with(0, &[])
    }

    /// Publishes a release with `noise` bytes that do not compress.
    pub fn publish_with(&mut self, noise: usize, options: &[&str]) -> Value {
        self.release += 1;
        let tree = self.app.build_with(self.release, noise).unwrap();
        self.site.publish_tree_with(&tree, self.release, 1, options).unwrap()
    }

    /// Publishes a release signed by `key`, or by none.
    pub fn publish_signed_by(&mut self, key: Option<&Path>) -> String {
        self.release += 1;
        let tree = self.app.build(self.release).unwrap();
        let (tree, release) = (tree.to_string_lossy().into_owned(), self.release.to_string());
        let repo = self.repo();
        let mut args = vec!["publish", &tree, "--repo", &repo, "--ref", APP_REF, "--release", &release];
        args.extend(["--version", &release, "--name", "web", "--cmd", "/app/run"]);
        let key = key.map(|k| k.to_string_lossy().into_owned());
        match &key {
            Some(key) => args.extend(["--key", key]),
            None => args.push("--unsigned"),
        }
        self.fullmetal(&args).succeeds();
        self.head()
    }

    pub fn repo(&self) -> String {
        self.site.fleet.repo().to_string_lossy().into_owned()
    }

    /// The commit that the ref names at central.
    pub fn head(&self) -> String {
        let file = self.site.fleet.repo().join("refs/heads").join(APP_REF);
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// A file below `fullmetal/` at central.
    pub fn at_central(&self, folder: &str, name: &str) -> PathBuf {
        self.site.fleet.repo().join("fullmetal").join(folder).join(name)
    }

    pub fn fullmetal(&self, args: &[&str]) -> Said {
        run(&self.site.fleet.programs().fullmetal, args)
    }

    /// `fullmetal publish --commit`, as messages advise.
    pub fn frame_again(&self, commit: &str) {
        let (repo, key) = (self.repo(), self.site.fleet.keys().join("build.key"));
        let key = key.to_string_lossy();
        self.fullmetal(&["publish", "--commit", commit, "--repo", &repo, "--key", &key]).succeeds();
    }

    /// Decides that all devices take the ref, or a commit of it.
    pub fn decide(&mut self, ref_name: &str, commit: Option<&str>) -> Said {
        self.decisions += 1;
        let file = self.dir.path().join(format!("decision-{}.toml", self.decisions));
        let names: Vec<&str> = self.site.devices.iter().map(Node::name).collect();
        let commit = commit.map(|c| format!("commit = \"{c}\"\n")).unwrap_or_default();
        let text = format!("devices = {names:?}\n[[part]]\nref = \"{ref_name}\"\n{commit}");
        std::fs::write(&file, text).unwrap();
        let root = self.site.gateway.root().to_string_lossy().into_owned();
        run(&self.site.fleet.programs().gateway, &["--root", &root, "deploy", &file.to_string_lossy()])
    }

    /// Waits until a gateway that was started has its peer and has listened long enough.
    pub fn gateway_acts(&mut self) {
        wait_for("the gateway to act", LIMIT, || {
            self.site.gateway.check()?;
            let Ok(text) = self.site.gateway.gateway(&["--json", "status"]) else { return Ok(None) };
            let status: Value = serde_json::from_str(&text)?;
            Ok((status["connected"] == true && status["settled"] == true).then_some(()))
        })
        .unwrap();
    }

    /// Deploys the ref; the gateway must agree.
    pub fn deploy(&mut self) {
        self.decide(APP_REF, None).succeeds();
    }

    /// How the newest action of the first device ended.
    pub fn end(&mut self) -> ActionState {
        let first = self.device().name().to_owned();
        self.ends()[&first].clone()
    }

    fn ends(&mut self) -> BTreeMap<String, ActionState> {
        match self.site.wait_for_ends(LIMIT) {
            Ok(ends) => ends,
            Err(error) => {
                let node = self.device();
                let [agent, peer] = ["agent", "peer"].map(|p| std::fs::read_to_string(node.log(p)).unwrap_or_default());
                panic!("{error}: {:?}\n{agent}\n{peer}", self.site.gateway.newest_actions());
            }
        }
    }

    /// The newest release is deployed, everywhere, and serves.
    pub fn deploys(&mut self) {
        self.deploy();
        self.succeeds(self.release);
    }

    /// What is under way ends with `release` serving.
    pub fn succeeds(&mut self, release: u64) {
        let ends = self.ends();
        assert!(ends.values().all(|end| end.state == "succeeded"), "{ends:?}");
        self.serving = release;
        self.check();
    }

    /// The gateway refuses the ref with a message of these words, and nothing else happens.
    pub fn is_refused(&mut self, ref_name: &str, words: &[&str]) {
        self.decide(ref_name, None).fails(1, words);
        self.check();
    }

    /// The device refuses what is under way with a reason of these words.
    pub fn fails(&mut self, words: &[&str]) {
        let end = self.end();
        assert_eq!(end.state, "failed", "{end:?}");
        has(&end.reason, words);
        self.check();
    }

    /// Somebody who fetches says these words in its status: the device or the gateway's peer.
    pub fn has_trouble(&mut self, words: &[&str]) {
        let nodes = [&self.site.devices[0], &self.site.gateway];
        let mut seen = Vec::new();
        let found = wait_for("trouble in the status", LIMIT, || {
            let troubles = nodes.iter().filter_map(|n| n.status().ok());
            seen = troubles.map(|s| s["peer"]["trouble"].as_str().unwrap_or_default().to_owned()).collect();
            Ok(seen.iter().find(|t| words.iter().all(|w| t.contains(w))).cloned())
        });
        has(&found.unwrap_or_else(|e| panic!("{e}: {words:?} are in none of {seen:?}")), words);
        self.check();
    }

    /// The old app serves, nobody panicked, nothing is half-written.
    pub fn check(&self) {
        for device in &self.site.devices {
            let page = wait_for("the app", LIMIT, || Ok(self.site.page(device).ok())).unwrap();
            assert_eq!(page, format!("release {}", self.serving), "{}", device.name());
            self.site.fsck(device).unwrap();
            is_calm(device);
        }
        is_calm(&self.site.gateway);
    }
}

/// No log of the host tells of a panic, and no file is left half-written.
pub fn is_calm(node: &Node) {
    for entry in std::fs::read_dir(node.root()).unwrap().flatten().filter(|e| e.path().is_file()) {
        let log = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        assert!(!log.contains("panicked"), "{}:\n{log}", entry.path().display());
    }
}

/// Files of a device that are being written, after a moment in which they may get their names.
pub fn nothing_half_written(node: &Node) {
    let places = ["var/cache/fullmetal/tmp", "var/lib/fullmetal/journal", "var/lib/fullmetal/bundles"];
    let places = places.into_iter().chain(["var/lib/fullmetal/reports", "etc/fullmetal", "var/lib/fullmetal"]);
    let places: Vec<PathBuf> = places.map(|p| node.root().join(p)).collect();
    let mut left = Vec::new();
    let clean = wait_for("temporary files to go", Duration::from_secs(10), || {
        let files = places.iter().flat_map(|p| std::fs::read_dir(p).into_iter().flatten().flatten());
        let names = files.map(|e| e.file_name().to_string_lossy().into_owned());
        left = names.filter(|n| n.starts_with('.') || n.starts_with("draft-") || n.ends_with(".new")).collect();
        Ok(left.is_empty().then_some(()))
    });
    assert!(clean.is_ok(), "{}: {left:?}", node.name());
}
