//! What happens in the demo, step by step.

use super::release::Expected;
use super::table::{self, Row};
use super::tell::{Teller, mb};
use crate::lab::{Central, DemoApp, Fleet, Node, NodeOptions, Operator, Release, interrupted, wait_for};
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub(super) const APP: &str = "web";
const DEVICES: u32 = 5;
/// Misses `/data/recipe` when release 2 comes.
const BROKEN: &str = "press-4";
/// Is off until the end.
const LATE: &str = "press-6";
/// How long Hawkbit may take to hear of what the late device did.
const TOLD_S_MAX: u64 = 30;

pub(super) struct Device {
    pub(super) node: Node,
    pub(super) port: u16,
    /// Seconds from each decision to its end.
    pub(super) seconds: Vec<f64>,
    pub(super) state: String,
}

/// An action and how it should have ended, by Hawkbit's word.
pub(super) struct Decided {
    pub(super) device: String,
    pub(super) action: u64,
    pub(super) release: u64,
    pub(super) end: &'static str,
}

pub(super) struct Stage<'a> {
    pub(super) fleet: &'a Fleet,
    /// Central has whole objects only.
    pub(super) plain: bool,
    pub(super) teller: Teller,
    pub(super) central: Central,
    pub(super) operator: Operator,
    pub(super) gateway: Node,
    pub(super) devices: BTreeMap<String, Device>,
    /// The distribution set of each release.
    pub(super) sets: BTreeMap<u64, u64>,
    pub(super) decided: Vec<Decided>,
    /// What `ostree pull` of the same releases by one device made central send.
    pub(super) one_device: u64,
    /// What the fleet made central send.
    pub(super) sent: u64,
}

/// Tells the whole story.
pub fn tell(fleet: &Fleet, app: &DemoApp, operator: Operator, plain: bool) -> anyhow::Result<()> {
    let teller = Teller::new();
    teller.chapter("A fleet is set up: keys, a central repo behind nginx, a gateway, six devices on loopback");
    std::fs::create_dir_all(fleet.repo())?;
    let address = free_address()?;
    let repo = if plain { fleet.plain_repo() } else { fleet.repo() };
    if plain {
        fleet.make_plain_repo()?;
        teller.line("central is a mirror as `ostree pull-local` makes it: whole objects, no frames");
    }
    let central = Central::start(&fleet.dir().join("nginx"), &repo, address, None)?;
    let options = NodeOptions { central: Some(central.url()), interface: "lo".into(), ..NodeOptions::default() };
    let gateway = fleet.enroll("gateway", &options)?;
    std::fs::copy(fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key"))?;
    operator.steer(&gateway, &operator.named("press-*"))?;
    teller.line(&format!("decisions are taken in Hawkbit at {}", operator.url()));
    let (broken, late) = (operator.named(BROKEN), operator.named(LATE));
    let mut stage = Stage::new(fleet, teller, (central, operator, gateway));
    stage.plain = plain;
    stage.publish(app, Release::One)?;
    let mut late_device = stage.start(&options, &late)?;
    let five: Vec<String> = stage.devices.keys().cloned().collect();
    stage.release(Release::One, &five, |_| Expected::Runs)?;
    stage.gateway.check()?;
    stage.devices[&broken].node.remove_data(APP, "recipe")?;
    stage.teller.chapter(&format!("Somebody deletes /data/recipe on {broken}, which release 2 will miss"));
    stage.publish(app, Release::Two)?;
    let six: Vec<String> = five.iter().chain([&late]).cloned().collect();
    stage.release(Release::Two, &six, |d| if d == broken { Expected::RollsBack } else { Expected::Runs })?;
    late_device = stage.catch_up(&late, late_device)?;
    stage.devices.insert(late.clone(), late_device);
    stage.tell_hawkbit(&late)?;
    stage.histories()?;
    stage.end(&late)?;
    stage.teller.chapter("Everything is being stopped");
    let Stage { teller, .. } = stage.stop();
    teller.chapter("All came out as told; everything is stopped and removed");
    Ok(())
}

impl<'a> Stage<'a> {
    fn new(fleet: &'a Fleet, teller: Teller, (central, operator, gateway): (Central, Operator, Node)) -> Self {
        let (devices, sets, decided) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Stage {
            fleet,
            plain: false,
            teller,
            central,
            operator,
            gateway,
            devices,
            sets,
            decided,
            one_device: 0,
            sent: 0,
        }
    }

    /// Gives the late device, which was heard and is off again.
    fn start(&mut self, options: &NodeOptions, late: &str) -> anyhow::Result<Device> {
        self.teller.chapter("Gateway and devices start; each has a peer (an unprivileged user) and an agent (root)");
        self.gateway.start_peer()?;
        self.gateway.start_gateway()?;
        for number in 1..=DEVICES {
            let name = self.operator.named(&format!("press-{number}"));
            let device = self.device(&name, options)?;
            self.devices.insert(name, device);
        }
        let mut late_device = self.device(late, options)?;
        let start = Instant::now();
        for (name, device) in self.devices.iter_mut().map(|(n, d)| (n.as_str(), d)).chain([(late, &mut late_device)]) {
            wait_for(&format!("{name} finds no neighbour"), Duration::from_secs(20), || {
                device.node.check()?;
                let status = device.node.status()?;
                Ok(status["peer"]["neighbours"].as_array().is_some_and(|n| !n.is_empty()).then_some(()))
            })?;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.teller.line(&format!("all have found neighbours by DNS-SD and proven membership in {seconds:.1} s"));
        let all: Vec<String> = self.devices.keys().cloned().chain([late.to_owned()]).collect();
        self.operator.knows(&all)?;
        self.teller.line("each is a target in Hawkbit now, since the gateway has heard it");
        late_device.node.end();
        self.teller.line(&format!("{late} is switched off again, before anything is decided"));
        Ok(late_device)
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

    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.gateway.check()?;
        self.devices.values_mut().try_for_each(|d| d.node.check())
    }

    /// Gateway, its peer and central go; a device that has nothing yet catches up from its neighbours.
    fn catch_up(&mut self, late: &str, mut device: Device) -> anyhow::Result<Device> {
        self.teller
            .chapter(&format!("Gateway, its peer and central are stopped; {late} is switched on, with an empty cache"));
        self.sent = self.central.bytes_sent() - self.sent;
        self.gateway.end();
        self.central.end();
        let start = Instant::now();
        device.node.start_peer()?;
        device.node.start_agent()?;
        wait_for(&format!("{late} does not catch up"), Duration::from_secs(40), || {
            device.node.check()?;
            let ended = device.node.status()?["ended"].as_array().and_then(|e| e.last().cloned());
            Ok(ended.filter(|e| e["state"] == "succeeded").map(|_| ()))
        })?;
        let page = get(device.port)?;
        ensure!(page == "release 2", "the app of {late} says {page:?}, not release 2");
        device.seconds.push(start.elapsed().as_secs_f64());
        device.state = "proven, caught up".into();
        self.teller.line(&format!("{late} has caught up with release 2 from its neighbours"));
        Ok(device)
    }

    /// The gateway comes back and has to tell what happened while it was away.
    fn tell_hawkbit(&mut self, late: &str) -> anyhow::Result<()> {
        self.teller
            .chapter("The gateway starts again; the report of the late device has waited for it at the other peers");
        self.gateway.start_peer()?;
        self.gateway.start_gateway()?;
        let action = self.decided.iter().find(|d| d.device == late).map(|d| d.action).context("nothing was decided")?;
        wait_for(&format!("Hawkbit does not hear of {late}"), Duration::from_secs(TOLD_S_MAX), || {
            self.check()?;
            let history = self.operator.history(late, action)?;
            Ok(history.iter().any(|e| e.kind == "finished").then_some(()))
        })?;
        self.teller.line(&format!("Hawkbit knows now that {late} has release 2"));
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

    fn end(&mut self, late: &str) -> anyhow::Result<()> {
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
        let why = if self.plain {
            "about one: each object crossed the uplink once, and the fleet passed it on"
        } else {
            "less than one, since frames compress many files together and `ostree pull` gets each by itself"
        };
        println!("  {why}");
        let from_central = rows.iter().find(|r| r.device == late).map_or(0, |r| r.from_central);
        ensure!(from_central == 0, "{late} got {from_central} bytes from central, which was off");
        ensure!(copies <= 1.15, "the fleet cost {copies:.2} copies of the uplink");
        ensure!(!interrupted(), "interrupted");
        Ok(())
    }
}

pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The page that the app on `port` serves, without its newline.
pub(super) fn get(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    Ok(body.trim_end().to_owned())
}
