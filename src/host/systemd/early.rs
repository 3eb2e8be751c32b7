//! An app that ends before it has said that it is ready.
//!
//! runc 1.1 waits for that word (`NOTIFY_SOCKET`) as long as the container's main process is in `/proc`, where it is as a
//! zombie until runc itself takes it away: runc waits for ever and systemd for its timeout. runc is killed then, which is
//! to systemd the end of the service.

use crate::host::supervise::read_pid;
use fullmetal_proto::wire::report::ExitStatus;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::PathBuf;

/// Looks whether the app has ended, while its start is waited for.
pub(super) struct Early {
    pid_file: PathBuf,
    /// The zombie that was there at the last look: runc takes others away at once.
    zombie: Option<Pid>,
    /// How the app ended, if it did and can be seen.
    pub(super) exit: Option<ExitStatus>,
}

impl Early {
    pub(super) fn new(pid_file: PathBuf) -> Self {
        Early { pid_file, zombie: None, exit: None }
    }

    pub(super) fn look(&mut self) {
        let Some(pid) = read_pid(&self.pid_file).ok() else { return };
        let Some(Zombie { parent, status }) = Zombie::read(pid) else { return };
        if self.zombie.replace(pid) == Some(pid) {
            self.exit = exit_of(status).or(self.exit);
            kill_process(parent, Signal::KILL).ok();
        }
    }
}

/// What is left of a process that has ended.
struct Zombie {
    parent: Pid,
    /// As `wait(2)` gives it; 0 also where this process may not see it.
    status: i32,
}

impl Zombie {
    /// `proc_pid_stat(5)`: the name is in parentheses and may hold any letters; fields 3, 4 and 52.
    fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
        let parent = Pid::from_raw(fields.get(1)?.parse().ok()?)?;
        let runtime = fs::read_to_string(format!("/proc/{}/comm", parent.as_raw_nonzero())).ok()?;
        if fields.first() != Some(&"Z") || !runtime.starts_with("runc") {
            return None;
        }
        Some(Zombie { parent, status: fields.get(49).and_then(|f| f.parse().ok()).unwrap_or(0) })
    }
}

fn exit_of(status: i32) -> Option<ExitStatus> {
    match (status & 0x7f, (status >> 8) & 0xff) {
        (0, 0) => None,
        (0, code) => Some(ExitStatus::Code(code)),
        (signal, _) => Some(ExitStatus::Signal(signal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_as_wait_gives_it() {
        assert_eq!(exit_of(3 << 8), Some(ExitStatus::Code(3)));
        assert_eq!(exit_of(9), Some(ExitStatus::Signal(9)));
        assert_eq!(exit_of(0x80 | 11), Some(ExitStatus::Signal(11)));
        assert_eq!(exit_of(0), None);
    }
}
