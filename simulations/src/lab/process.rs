//! Child processes that never outlive their value.

use super::cgroup::Cgroup;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a process may take to end before it is killed.
const END_MS_MAX: u64 = 8_000;
/// How often a condition is looked at.
const LOOK_MS: u64 = 20;

fn flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// From now on SIGINT, SIGTERM and SIGHUP do not end this program but make [`wait_for`] fail, so that all is cleaned up.
pub fn on_interrupt() -> anyhow::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, flag().clone()).context("catching signals")?;
    }
    Ok(())
}

/// Whether somebody asked this program to end.
pub fn interrupted() -> bool {
    flag().load(Ordering::Relaxed)
}

/// Waits until `ready` gives a value; fails with `what` after `limit` or when interrupted.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if interrupted() {
            bail!("interrupted");
        }
        if Instant::now() > end {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    }
}

/// Waits until something is gone, also when interrupted: cleaning up is not. Gives whether it went within `limit`.
pub(super) fn is_gone_within(limit: Duration, mut gone: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !gone() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    }
    true
}

/// A running program with its log file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `log`, as user `uid` if given, inside network namespace `netns` if given.
    pub fn start(
        program: &Path,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        log: &Path,
        uid: Option<u32>,
        netns: Option<&str>,
    ) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        let mut command = in_namespace(netns, program, uid);
        command.args(args.into_iter().map(Into::into)).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        // A group of its own: Ctrl-C is for us, and we end it in order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Process { child, name, log: log.to_owned() })
    }

    /// Puts it, and what it starts from now on, into a control group.
    pub fn join(&self, group: &Cgroup) -> anyhow::Result<()> {
        group.add(self.child.id())
    }

    /// Lets it do nothing until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Fails with its last words when it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its log:\n{}", self.name, last_lines(&self.log, 15)),
        }
    }

    /// Kills it as a power cut would, and waits.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits; kills it when it takes too long.
    pub fn end(&mut self) {
        if !self.is_running() {
            return;
        }
        self.signal(Signal::TERM);
        // One that is paused would not hear it.
        self.resume();
        is_gone_within(Duration::from_millis(END_MS_MAX), || !self.is_running());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn in_namespace(netns: Option<&str>, program: &Path, uid: Option<u32>) -> Command {
    let mut command = match netns {
        None => Command::new(program),
        Some(netns) => {
            // nsenter, not `ip netns exec`: the latter hides the cgroups that runc needs.
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{netns}"));
            if let Some(uid) = uid {
                command.args(["setpriv", "--clear-groups", "--reuid", &uid.to_string(), "--regid", &uid.to_string()]);
            }
            command.arg(program);
            return command;
        }
    };
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command
}

/// The last lines of a log.
pub(super) fn last_lines(log: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
