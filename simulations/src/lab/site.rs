//! A whole site in network namespaces: central beyond a WAN, a gateway, devices on a LAN.

use super::net::{Net, WAN};
use super::wait_for;
use super::{ActionState, Central, DemoApp, Fleet, Node, Programs, Release, output_of, pull_with_ostree};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The app.
pub const APP: &str = "web";
/// Its ref.
pub const APP_REF: &str = "apps/web/x86_64";
/// The port of the app; each device has its own namespace.
const PORT: &str = "8080";

/// What differs from site to site.
#[derive(Clone, Copy, Debug)]
pub struct SiteOptions {
    /// How many devices.
    pub devices: u8,
    /// Whether devices reach the WAN, or the gateway alone.
    pub devices_reach_wan: bool,
    /// Rate of the uplink in Mbit/s.
    pub wan_mbit: Option<u32>,
    /// Central is a plain repo: what is published arrives there as `ostree pull-local` copies it.
    pub plain: bool,
    /// Refs of which the fleet takes unsigned commits.
    pub unsigned: &'static [&'static str],
}

impl SiteOptions {
    /// Devices that reach a central repo of frames over an uplink that nothing slows down.
    pub const fn of(devices: u8) -> Self {
        SiteOptions { devices, devices_reach_wan: true, wan_mbit: None, plain: false, unsigned: &[] }
    }
}

/// A running site.
#[derive(Debug)]
pub struct Site {
    /// The devices, `press-1` and so on.
    pub devices: Vec<Node>,
    /// The gateway.
    pub gateway: Node,
    /// The web server beyond the WAN.
    pub central: Central,
    /// Keys and central repo.
    pub fleet: Fleet,
    /// The namespaces.
    pub net: Net,
    app: DemoApp,
    plain: bool,
    decisions: u32,
    // Last: everything above lives in it.
    dir: tempfile::TempDir,
}

impl Drop for Site {
    /// A test that failed leaves its logs.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("logs and state of the site are in {}", self.dir.path().display());
        }
    }
}

impl Site {
    /// Sets everything up and starts gateway and devices.
    pub fn start(options: SiteOptions) -> anyhow::Result<Self> {
        super::on_interrupt()?;
        let dir = tempfile::Builder::new().prefix("fullmetal-site-").tempdir_in("/var/tmp")?;
        let fleet = Fleet::that_allows(&Programs::find(None)?, dir.path(), "test-plant", options.unsigned)?;
        std::fs::create_dir_all(fleet.repo())?;
        if options.plain {
            fleet.make_plain_repo()?;
        }
        let repo = if options.plain { fleet.plain_repo() } else { fleet.repo() };
        let mut net = Net::new()?;
        net.host("central", 2, false, true)?;
        net.host("probe", 3, false, true)?;
        net.host("gateway", 4, true, true)?;
        let address: SocketAddr = "10.98.0.2:80".parse()?;
        let central = Central::start(&dir.path().join("nginx"), &repo, address, Some(&net.netns("central")))?;
        if let Some(mbit) = options.wan_mbit {
            net.limit("central", WAN, u64::from(mbit) * 125_000)?;
        }
        let gateway = Self::gateway(&fleet, &net, &central)?;
        let app = DemoApp::prepare()?;
        let devices = Vec::new();
        let (plain, decisions) = (options.plain, 0);
        let mut site = Site { devices, gateway, central, fleet, net, app, plain, decisions, dir };
        for i in 1..=options.devices {
            site.add_device(i, options.devices_reach_wan)?;
        }
        for device in &mut site.devices {
            wait_for("neighbours", Duration::from_secs(30), || {
                device.check()?;
                let status = device.status()?;
                Ok(status["peer"]["neighbours"].as_array().is_some_and(|n| !n.is_empty()).then_some(()))
            })
            .with_context(|| device.name().to_owned())?;
        }
        Ok(site)
    }

    fn gateway(fleet: &Fleet, net: &Net, central: &Central) -> anyhow::Result<Node> {
        let mut gateway = fleet.enroll("gateway", &net.options("gateway", Some(central.url()))?)?;
        std::fs::copy(fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key"))?;
        gateway.start_peer()?;
        gateway.start_gateway()?;
        Ok(gateway)
    }

    fn add_device(&mut self, number: u8, wan: bool) -> anyhow::Result<()> {
        let name = format!("press-{number}");
        self.net.host(&name, 10 + number, true, wan)?;
        let central = wan.then(|| self.central.url());
        let mut device = self.fleet.enroll(&name, &self.net.options(&name, central)?)?;
        device.write_data(APP, "port", PORT)?;
        device.write_data(APP, "recipe", "two eggs\n")?;
        device.start_peer()?;
        device.start_agent()?;
        self.devices.push(device);
        Ok(())
    }

    /// Builds and publishes a release.
    pub fn publish(&self, release: Release) -> anyhow::Result<Value> {
        let tree = self.dir.path().join(format!("tree-{}", release.number()));
        self.app.build(release, &tree)?;
        self.publish_tree(&tree, release.number(), 2)
    }

    /// Publishes a root file system whose `/app/run` serves HTTP on the port in `/data/port`.
    pub fn publish_tree(&self, tree: &Path, number: u64, probation_s: u32) -> anyhow::Result<Value> {
        self.publish_tree_with(tree, number, probation_s, &[])
    }

    /// The same with more options of `fullmetal publish`.
    pub fn publish_tree_with(
        &self,
        tree: &Path,
        number: u64,
        probation_s: u32,
        options: &[&str],
    ) -> anyhow::Result<Value> {
        let health = r#"["/bin/sh","-c","wget -q -O /dev/null http://127.0.0.1:$(cat /data/port)/"]"#;
        let probation = probation_s.to_string();
        let mut more = vec!["--name", APP, "--cmd", "/app/run", "--health", health, "--probation", &probation];
        more.extend(options);
        let published = self.fleet.publish(tree, APP_REF, number, &more)?;
        if self.plain {
            self.fleet.mirror_plainly(APP_REF)?;
        }
        Ok(published)
    }

    /// Commits a directory to the plain repo as others do: unsigned, bound to nothing.
    pub fn commit_foreign(&self, tree: &Path, ref_name: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ostree");
        command.arg("commit").arg(format!("--repo={}", self.fleet.plain_repo().display()));
        command.args(["--no-bindings", "-b", ref_name]).arg(format!("--tree=dir={}", tree.display()));
        output_of(&mut command).map(|_| ())
    }

    /// Bytes at central's WAN interface for a cold `ostree pull` by one host: one copy.
    pub fn one_copy(&self) -> anyhow::Result<u64> {
        self.one_copy_of(APP_REF)
    }

    /// The same of another ref.
    pub fn one_copy_of(&self, ref_name: &str) -> anyhow::Result<u64> {
        let before = self.net.sent_by("central")?;
        let repo = self.dir.path().join(format!("probe-{}", self.decisions));
        pull_with_ostree(&repo, &self.central.url(), ref_name, Some(&self.net.netns("probe")))?;
        Ok(self.net.sent_by("central")? - before)
    }

    /// Decides for all devices that they take what the ref names now.
    pub fn deploy(&mut self) -> anyhow::Result<()> {
        self.deploy_ref(APP_REF)
    }

    /// The same for another ref.
    pub fn deploy_ref(&mut self, ref_name: &str) -> anyhow::Result<()> {
        self.decisions += 1;
        let file = self.dir.path().join(format!("decision-{}.toml", self.decisions));
        let names: Vec<&str> = self.devices.iter().map(Node::name).collect();
        std::fs::write(&file, format!("devices = {names:?}\nmode = \"now\"\n[[part]]\nref = \"{ref_name}\"\n"))?;
        self.gateway.gateway(&["deploy", &file.to_string_lossy()]).map(|_| ())
    }

    /// Waits until the newest action of every device has ended.
    pub fn wait_for_ends(&mut self, limit: Duration) -> anyhow::Result<BTreeMap<String, ActionState>> {
        let count = self.devices.len();
        wait_for("the ends of all actions", limit, || {
            self.gateway.check()?;
            self.devices.iter_mut().try_for_each(Node::check)?;
            let actions = self.gateway.newest_actions()?;
            Ok((actions.len() == count && actions.values().all(ActionState::has_ended)).then_some(actions))
        })
    }

    /// What the app of a device serves.
    pub fn page(&self, device: &Node) -> anyhow::Result<String> {
        let net = format!("--net=/run/netns/{}", self.net.netns(device.name()));
        let url = format!("http://127.0.0.1:{PORT}/");
        let page = output_of(Command::new("nsenter").args([&net, "busybox", "wget", "-q", "-O", "-", &url]))?;
        Ok(page.trim_end().to_owned())
    }

    /// Checks a device's object store with ostree's own fsck.
    pub fn fsck(&self, device: &Node) -> anyhow::Result<()> {
        let repo = device.root().join("var/lib/fullmetal/repo");
        let said = output_of(Command::new("ostree").arg("fsck").arg(format!("--repo={}", repo.display())))?;
        ensure!(!said.contains("partial"), "{}: {said}", device.name());
        Ok(())
    }
}
