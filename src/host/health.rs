//! A health command inside an app's container.

use super::runc::Runc;
use super::supervisor::poll;
use super::tail::Tail;
use super::{Health, HostError};
use fullmetal_proto::wire::report::ExitStatus;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// What is read at once; bounded, so that a command that never stops talking cannot outlast its limit.
const READS_MAX: usize = 256;

/// Runs `argv` in the container; runc writes the id of its process to `pid_file`.
pub(super) fn ask(runc: &Runc, argv: &[String], pid_file: &Path, limit: Duration) -> Result<Health, HostError> {
    let piped = |e| HostError::io("making a pipe for", pid_file)(e);
    let (reader, writer) = io::pipe().map_err(piped)?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(|e| piped(e.into()))?;
    fs::remove_file(pid_file).ok();
    let child = runc.exec(argv, pid_file, writer)?;
    let health = await_command(child, reader, pid_file, limit);
    fs::remove_file(pid_file).ok();
    health
}

fn await_command(
    mut child: Child,
    mut output: io::PipeReader,
    pid_file: &Path,
    limit: Duration,
) -> Result<Health, HostError> {
    let mut tail = Tail::default();
    let mut hear = |tail: &mut Tail| {
        let mut buffer = [0; 4096];
        for _ in 0..READS_MAX {
            match output.read(&mut buffer) {
                Ok(count @ 1..) => tail.push(&buffer[..count]),
                Ok(0) | Err(_) => break,
            }
        }
    };
    let ended = poll(limit, || {
        hear(&mut tail);
        child.try_wait().map_err(HostError::io("waiting for runc exec of", pid_file))
    })?;
    if let Some(status) = ended {
        hear(&mut tail);
        let exit = ExitStatus::Code(status.code().unwrap_or(-1));
        return Ok(if status.success() { Health::Healthy } else { Health::Unhealthy { exit, output: tail.lines() } });
    }
    // Killing runc alone would leave the command.
    if let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|t| Pid::from_raw(t.trim().parse().ok()?)) {
        kill_process(pid, Signal::KILL).ok();
    }
    let followed =
        poll(Duration::from_secs(2), || child.try_wait().map_err(HostError::io("waiting for runc exec of", pid_file)))?;
    if followed.is_none() {
        child.kill().and_then(|()| child.wait()).map_err(HostError::io("ending runc exec of", pid_file))?;
    }
    Ok(Health::TimedOut { output: tail.lines() })
}
