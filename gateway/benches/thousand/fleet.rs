//! The gateway program with its server, its peer and the devices behind it.

use crate::figures::Figures;
use crate::process::{Written, cpu_s, mib};
use crate::site::hawkbit::Hawkbit;
use crate::site::{Site, report, sealed};
use fullmetal::identity::Usage;
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{Announcement, ReportState, SigningKey, open};
use fullmetal_proto::{DeviceId, Digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the gateway polls each device.
pub const POLL_S: u64 = 30;
/// How often a peer tells whom the fleet heard, and how many devices at a time.
const HEARD: Duration = Duration::from_secs(30);
const HEARD_DEVICES: usize = 1_024;
/// When to give up.
const LIMIT: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(20);

struct Device {
    key: SigningKey,
    certificate: Vec<u8>,
    /// It has told of its action.
    told: bool,
}

pub struct Fleet {
    site: Site,
    hawkbit: Hawkbit,
    devices: BTreeMap<DeviceId, Device>,
    gateway: Child,
    written: Written,
    heard: Instant,
    commit: Digest,
}

/// Where the figures of a phase begin.
struct Mark {
    at: Instant,
    cpu_s: f64,
    requests: usize,
    written: (u64, u64, u64),
}

impl Fleet {
    /// A gateway that has heard of its devices this moment.
    pub fn start(program: &Path, count: usize) -> Self {
        let site = Site::new();
        let commit = site.publish("2");
        let hawkbit = Hawkbit::at(&site, "ask");
        let config = site.path("etc/fullmetal/fullmetal.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text
            .replace("poll_min_s = 1\npoll_max_s = 1\n", &format!("poll_min_s = {POLL_S}\npoll_max_s = {POLL_S}\n"));
        std::fs::write(&config, text).unwrap();
        let device = |i: usize| {
            let name = format!("press-{i:04}");
            let (key, certificate) = site.agent(&name, Usage::Agent);
            (name.parse().unwrap(), Device { key, certificate, told: false })
        };
        let devices: BTreeMap<DeviceId, Device> = (0..count).map(device).collect();
        let targets: Value = devices.keys().map(|d| json!({ "controllerId": d, "name": d })).collect();
        hawkbit.operate("POST", "/rest/v1/targets", &targets);
        let written = Written::watch(&site.path("var/lib/fullmetal/gateway"));
        let mut command = Command::new(program);
        command.arg("--root").arg(site.dir.path()).args(["run", "--settle", "0"]);
        command.env("FULLMETAL_LOG", "error").stdin(Stdio::null());
        let gateway = command.spawn().unwrap();
        site.peer.wait("the gateway", |s| (s.hellos > 0).then_some(()));
        let fleet = Fleet { site, hawkbit, devices, gateway, written, heard: Instant::now(), commit };
        fleet.say_heard();
        fleet
    }

    fn say_heard(&self) {
        let all: Vec<(DeviceId, u32)> = self.devices.keys().map(|d| (d.clone(), 0)).collect();
        for part in all.chunks(HEARD_DEVICES) {
            self.site.peer.say(&FromPeer::Heard(part.to_vec()), None);
        }
    }

    fn mark(&self) -> Mark {
        let requests = self.hawkbit.standin.as_ref().unwrap().faults().requests().len();
        Mark { at: Instant::now(), cpu_s: cpu_s(self.gateway.id()), requests, written: self.written.so_far() }
    }

    /// Goes on until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            if self.heard.elapsed() >= HEARD {
                self.heard = Instant::now();
                self.say_heard();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Requests since the mark: how many, and in the busiest second; of devices only.
    fn requests(&self, since: &Mark) -> (usize, usize) {
        let mut seconds = BTreeMap::<u64, usize>::new();
        let seen = self.hawkbit.standin.as_ref().unwrap().faults().requests();
        for request in seen.iter().skip(since.requests).filter(|r| r.path.contains("/controller/v1/")) {
            *seconds.entry(request.at / 1000).or_default() += 1;
        }
        (seconds.values().sum(), seconds.values().max().copied().unwrap_or(0))
    }

    /// Until every device was polled once.
    pub fn first_polls(&mut self, figures: &mut Figures) {
        let (from, count) = (self.mark(), self.devices.len());
        self.until("the first polls", |fleet| fleet.requests(&from).0 >= count);
        figures.add("start: until every device was polled", "s", from.at.elapsed().as_secs_f64());
        figures.add("start: requests in the busiest second", "", self.requests(&from).1 as f64);
        figures.add("start: CPU time of the gateway", "s", cpu_s(self.gateway.id()) - from.cpu_s);
    }

    /// One set to all devices in one assignment, until every action is closed.
    pub fn deployment(&mut self, figures: &mut Figures) {
        let set = self.hawkbit.release("all", &self.commit);
        let targets: Value = self.devices.keys().map(|d| json!({ "id": d, "type": "forced" })).collect();
        let from = self.mark();
        self.hawkbit.operate("POST", &format!("/rest/v1/distributionsets/{set}/assignedTargets"), &targets);
        let (mut first_row, mut all_rows) = (None, None);
        self.until("all ends", |fleet| {
            let told = fleet.play();
            first_row = first_row.or((told > 0).then(Instant::now));
            all_rows = all_rows.or((told == fleet.devices.len()).then(Instant::now));
            let ends = fleet.hawkbit.standin.as_ref().unwrap().faults().all_terminal_feedbacks();
            ends.len() == fleet.devices.len()
        });
        let (first, all) = (first_row.unwrap(), all_rows.unwrap());
        let to = self.mark();
        let (states, bytes, reports) = to.written;
        let announced = self.site.peer.with(|s| s.announced.iter().map(Vec::len).collect::<Vec<_>>());
        let (requests, busiest) = self.requests(&from);
        let seconds = (to.at - first).as_secs_f64();
        figures.add("deployment: from the first row to all rows", "s", (all - first).as_secs_f64());
        figures.add("deployment: from the first row to all ends", "s", seconds);
        figures.add("deployment: announcements", "", announced.len() as f64);
        figures.add("deployment: bytes of announcements", "MB", announced.iter().sum::<usize>() as f64 / 1e6);
        figures.add("deployment: snapshots of the state", "", (states - from.written.0) as f64);
        figures.add("deployment: bytes of snapshots", "MB", (bytes - from.written.1) as f64 / 1e6);
        figures.add("deployment: reports spooled", "", (reports - from.written.2) as f64);
        figures.add("deployment: CPU time of the gateway", "s", to.cpu_s - from.cpu_s);
        figures.add("deployment: requests", "", requests as f64);
        figures.add("deployment: requests a second", "1/s", requests as f64 / seconds);
        figures.add("deployment: requests in the busiest second", "", busiest as f64);
        figures.add("most memory (VmHWM)", "MiB", mib(self.gateway.id(), "status", "VmHWM:"));
    }

    /// Devices that find their row for the first time report; tells how many have.
    fn play(&mut self) -> usize {
        let newest = self.site.peer.with(|s| s.announced.last().cloned());
        if let Some(newest) = newest.map(|bytes| open::<Announcement>(&bytes).unwrap().document) {
            for row in &newest.rows {
                let Some(device) = self.devices.get_mut(&row.0).filter(|d| !d.told) else { continue };
                device.told = true;
                let bundle = Digest::of(&newest.bundles[usize::from(row.1)]);
                let states =
                    [ReportState::Accepted, ReportState::Staged, ReportState::Switching, ReportState::Succeeded];
                for (counter, state) in (1..).zip(states) {
                    let mut report = report(row.0.as_str(), counter, row.2, Some(bundle), &device.certificate);
                    report.state = state;
                    self.site.peer.report(sealed(&report, &device.key));
                }
            }
        }
        self.devices.values().filter(|d| d.told).count()
    }

    /// Nothing but polls.
    pub fn idle(&mut self, time: Duration, figures: &mut Figures) {
        let quiet = Instant::now() + Duration::from_secs(POLL_S);
        self.until("quiet", |_| Instant::now() >= quiet);
        let from = self.mark();
        let end = from.at + time;
        self.until("the end", |_| Instant::now() >= end);
        let to = self.mark();
        let (requests, busiest) = self.requests(&from);
        let seconds = (to.at - from.at).as_secs_f64();
        figures.add("idle: CPU of one core", "%", 100.0 * (to.cpu_s - from.cpu_s) / seconds);
        figures.add("idle: requests a second", "1/s", requests as f64 / seconds);
        figures.add("idle: requests in the busiest second", "", busiest as f64);
        figures.add("idle: snapshots of the state", "", (to.written.0 - from.written.0) as f64);
        figures.add("idle: memory (PSS)", "MiB", mib(self.gateway.id(), "smaps_rollup", "Pss:"));
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}
