//! What a run cost.

use crate::room::Setting;
use serde::Serialize;
use std::fmt::Write as _;

/// Ethernet, IP and TCP, for each byte in packets of 1,500. They take time on the wire, but hardly count: the kernel hands over up
/// to 64 KiB at once, with one header.
const FRAMING: f64 = 1.04;

/// Of one device or of the gateway.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Processor seconds until it had the commit; of the gateway until the last device had it.
    pub cpu_s: f64,
    /// The most that all its programs had at one look, proportional set size in MiB.
    pub peak_mib: f64,
}

/// Of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub setting: Setting,
    pub way: String,
    pub devices: usize,
    /// Bytes that central sent toward the site, headers included.
    pub uplink: u64,
    /// The same in cold pulls of one device.
    pub copies: f64,
    /// Seconds until a cold pull's bytes have crossed the uplink.
    pub one_copy_s: f64,
    /// Seconds until the first and the last device had the commit.
    pub first_s: f64,
    pub last_s: f64,
    /// The last one in cold pulls.
    pub last_copies: f64,
    /// The mean of all devices, and the worst.
    pub device: Cost,
    pub worst: Cost,
    pub gateway: Cost,
}

impl Figures {
    /// Sums up what was counted at the devices: seconds until each had the commit, and its cost.
    pub fn of(devices: &[(f64, Cost)], gateway: Cost, uplink: u64) -> Self {
        let times = || devices.iter().map(|(at, _)| *at);
        let most = |of: fn(&Cost) -> f64| devices.iter().map(|(_, cost)| of(cost)).fold(0.0, f64::max);
        let mean = |of: fn(&Cost) -> f64| devices.iter().map(|(_, cost)| of(cost)).sum::<f64>() / devices.len() as f64;
        let both = |of: &dyn Fn(fn(&Cost) -> f64) -> f64| Cost { cpu_s: of(|c| c.cpu_s), peak_mib: of(|c| c.peak_mib) };
        Figures {
            devices: devices.len(),
            uplink,
            first_s: times().fold(f64::INFINITY, f64::min),
            last_s: times().fold(0.0, f64::max),
            device: both(&mean),
            worst: both(&most),
            gateway,
            ..Figures::default()
        }
    }

    /// What no way can beat in this setting: so many bytes cross the uplink, and nothing else takes time.
    pub fn limit(setting: Setting, way: String, bytes: f64) -> Self {
        let seconds = FRAMING * bytes * 8.0 / (f64::from(setting.uplink_mbit()) * 1e6);
        let devices = setting.devices().into();
        Figures { setting, way, devices, uplink: bytes as u64, first_s: seconds, last_s: seconds, ..Figures::default() }
    }

    /// In cold pulls of one device.
    pub fn of_copies(mut self, one_copy: u64) -> Self {
        self.copies = self.uplink as f64 / one_copy as f64;
        self.one_copy_s = one_copy as f64 * 8.0 / (f64::from(self.setting.uplink_mbit()) * 1e6);
        self.last_copies = self.last_s / self.one_copy_s;
        self
    }
}

/// For people.
pub fn table(all: &[Figures]) -> String {
    let mut text = "\n| site | way | copies | first | last | in one-copy times | device CPU (worst) | peak (worst) | gateway CPU, peak |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for f in all {
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.1} s | {:.1} s | {:.2} | {:.1} s ({:.1}) | {:.0} MiB ({:.0}) | {:.1} s, {:.0} MiB |",
            f.setting.name(),
            f.way,
            f.copies,
            f.first_s,
            f.last_s,
            f.last_copies,
            f.device.cpu_s,
            f.worst.cpu_s,
            f.device.peak_mib,
            f.worst.peak_mib,
            f.gateway.cpu_s,
            f.gateway.peak_mib
        );
    }
    text
}
