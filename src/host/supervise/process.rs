//! The app's main process, as the kernel tells of it.

use super::super::HostError;
use fullmetal_proto::wire::report::ExitStatus;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};
use std::io;
use std::path::Path;

/// Collects every child that ended; the exit of `pid` if it is among them.
pub(super) fn reap(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let mut exit = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(None) => return Ok(exit),
            Ok(Some((ended, status))) if ended == pid => exit = Some(exit_of(status)),
            Ok(Some(_)) => {}
            Err(rustix::io::Errno::CHILD) if exit.is_some() => return Ok(exit),
            Err(e) => return Err(e.into()),
        }
    }
}

fn exit_of(status: WaitStatus) -> ExitStatus {
    match status.terminating_signal() {
        Some(signal) => ExitStatus::Signal(signal),
        None => ExitStatus::Code(status.exit_status().unwrap_or(-1)),
    }
}

/// Whether SIGTERM does anything: the main process of a pid namespace gets only signals that it catches, or blocks
/// to fetch them. (`proc_pid_status(5)`: SigBlk, SigCgt; `pid_namespaces(7)`.)
pub(super) fn heeds_term(pid: Pid) -> bool {
    let term = 1u64 << (Signal::TERM.as_raw() - 1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let sets = status.lines().filter_map(|l| l.strip_prefix("SigBlk:").or_else(|| l.strip_prefix("SigCgt:")));
    sets.filter_map(|set| u64::from_str_radix(set.trim(), 16).ok()).any(|set| set & term != 0)
}

/// Kills the main process that `pid_file` names if SIGTERM does nothing to it: it would only be waited for.
#[cfg(feature = "store")]
pub(in crate::host) fn kill_if_deaf(pid_file: &Path) {
    if let Some(pid) = read_pid(pid_file).ok().filter(|pid| !heeds_term(*pid)) {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

pub(in crate::host) fn read_pid(path: &Path) -> Result<Pid, HostError> {
    let text = std::fs::read_to_string(path).map_err(HostError::io("reading", path))?;
    let pid = text.trim().parse().ok().filter(|p| *p > 1).and_then(Pid::from_raw);
    pid.ok_or_else(|| HostError::io("reading", path)(io::Error::other("not a process id")))
}
