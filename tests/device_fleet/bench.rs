//! A site whose devices have a real systemd: central beyond a WAN, a gateway, devices on a LAN.

use super::{LIMIT, apps, check};
use fullmetal::config::Paths;
use fullmetal::journal;
use fullmetal_proto::deploy::{Phase, Record};
use fullmetal_sim::lab::device::Device;
use fullmetal_sim::lab::net::Net;
use fullmetal_sim::lab::{ActionState, Central, Fleet, Node, Programs, wait_for};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a device has for its state: as much as must stay free, and some.
const DISK_MIB: u64 = 192;

/// One device and its name.
pub struct Host {
    pub name: String,
    pub device: Device,
}

pub struct Bench {
    pub hosts: Vec<Host>,
    pub gateway: Node,
    pub central: Central,
    pub fleet: Fleet,
    pub net: Net,
    /// How many decisions files have said, which is the number of the newest action.
    pub decisions: u64,
    /// The newest release of the app `web`.
    pub release: u64,
    /// How the first device's actions should have ended.
    pub ended: Vec<(u64, &'static str)>,
    // Last: everything above lives in it.
    pub dir: tempfile::TempDir,
}

impl Drop for Bench {
    /// A test that failed leaves what the devices' programs said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in &self.hosts {
                let said = host.device.run(&["journalctl", "-b", "--no-pager", "-o", "short-monotonic", "-n", "40"]);
                eprintln!("---- {}\n{}", host.name, said.unwrap_or_else(|e| e.to_string()));
            }
            self.dir.disable_cleanup(true);
            eprintln!("logs of gateway and central are in {}", self.dir.path().display());
        }
    }
}

impl Bench {
    /// Devices that are off; the gateway runs, after `steered` had its way with it.
    pub fn new(devices: u8, steered: impl FnOnce(&Node)) -> Self {
        fullmetal_sim::lab::on_interrupt().unwrap();
        let dir = tempfile::Builder::new().prefix("fullmetal-devices-").tempdir_in("/var/tmp").unwrap();
        let fleet = Fleet::new(&Programs::find(None).unwrap(), dir.path(), "test-plant").unwrap();
        fs::create_dir_all(fleet.repo()).unwrap();
        let mut net = Net::new().unwrap();
        net.host("central", 2, false, true).unwrap();
        net.host("gateway", 4, true, true).unwrap();
        // This thread and the programs that it starts live where the gateway does, and so does Hawkbit's stand-in.
        fullmetal_sim::lab::net::enter(&net.netns("gateway")).unwrap();
        let address = "10.98.0.2:80".parse().unwrap();
        let central =
            Central::start(&dir.path().join("nginx"), &fleet.repo(), address, Some(&net.netns("central"))).unwrap();
        let mut gateway = fleet.enroll("gateway", &net.options("gateway", Some(central.url())).unwrap()).unwrap();
        fs::copy(fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key")).unwrap();
        steered(&gateway);
        gateway.start_peer().unwrap();
        gateway.start_gateway().unwrap();
        let mut hosts = Vec::new();
        for number in 1..=devices {
            let name = format!("press-{number}");
            net.host(&name, 10 + number, true, true).unwrap();
            let mut device = Device::installed(&fleet, &net, &name, Some(&central.url())).unwrap();
            device.write("/var/lib/fullmetal/data/web/port", b"8080").unwrap();
            device.write("/var/lib/fullmetal/data/db/port", b"8081").unwrap();
            device.give_disk(DISK_MIB).unwrap();
            hosts.push(Host { name, device });
        }
        Bench { hosts, gateway, central, fleet, net, decisions: 0, release: 0, ended: Vec::new(), dir }
    }

    /// Publishes a release of an app; `ready`: one that says itself when it is.
    pub fn publish(&self, app: &str, release: u64, ready: bool, more: &[&str]) {
        let device = Some(&self.hosts[0].device).filter(|_| ready);
        let tree = apps::build(&self.dir.path().join(format!("tree-{app}")), release, device);
        let ready = ["--notify", "--start-timeout", "20"].iter().filter(|_| ready);
        self.publish_tree(app, release, &tree, &ready.chain(more).copied().collect::<Vec<_>>());
    }

    pub fn publish_tree(&self, app: &str, release: u64, tree: &Path, more: &[&str]) -> Value {
        let options = [&["--name", app, "--cmd", "/app/run"], more].concat();
        self.fleet.publish(tree, &format!("apps/{app}/x86_64"), release, &options).unwrap()
    }

    /// Publishes the next release of `web`, which says itself when it is ready; its number.
    pub fn next(&mut self, probation_s: &str) -> u64 {
        self.release += 1;
        self.publish("web", self.release, true, &["--probation", probation_s]);
        self.release
    }

    /// The same with as many bytes that do not compress.
    pub fn next_with(&mut self, noise: usize) -> u64 {
        self.release += 1;
        let device = Some(&self.hosts[0].device);
        let tree = apps::build(&self.dir.path().join("tree-web"), self.release, device);
        fs::write(tree.join("noise"), apps::noise(self.release, noise)).unwrap();
        self.publish_tree("web", self.release, &tree, &["--probation", "1", "--notify", "--start-timeout", "20"]);
        self.release
    }

    /// Decides by a file that all devices take what the refs of these apps name now; gives the action.
    pub fn decide(&mut self, apps: &[&str]) -> u64 {
        self.decide_in("now", apps)
    }

    /// The same in another mode.
    pub fn decide_in(&mut self, mode: &str, apps: &[&str]) -> u64 {
        self.decide_that(mode, apps, &[])
    }

    /// The same, and that other apps leave.
    pub fn decide_that(&mut self, mode: &str, apps: &[&str], leave: &[&str]) -> u64 {
        let parts: String = apps.iter().map(|app| format!("[[part]]\nref = \"apps/{app}/x86_64\"\n")).collect();
        self.decide_parts(mode, &parts, leave)
    }

    /// The same, with the tables of a decision file's parts.
    pub fn decide_parts(&mut self, mode: &str, parts: &str, leave: &[&str]) -> u64 {
        self.decisions += 1;
        let file = self.dir.path().join(format!("decision-{}.toml", self.decisions));
        let names: Vec<&str> = self.hosts.iter().map(|h| h.name.as_str()).collect();
        fs::write(&file, format!("devices = {names:?}\nmode = {mode:?}\nremove = {leave:?}\n{parts}")).unwrap();
        self.gateway.gateway(&["deploy", &file.to_string_lossy()]).unwrap();
        self.decisions
    }

    pub fn host(&self) -> &Host {
        &self.hosts[0]
    }

    /// The first device runs a first release.
    pub fn settled(devices: u8) -> Self {
        let mut bench = Bench::new(devices, |_| {});
        for host in &mut bench.hosts {
            host.device.boots_halfway();
            host.device.boot().unwrap();
        }
        bench.next("1");
        let action = bench.decide(&["web"]);
        bench.ends(action, "succeeded");
        bench
    }

    /// Waits for the end of an action of the first device, and sees to it that all is as it should be then; gives why
    /// it ended so.
    pub fn ends(&mut self, action: u64, state: &'static str) -> String {
        let end = self.end_of(action);
        assert_eq!(end.state, state, "action {action}: {end:?}");
        self.ended.push((action, state));
        check::as_its_journal_says(self.host());
        check::was_told_truly(self, self.host(), &self.ended);
        end.reason
    }

    /// The same, and what the app serves then.
    pub fn ends_with(&mut self, action: u64, state: &'static str, release: u64) -> String {
        let reason = self.ends(action, state);
        assert_eq!(self.host().page(8080), format!("release {release}"));
        reason
    }

    /// Waits for the end of an action of the first device, while devices reboot as they like.
    pub fn end_of(&mut self, action: u64) -> ActionState {
        let name = self.hosts[0].name.clone();
        wait_for(&format!("the end of action {action}"), LIMIT, || {
            self.gateway.check()?;
            self.follow()?;
            let newest = self.gateway.newest_actions()?;
            Ok(newest.get(&name).filter(|a| a.action == action && a.has_ended()).cloned())
        })
        .unwrap()
    }

    /// Boots devices that have gone down for that.
    pub fn follow(&mut self) -> anyhow::Result<()> {
        self.hosts.iter_mut().try_for_each(|host| host.device.follow().map(|_| ()))
    }

    /// The report of an action's end.
    pub fn end_report(&self, device: &str, action: u64) -> Value {
        self.ends_of(device).into_iter().find(|report| report["action"] == action).unwrap()
    }

    /// Whether the gateway was told so by a device, in a report of this state.
    pub fn was_told(&self, device: &str, state: &str, words: &str) -> bool {
        let so = |report: &Value| {
            report["state"] == state && report["reason"].as_str().is_some_and(|reason| reason.contains(words))
        };
        self.reports_of(device).iter().any(so)
    }

    /// The terminal reports of a device.
    fn ends_of(&self, device: &str) -> Vec<Value> {
        let is_end = |report: &Value| {
            report["state"].as_str().is_some_and(|state| ["succeeded", "failed", "withdrawn"].contains(&state))
        };
        self.reports_of(device).into_iter().filter(is_end).collect()
    }

    /// All reports of a device, as the gateway's log has them.
    fn reports_of(&self, device: &str) -> Vec<Value> {
        let audit = fs::read_to_string(self.gateway.root().join("var/lib/fullmetal/gateway/audit.jsonl")).unwrap();
        let entries = audit.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        entries.map(|e| e["report"].clone()).filter(|report| report["device"] == device).collect()
    }

    /// How the gateway's spool says that actions of a device ended: (action, state, reason), in their order.
    pub fn ends_told_by(&self, device: &str) -> Vec<(u64, String, String)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let ends = self.ends_of(device);
        ends.iter().map(|r| (r["action"].as_u64().unwrap_or(0), text(&r["state"]), text(&r["reason"]))).collect()
    }
}

impl Host {
    pub fn paths(&self) -> Paths {
        Paths::new(self.device.seen("/").unwrap())
    }

    /// What the device's journal says now.
    pub fn record(&self) -> Record {
        journal::peek(&self.paths().journal_dir()).unwrap().unwrap_or_default()
    }

    /// Waits until a deployment is so far.
    pub fn reaches(&self, what: &str, is_it: impl Fn(&Phase) -> bool) {
        wait_for(&format!("{} reaches {what}", self.name), LIMIT, || {
            Ok(self.record().deployment.filter(|d| is_it(&d.phase)).map(|_| ()))
        })
        .unwrap();
    }

    /// Waits until an app's unit is so, as systemd calls it.
    pub fn is(&self, app: &str, state: &str) {
        wait_for(&format!("{app} of {} is {state}", self.name), LIMIT, || {
            Ok((self.property(app, "ActiveState") == state).then_some(()))
        })
        .unwrap();
    }

    /// The main process of a running app's container, by its number on the device; empty before there is one.
    pub fn main_pid(&self, app: &str) -> String {
        let file = self.device.seen(&format!("/run/fullmetal/apps/{app}/container.pid")).unwrap();
        fs::read_to_string(file).unwrap_or_default().trim().to_owned()
    }

    pub fn fullmetal(&self, args: &[&str]) -> anyhow::Result<String> {
        self.device.run(&[&["/usr/bin/fullmetal"], args].concat())
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.fullmetal(&["--json", "status"]).unwrap()).unwrap()
    }

    /// A file that decides what an app does.
    pub fn file(&self, app: &str, file: &str) -> PathBuf {
        self.device.seen(&format!("/var/lib/fullmetal/data/{app}/{file}")).unwrap()
    }

    pub fn set(&self, app: &str, file: &str) {
        fs::write(self.file(app, file), "x").unwrap();
    }

    pub fn unset(&self, app: &str, file: &str) {
        fs::remove_file(self.file(app, file)).unwrap();
    }

    /// What an app serves, once it does.
    pub fn page(&self, port: u16) -> String {
        let url = format!("http://127.0.0.1:{port}/");
        let argv = ["busybox", "wget", "-q", "-O", "-", &url];
        wait_for("the app's page", LIMIT, || Ok(self.device.run(&argv).ok())).unwrap().trim_end().to_owned()
    }

    /// When systemd last said this of an app in this boot, such as `Stopped`; in seconds since the kernel's boot.
    pub fn last(&self, word: &str, app: &str) -> Option<f64> {
        let argv = ["journalctl", "-b", "--no-pager", "-o", "short-monotonic", "_PID=1"];
        let (said, words) = (self.device.run(&argv).unwrap(), format!(": {word} {app}.service"));
        let line = said.lines().rev().find(|line| line.contains(&words))?;
        line.trim_start_matches('[').split(']').next()?.trim().parse().ok()
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, key: &str) -> String {
        self.device.run(&["systemctl", "show", "--value", "-p", key, unit]).unwrap().trim().to_owned()
    }
}
