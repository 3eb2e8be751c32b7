//! Events of a scenario, done to real programs and links.

use super::stage::{CENTRAL, Stage};
use super::timeline::{HostId, Step};
use crate::lab::Answers;
use crate::lab::net::LAN;
use crate::sim::scenario::{Action, OriginMood};
use std::net::SocketAddr;

/// `ESTABLISHED` in /proc/PID/net/tcp (proc(5)).
const ESTABLISHED: &str = "01";

/// What events have done to a site.
#[derive(Debug)]
pub struct Happening {
    uplink: u64,
    cuts: usize,
}

impl Happening {
    /// Nothing has happened; the uplink carries so many bytes a second.
    pub fn new(uplink: u64) -> Self {
        Happening { uplink, cuts: 0 }
    }

    /// Carries out a step. The decision is not its matter.
    pub fn carry_out(&mut self, stage: &mut Stage, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::PowerOn(host) => stage.power_on(*host),
            Step::Begin(action, hosts) => self.begin(stage, action, hosts),
            Step::Undo(action, hosts) => self.undo(stage, action, hosts),
            Step::Decide => Ok(()),
        }
    }

    fn begin(&mut self, stage: &mut Stage, action: &Action, hosts: &[HostId]) -> anyhow::Result<()> {
        match action {
            Action::Stop(_) => stop(stage, hosts),
            // The page cache outlives a process: a power cut takes no more than a crash here.
            Action::Crash(_) | Action::PowerCut(_) => hosts.iter().for_each(|host| stage.hosts[*host].node.kill()),
            Action::Start(_) => return hosts.iter().try_for_each(|host| stage.power_on(*host)),
            Action::Partition(_) => return self.divide(stage, hosts),
            Action::Slow(_, rate) => return hosts.iter().try_for_each(|host| set_port(stage, *host, *rate)),
            Action::Origin(mood) => return set_mood(stage, *mood),
            Action::Uplink(rate) => return stage.net.limit("central", LAN, *rate),
            Action::Lie(..) | Action::Cancel(_) => {}
        }
        Ok(())
    }

    fn undo(&self, stage: &mut Stage, action: &Action, hosts: &[HostId]) -> anyhow::Result<()> {
        match action {
            Action::Stop(_) | Action::Crash(_) | Action::PowerCut(_) => {
                hosts.iter().try_for_each(|host| stage.power_on(*host))
            }
            Action::Start(_) => {
                stop(stage, hosts);
                Ok(())
            }
            Action::Partition(_) => hosts.iter().try_for_each(|host| {
                let host = &stage.hosts[*host];
                stage.net.replug(&host.at, &host.switch)
            }),
            Action::Slow(..) => hosts.iter().try_for_each(|host| set_port(stage, *host, stage.hosts[*host].port)),
            Action::Origin(_) => set_mood(stage, OriginMood::Well),
            Action::Uplink(_) => stage.net.limit("central", LAN, self.uplink),
            Action::Lie(..) | Action::Cancel(_) => Ok(()),
        }
    }

    /// Puts the cables of these hosts into a switch of their own.
    fn divide(&mut self, stage: &Stage, hosts: &[HostId]) -> anyhow::Result<()> {
        let switch = format!("cut{}", self.cuts);
        self.cuts += 1;
        stage.net.switch(&switch)?;
        hosts.iter().try_for_each(|host| stage.net.replug(&stage.hosts[*host].at, &switch))
    }
}

fn stop(stage: &mut Stage, hosts: &[HostId]) {
    std::thread::scope(|scope| {
        for (i, host) in stage.hosts.iter_mut().enumerate() {
            if hosts.contains(&i) {
                scope.spawn(|| host.node.end());
            }
        }
    });
}

fn set_port(stage: &Stage, host: HostId, rate: u64) -> anyhow::Result<()> {
    stage.net.limit(&stage.hosts[host].at, LAN, rate)
}

fn set_mood(stage: &mut Stage, mood: OriginMood) -> anyhow::Result<()> {
    match mood {
        OriginMood::Stalled => {
            stage.central.process().pause();
            Ok(())
        }
        OriginMood::Failing => stage.central.restart(Answers::Status(503)),
        OriginMood::Missing => stage.central.restart(Answers::Status(404)),
        OriginMood::Corrupt => stage.central.restart(Answers::Corrupt),
        OriginMood::Well if stage.central.answers() == Answers::Well => {
            stage.central.process().resume();
            Ok(())
        }
        OriginMood::Well => stage.central.restart(Answers::Well),
    }
}

/// The first device with an open connection to central, else the first that is on.
pub fn fetcher(stage: &Stage) -> Option<HostId> {
    let devices = || (1..stage.hosts.len()).filter(|host| stage.hosts[*host].node.is_on());
    let pid = |host: &HostId| stage.hosts[*host].node.peer_pid();
    devices().find(|host| pid(host).is_some_and(|pid| is_connected(pid, CENTRAL))).or_else(|| devices().next())
}

/// Whether somebody in the network namespace of a process has a TCP connection to `server`.
fn is_connected(pid: u32, server: SocketAddr) -> bool {
    let SocketAddr::V4(server) = server else { return false };
    // In the byte order of the machine, as proc(5) has it.
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(server.ip().octets()), server.port());
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let mut rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.any(|row| row.get(2) == Some(&remote.as_str()) && row.get(3) == Some(&ESTABLISHED))
}
