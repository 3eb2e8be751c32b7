//! A small tracer: runs a program and kills it at its n-th call that touches what a power cut must not break.
//!
//! It counts over all threads of the program, which strace's `when=` does not; child processes are not traced, so
//! that the apps of an agent live on. ptrace(2) explains the stops.

mod call;
mod names;
mod points;
mod unsynced;

pub use points::Points;

use anyhow::{Context as _, bail};
use call::Call;
use names::Names;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use unsynced::Synced;

/// The calls after which the disk is in another state, or is promised to be.
const CALLS: [libc::c_long; 15] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
];

/// What becomes of the program at the call.
#[derive(Clone, Copy, Debug)]
pub enum Then<'a> {
    /// It is killed.
    Killed,
    /// It is killed, and what was not synced below this directory is lost, in part.
    Torn(&'a Path),
    /// It stays there until this program ends, for whoever takes the power from the whole device at that moment.
    Held,
}

/// When and how a program is ended.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Before this call takes effect, from 1; 0 never.
    pub at: u64,
    /// Of calls of one kind in a row only the first, second, fourth and so on count: a checkout links thousands of files.
    pub sparse: bool,
    /// How.
    pub then: Then<'a>,
}

/// Runs `command`, and ends it. The number of calls so far is always in `count`, eight decimal digits. Gives whether it was
/// killed.
///
/// # Errors
/// Without root, or when something of it fails.
pub fn run(end: End<'_>, count: &Path, command: &[OsString]) -> anyhow::Result<bool> {
    let [program, args @ ..] = command else { bail!("no program to trace") };
    // The shell stops itself, so that the program is traced from its first call on.
    let child = Command::new("/bin/sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(program)
        .args(args)
        .spawn()
        .context("starting a shell")?;
    let child = Pid::from_raw(i32::try_from(child.id())?);
    waitpid(child, Some(WaitPidFlag::WUNTRACED)).context("waiting for the shell to stop")?;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::seize(child, options).context("tracing (root only)")?;
    kill(child, Signal::SIGCONT)?;
    let file = File::create(count).with_context(|| format!("creating {}", count.display()))?;
    let unsynced = match end.then {
        Then::Torn(dir) => Some((Synced::below(dir), Names::below(dir))),
        Then::Killed | Then::Held => None,
    };
    let mut tracer = Tracer { child, end, row: (0, 0), calls: 0, inside: BTreeSet::new(), file, unsynced };
    ptrace::interrupt(child)?;
    let killed = tracer.follow()?;
    if let Some((files, names)) = tracer.unsynced.filter(|_| killed) {
        // Some number that is another one for each point (the golden ratio's, as in Fibonacci hashing).
        let draw = end.at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        names.take_back(draw)?;
        files.tear(draw)?;
    }
    Ok(killed)
}

struct Tracer<'a> {
    child: Pid,
    end: End<'a>,
    /// The kind of the calls that are in a row now, and how many they are.
    row: (libc::c_long, u64),
    calls: u64,
    /// Threads that are between the two stops of a call.
    inside: BTreeSet<i32>,
    file: File,
    unsynced: Option<(Synced, Names)>,
}

impl Tracer<'_> {
    fn follow(&mut self) -> anyhow::Result<bool> {
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, _)) if pid == self.child => return Ok(false),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.child => return Ok(signal == Signal::SIGKILL),
                Ok(WaitStatus::PtraceSyscall(pid)) => self.call(pid)?,
                // A stop by a signal hands the signal on; events and ends of threads hand on nothing.
                Ok(WaitStatus::Stopped(pid, signal)) => go_on(pid, Some(signal)),
                Ok(WaitStatus::PtraceEvent(pid, ..)) => go_on(pid, None),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).context("waiting for the traced program"),
            }
        }
    }

    fn counts(&mut self, call: libc::c_long) -> bool {
        let before = if self.row.0 == kind(call) { self.row.1 } else { 0 };
        self.row = (kind(call), before + 1);
        !self.end.sparse || self.row.1.is_power_of_two()
    }

    fn call(&mut self, pid: Pid) -> anyhow::Result<()> {
        let ends = self.inside.remove(&pid.as_raw());
        if !ends {
            self.inside.insert(pid.as_raw());
        }
        match Call::of(pid) {
            Some(call) if ends => {
                if let Some((files, names)) = &mut self.unsynced {
                    files.ends(&call);
                    names.ends(&call);
                }
            }
            Some(call) if CALLS.contains(&call.number) && self.counts(call.number) => {
                self.calls += 1;
                self.file.write_all_at(format!("{:08}", self.calls).as_bytes(), 0)?;
                if self.calls == self.end.at {
                    if matches!(self.end.then, Then::Held) {
                        loop {
                            // Its other threads stop at their next call.
                            std::thread::park();
                        }
                    }
                    kill(self.child, Signal::SIGKILL).context("killing")?;
                    return Ok(());
                }
                if let Some((_, names)) = &mut self.unsynced {
                    names.begins(&call)?;
                }
            }
            _ => {}
        }
        go_on(pid, None);
        Ok(())
    }
}

/// What makes names, and what removes them, is of one kind each.
fn kind(call: libc::c_long) -> libc::c_long {
    match call {
        libc::SYS_link | libc::SYS_symlink | libc::SYS_symlinkat => libc::SYS_linkat,
        libc::SYS_unlink | libc::SYS_rmdir => libc::SYS_unlinkat,
        other => other,
    }
}

/// A thread that is gone already is no trouble.
fn go_on(pid: Pid, signal: Option<Signal>) {
    let signal = signal.filter(|s| !matches!(s, Signal::SIGSTOP | Signal::SIGTRAP));
    let _ = ptrace::syscall(pid, signal);
}
