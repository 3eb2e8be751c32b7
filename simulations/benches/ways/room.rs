//! The wires: central behind an uplink, a gateway and devices at a switch; and what is counted there.

use crate::figures::{Cost, Figures};
use anyhow::Context as _;
use clap::ValueEnum;
use fullmetal_sim::lab::net::{LAN, Net, WAN};
use fullmetal_sim::lab::{Central, Cgroup, wait_for};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A switch port.
const PORT_MBIT: u32 = 1_000;
/// How long all may take.
pub const LIMIT: Duration = Duration::from_secs(4_000);
/// ext4 gives an inode anew 35 s after it was freed at the earliest, and until then looks past those that the run before has
/// freed, one by one: no device has just deleted so many files.
const SETTLES: Duration = Duration::from_secs(40);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Which site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// 8 devices, uplink 100 Mbit/s.
    #[default]
    Eight,
    /// 32 devices, uplink 20 Mbit/s, the gateway's port 100 Mbit/s.
    ThirtyTwo,
}

impl Setting {
    pub fn devices(self) -> u8 {
        if self == Setting::Eight { 8 } else { 32 }
    }

    pub fn uplink_mbit(self) -> u32 {
        if self == Setting::Eight { 100 } else { 20 }
    }

    fn gateway_mbit(self) -> u32 {
        if self == Setting::Eight { PORT_MBIT } else { 100 }
    }

    pub fn name(self) -> &'static str {
        if self == Setting::Eight { "8 devices" } else { "32 devices" }
    }
}

/// A site without programs but central's web server.
pub struct Room {
    pub net: Net,
    pub central: Central,
    pub hosts: Vec<Host>,
    pub gateway: Host,
    pub dir: tempfile::TempDir,
    uplink_before: u64,
}

/// A device, or the gateway.
pub struct Host {
    pub name: String,
    /// Its address at the switch.
    pub address: String,
    pub group: Arc<Cgroup>,
    cpu_before: u64,
}

impl Room {
    pub fn new(setting: Setting, repo: &Path) -> anyhow::Result<Self> {
        Self::with(setting, setting.devices(), repo)
    }

    /// With another number of devices.
    pub fn with(setting: Setting, devices: u8, repo: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("fullmetal-ways-").tempdir_in("/var/tmp")?;
        let mut net = Net::new()?;
        net.host("central", 2, false, true)?;
        net.limit("central", WAN, u64::from(setting.uplink_mbit()) * 125_000)?;
        let address = "10.98.0.2:80".parse()?;
        let central = Central::start(&dir.path().join("nginx"), repo, address, Some(&net.netns("central")))?;
        let gateway = Host::plug_in(&mut net, "gateway", 4, setting.gateway_mbit())?;
        let plug_in = |number: u8| Host::plug_in(&mut net, &format!("press-{number}"), 10 + number, PORT_MBIT);
        let hosts = (1..=devices).map(plug_in).collect::<Result<_, _>>()?;
        std::thread::sleep(SETTLES);
        // What others have read is no advantage.
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")?;
        Ok(Room { net, central, hosts, gateway, dir, uplink_before: 0 })
    }

    /// From here on all is counted.
    pub fn begin(&mut self) -> anyhow::Result<Instant> {
        self.uplink_before = self.net.sent_by("central")?;
        self.hosts.iter_mut().chain([&mut self.gateway]).for_each(|host| host.cpu_before = host.group.cpu_us());
        Ok(Instant::now())
    }

    /// Bytes that central has sent toward the site since then, headers included.
    pub fn crossed(&self) -> anyhow::Result<u64> {
        Ok(self.net.sent_by("central")? - self.uplink_before)
    }

    /// Waits until each device has a file.
    pub fn wait(&self, begun: Instant, file_of: impl Fn(&Host) -> PathBuf) -> anyhow::Result<Figures> {
        let mut watch = Watch::new(self, begun);
        wait_for("the last device", LIMIT, || Ok(watch.look(self, &file_of).then_some(())))?;
        watch.figures(self)
    }
}

/// Who has what is waited for, and what it has cost so far.
pub struct Watch {
    begun: Instant,
    looked: Instant,
    /// Of each device that counts: after how many seconds it had the file.
    devices: Vec<Option<(Option<f64>, Cost)>>,
    gateway: Cost,
}

impl Watch {
    pub fn new(room: &Room, begun: Instant) -> Self {
        let devices = vec![Some((None, Cost::default())); room.hosts.len()];
        Watch { begun, looked: begun, devices, gateway: Cost::default() }
    }

    /// Does not wait for this device any more, and does not count it.
    pub fn leave_out(&mut self, device: usize) {
        self.devices[device] = None;
    }

    /// Looks who has its file; tells whether all have.
    pub fn look(&mut self, room: &Room, file_of: impl Fn(&Host) -> PathBuf) -> bool {
        let is_due = self.looked.elapsed() > LOOK;
        let counted =
            room.hosts.iter().zip(&mut self.devices).filter_map(|(host, device)| Some((host, device.as_mut()?)));
        for (host, (at, cost)) in counted.filter(|(_, (at, _))| at.is_none()) {
            if is_due {
                cost.peak_mib = cost.peak_mib.max(host.memory_mib());
            }
            if file_of(host).exists() {
                *at = Some(self.begun.elapsed().as_secs_f64());
                cost.cpu_s = host.cpu_s();
            }
        }
        if is_due {
            self.gateway.peak_mib = self.gateway.peak_mib.max(room.gateway.memory_mib());
            self.looked = Instant::now();
        }
        self.devices.iter().flatten().all(|(at, _)| at.is_some())
    }

    /// What it has cost until now, when all have their files.
    pub fn figures(self, room: &Room) -> anyhow::Result<Figures> {
        let gateway = Cost { cpu_s: room.gateway.cpu_s(), ..self.gateway };
        let devices: Vec<(f64, Cost)> =
            self.devices.into_iter().flatten().map(|(at, cost)| (at.unwrap_or_default(), cost)).collect();
        Ok(Figures::of(&devices, gateway, room.crossed()?))
    }
}

impl Host {
    fn plug_in(net: &mut Net, name: &str, number: u8, mbit: u32) -> anyhow::Result<Self> {
        net.host(name, number, true, true)?;
        net.limit(name, LAN, u64::from(mbit) * 125_000)?;
        let group = Arc::new(Cgroup::new(&net.netns(name))?);
        Ok(Host { name: name.to_owned(), address: format!("10.99.0.{number}"), group, cpu_before: 0 })
    }

    fn cpu_s(&self) -> f64 {
        (self.group.cpu_us() - self.cpu_before) as f64 / 1e6
    }

    fn memory_mib(&self) -> f64 {
        self.group.proportional_kib() as f64 / 1024.0
    }
}

/// The commit object of a repository: what is written last of all.
pub fn commit_file(repo: &Path, commit: &str) -> PathBuf {
    repo.join("objects").join(&commit[..2]).join(format!("{}.commit", &commit[2..]))
}
