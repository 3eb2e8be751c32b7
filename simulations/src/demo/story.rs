//! What happens in the demo, step by step.

use super::table::{self, Row};
use super::tell::{Teller, mb};
use crate::lab::{
    ActionState, Central, DemoApp, Fleet, Node, NodeOptions, Release, interrupted, pull_with_ostree, wait_for,
};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const APP: &str = "web";
const REF: &str = "apps/web/x86_64";
const DEVICES: [&str; 5] = ["press-1", "press-2", "press-3", "press-4", "press-5"];
/// Joins at the end.
const LATE: &str = "press-6";
/// Misses `/data/recipe` when release 2 comes.
const BROKEN: &str = "press-4";
/// How long one release may take on all devices.
const RELEASE_S_MAX: u64 = 60;

struct Device {
    node: Node,
    port: u16,
    /// Seconds from each decision to its end.
    seconds: Vec<f64>,
    state: String,
}

struct Stage<'a> {
    fleet: &'a Fleet,
    teller: Teller,
    central: Central,
    gateway: Node,
    devices: BTreeMap<String, Device>,
    /// What `ostree pull` of the same releases by one device made central send.
    one_device: u64,
    /// What the fleet made central send.
    sent: u64,
}

/// Tells the whole story.
pub fn tell(fleet: &Fleet, app: &DemoApp) -> anyhow::Result<()> {
    let teller = Teller::new();
    teller.chapter("A fleet is set up: keys, a central repo behind nginx, a gateway, five devices on loopback");
    std::fs::create_dir_all(fleet.repo())?;
    let address = free_address()?;
    let central = Central::start(&fleet.dir().join("nginx"), &fleet.repo(), address, None)?;
    let options = NodeOptions { central: Some(central.url()), interface: "lo".into(), netns: None };
    let gateway = fleet.enroll("gateway", &options)?;
    std::fs::copy(fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key"))?;
    let (devices, one_device, sent) = (BTreeMap::new(), 0, 0);
    let mut stage = Stage { fleet, teller, central, gateway, devices, one_device, sent };
    stage.publish(app, Release::One)?;
    stage.start(&options)?;
    stage.release(Release::One, |_| Expected::Runs)?;
    stage.gateway.check()?;
    stage.devices[BROKEN].node.remove_data(APP, "recipe")?;
    stage.teller.chapter(&format!("Somebody deletes /data/recipe on {BROKEN}, which release 2 will miss"));
    stage.publish(app, Release::Two)?;
    stage.release(Release::Two, |d| if d == BROKEN { Expected::RollsBack } else { Expected::Runs })?;
    stage.late_device(&options)?;
    stage.end()?;
    stage.teller.chapter("Everything is being stopped");
    let Stage { teller, .. } = stage.stop();
    teller.chapter("All came out as told; everything is stopped and removed");
    Ok(())
}

/// How a release ends on a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Runs,
    RollsBack,
}

impl Stage<'_> {
    fn publish(&mut self, app: &DemoApp, release: Release) -> anyhow::Result<()> {
        let number = release.number();
        self.teller.chapter(&format!("Release {number} is built from Debian packages and published"));
        let tree = self.fleet.dir().join(format!("tree-{number}"));
        app.build(release, &tree)?;
        let health = r#"["/bin/sh","-c","wget -q -O /dev/null http://127.0.0.1:$(cat /data/port)/"]"#;
        let more = ["--name", APP, "--cmd", "/app/run", "--health", health, "--probation", "3"];
        let published = self.fleet.publish(&tree, REF, number, &more)?;
        self.teller.line(&format!("{REF} is commit {}", published["commit"].as_str().unwrap_or("?")));
        let before = self.central.bytes_sent();
        pull_with_ostree(&self.fleet.dir().join("one-device"), &self.central.url(), REF, None)?;
        let one = self.central.bytes_sent() - before;
        self.one_device += one;
        self.sent += one;
        self.teller.line(&format!("`ostree pull` by one device costs {} from central: that is one copy", mb(one)));
        Ok(())
    }

    fn start(&mut self, options: &NodeOptions) -> anyhow::Result<()> {
        self.teller.chapter("Gateway and devices start; each has a peer (an unprivileged user) and an agent (root)");
        self.gateway.start_peer()?;
        self.gateway.start_gateway()?;
        for name in DEVICES {
            let device = self.device(name, options)?;
            self.devices.insert(name.to_owned(), device);
        }
        let start = Instant::now();
        for (name, device) in &mut self.devices {
            wait_for(&format!("{name} finds no neighbour"), Duration::from_secs(20), || {
                device.node.check()?;
                let status = device.node.status()?;
                Ok(status["peer"]["neighbours"].as_array().is_some_and(|n| !n.is_empty()).then_some(()))
            })?;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.teller.line(&format!("all have found neighbours by DNS-SD and proven membership in {seconds:.1} s"));
        Ok(())
    }

    fn device(&self, name: &str, options: &NodeOptions) -> anyhow::Result<Device> {
        let mut node = self.fleet.enroll(name, options)?;
        let port = free_address()?.port();
        node.write_data(APP, "port", &port.to_string())?;
        node.write_data(APP, "recipe", "two eggs\n")?;
        node.start_peer()?;
        node.start_agent()?;
        Ok(Device { node, port, seconds: Vec::new(), state: "no release".into() })
    }

    /// Decides a release for all six devices and waits until the five that are on have ended it.
    fn release(&mut self, release: Release, expected: impl Fn(&str) -> Expected) -> anyhow::Result<()> {
        let number = release.number();
        self.teller.chapter(&format!("The gateway decides: release {number} for six devices, of which five are on"));
        let file = self.fleet.dir().join(format!("decision-{number}.toml"));
        let all: Vec<&str> = DEVICES.into_iter().chain([LATE]).collect();
        std::fs::write(&file, format!("devices = {all:?}\nmode = \"now\"\n[[part]]\nref = \"{REF}\"\n"))?;
        let start = Instant::now();
        let sent = self.central.bytes_sent();
        self.gateway.gateway(&["deploy", &file.to_string_lossy()])?;
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        let mut open: Vec<String> = DEVICES.map(str::to_owned).to_vec();
        wait_for(&format!("release {number}"), Duration::from_secs(RELEASE_S_MAX), || {
            self.check()?;
            let states = self.gateway.newest_actions()?;
            for name in open.clone() {
                let Some(ActionState { state, reason, .. }) = states.get(&name) else { continue };
                if state.is_empty() {
                    continue;
                }
                if told.insert(name.clone(), state.clone()).as_ref() != Some(state) {
                    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                    self.teller.line(&format!("{name} {state}{because}"));
                }
                if states[&name].has_ended() {
                    self.ended(&name, state, expected(&name), start)?;
                    open.retain(|n| *n != name);
                }
            }
            Ok(open.is_empty().then_some(()))
        })?;
        self.teller.line(&format!("central sent {} for it", mb(self.central.bytes_sent() - sent)));
        self.ask_apps(release, &expected)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.gateway.check()?;
        self.devices.values_mut().try_for_each(|d| d.node.check())
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

    /// Gateway, its peer and central go; a new device catches up from its neighbours.
    fn late_device(&mut self, options: &NodeOptions) -> anyhow::Result<()> {
        self.teller.chapter(&format!("Gateway, its peer and central are stopped; {LATE} joins with an empty cache"));
        self.sent = self.central.bytes_sent() - self.sent;
        self.gateway.end();
        self.central.end();
        let start = Instant::now();
        let mut device = self.device(LATE, options)?;
        wait_for(&format!("{LATE} does not catch up"), Duration::from_secs(40), || {
            device.node.check()?;
            let ended = device.node.status()?["ended"].as_array().and_then(|e| e.last().cloned());
            Ok(ended.filter(|e| e["state"] == "succeeded").map(|_| ()))
        })?;
        let page = get(device.port)?;
        ensure!(page == "release 2", "the app of {LATE} says {page:?}, not release 2");
        device.seconds.push(start.elapsed().as_secs_f64());
        device.state = "proven, caught up".into();
        self.teller.line(&format!("{LATE} has caught up with release 2 from its neighbours"));
        self.devices.insert(LATE.to_owned(), device);
        Ok(())
    }

    /// Ends all programs, every device at the same time.
    fn stop(mut self) -> Self {
        let devices = std::mem::take(&mut self.devices);
        std::thread::scope(|scope| {
            for device in devices.into_values() {
                scope.spawn(move || drop(device));
            }
        });
        self.gateway.end();
        self.central.end();
        self
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for (name, device) in &mut self.devices {
            device.node.check()?;
            let peer = device.node.status()?["peer"].clone();
            let seconds: Vec<String> = device.seconds.iter().map(|s| format!("{s:.1}")).collect();
            rows.push(Row {
                device: name.clone(),
                version: get(device.port)?,
                state: device.state.clone(),
                from_peers: peer["bytes_from_peers"].as_u64().unwrap_or(0),
                from_central: peer["bytes_from_central"].as_u64().unwrap_or(0),
                seconds: seconds.join(", "),
            });
        }
        table::print(&rows);
        let copies = self.sent as f64 / self.one_device as f64;
        println!("  seconds: from each decision to its end; the last device's from its start");
        println!("\n  central sent {copies:.2} copies ({} for all, {} for one)", mb(self.sent), mb(self.one_device));
        println!("  less than one, since frames compress many files together and `ostree pull` gets each by itself");
        let late = rows.iter().find(|r| r.device == LATE).map_or(0, |r| r.from_central);
        ensure!(late == 0, "{LATE} got {late} bytes from central, which was off");
        ensure!(copies < 1.2, "the fleet cost {copies:.2} copies of the uplink");
        ensure!(!interrupted(), "interrupted");
        Ok(())
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The page that the app on `port` serves, without its newline.
fn get(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    Ok(body.trim_end().to_owned())
}
