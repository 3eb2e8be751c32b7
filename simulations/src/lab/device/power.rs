//! How a device goes up and down: by the loader, in order, by itself, or because the power goes.

use super::{Device, LAB, LoaderBoot, system};
use crate::lab::disk::Mounted;
use crate::lab::process::{is_gone_within, wait_for};
use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// A boot, and the end of a device, take at most this long.
const TURN_MAX: Duration = Duration::from_secs(90);
/// One that is switched on may start this often until it is up.
const STARTS_MAX: usize = 8;
/// Whoever makes this file in a device's `/run` has its watchdog bite.
const HUNG: &str = "hung";

/// What became of a boot.
enum Came {
    Up,
    /// The device went down to boot again.
    Rebooted,
    /// Its watchdog has to help.
    Hung,
}

impl Device {
    /// Switches it on and waits until all units are started. One that reboots meanwhile is waited for; one that says that it
    /// hangs is reset, as by a watchdog.
    ///
    /// # Errors
    /// When it does not come up, with the last words of its console.
    pub fn boot(&mut self) -> anyhow::Result<()> {
        for _ in 0..STARTS_MAX {
            self.switch_on()?;
            let came = wait_for("the device is up", TURN_MAX, || self.came());
            match came.map_err(|why| anyhow!("{why:#}; its console: {}", self.console()))? {
                Came::Up => return Ok(()),
                Came::Rebooted => {}
                Came::Hung => self.switch_off()?,
            }
        }
        bail!("the device does not come up: {:#?}", self.boots)
    }

    /// All boots so far, as the loader did them; none where the root is no deployment.
    pub fn boots(&self) -> &[LoaderBoot] {
        &self.boots
    }

    /// Boots it where it has gone down by itself to reboot, or hangs; whether it was so. One that is off stays off.
    ///
    /// # Errors
    /// When it does not come up, or has gone down otherwise.
    pub fn follow(&mut self) -> anyhow::Result<bool> {
        if self.child.is_none() || (!self.has_rebooted()? && !self.is_hung()) {
            return Ok(false);
        }
        self.switch_off()?;
        self.boot().map(|()| true)
    }

    /// Gives it power again where it has gone down by itself to reboot, and waits for nothing; whether it was so.
    ///
    /// # Errors
    /// When it has gone down otherwise.
    pub fn begin_reboot(&mut self) -> anyhow::Result<bool> {
        if self.child.is_none() || !self.has_rebooted()? {
            return Ok(false);
        }
        self.switch_on().map(|()| true)
    }

    /// Reboots it in order.
    ///
    /// # Errors
    /// When it does not go down or come up.
    pub fn reboot(&mut self) -> anyhow::Result<()> {
        self.run(&["systemctl", "reboot"])?;
        self.wait_for_end()?;
        self.boot()
    }

    /// Takes the power away, and gives it back.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn cut_power(&mut self) -> anyhow::Result<()> {
        self.switch_off()?;
        self.boot()
    }

    /// Takes the power away.
    ///
    /// # Errors
    /// When something of it does not end.
    pub fn switch_off(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.wait_for_end()
    }

    pub(super) fn kill(&mut self) {
        let Some(child) = &mut self.child else { return };
        let _ = match self.first.or_else(|| first_process(child.id())) {
            Some(first) => kill_process(first, Signal::KILL).map_err(Into::into),
            None => child.kill(),
        };
    }

    /// Gives it power, and waits for nothing.
    fn switch_on(&mut self) -> anyhow::Result<()> {
        if let Some(sysroot) = &self.stage.sysroot {
            let seen = self.power.as_mut().and_then(|power| power.seen.take());
            let seen = seen.as_ref().map_or(sysroot.as_path(), Mounted::path);
            system::load(&self.stage, (sysroot, seen), &mut self.boots)?;
        }
        let console = File::options().create(true).append(true).open(self.dir.join("console"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program).arg("device").args(self.stage.args());
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        self.child = Some(command.spawn().context("starting setpriv")?);
        Ok(())
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.join("console")).unwrap_or_default()
    }

    fn came(&mut self) -> anyhow::Result<Option<Came>> {
        if self.has_rebooted()? {
            return Ok(Some(Came::Rebooted));
        }
        if self.first.is_none() {
            self.first = self.child.as_ref().and_then(|child| first_process(child.id()));
        }
        let Some(first) = self.first else { return Ok(None) };
        if self.is_hung() {
            return Ok(Some(Came::Hung));
        }
        // Not within its process namespace, where one that goes down stops all others: nsenter would stop with its child.
        let mut asked = Command::new("nsenter");
        asked.args(["-t", &first.as_raw_nonzero().to_string(), "-m", "--", "systemctl", "is-system-running"]);
        let state = asked.stdin(Stdio::null()).output()?;
        let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
        Ok(self.up.contains(&state.as_str()).then_some(Came::Up))
    }

    /// Whether it has gone down to boot again; an error when it has otherwise.
    fn has_rebooted(&mut self) -> anyhow::Result<bool> {
        let Some(status) = self.child.as_mut().context("the device is off")?.try_wait()? else { return Ok(false) };
        (self.first, self.child) = (None, None);
        anyhow::ensure!(is_reboot(status), "the device ended with {status}");
        Ok(true)
    }

    fn is_hung(&self) -> bool {
        let seen = |first: Pid| Path::new(&format!("/proc/{}/root{LAB}/{HUNG}", first.as_raw_nonzero())).exists();
        self.first.is_some_and(seen)
    }

    pub(super) fn wait_for_end(&mut self) -> anyhow::Result<()> {
        self.first = None;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if !is_gone_within(TURN_MAX, || !matches!(child.try_wait(), Ok(None))) {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the device does not go down: {}", self.console());
        }
        Ok(())
    }
}

/// The kernel kills process 1 by this signal when it asks for a reboot, and `unshare` ends as that did.
fn is_reboot(status: ExitStatus) -> bool {
    let signal = Signal::HUP.as_raw();
    status.signal() == Some(signal) || status.code() == Some(128 + signal)
}

/// The device's process 1, once there is one.
fn first_process(outer: u32) -> Option<Pid> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{outer}/{file}")).unwrap_or_default();
    if read("comm").trim() != "unshare" {
        return None;
    }
    let children = read(&format!("task/{outer}/children"));
    children.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?))
}
