//! One call of a traced thread, as its registers and memory show it.

use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// A call at its begin or end.
pub(super) struct Call {
    pub(super) thread: i32,
    pub(super) number: libc::c_long,
    arguments: [u64; 4],
    /// At the end; 0 is success.
    pub(super) result: u64,
}

impl Call {
    /// The call at which the thread has stopped.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of(thread: Pid) -> Option<Self> {
        let registers = ptrace::getregs(thread).ok()?;
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let number = libc::c_long::try_from(registers.orig_rax).ok()?;
        Some(Call { thread: thread.as_raw(), number, arguments, result: registers.rax })
    }

    /// The file or directory that it has synced.
    pub(super) fn synced(&self) -> Option<PathBuf> {
        let syncs = matches!(self.number, libc::SYS_fsync | libc::SYS_fdatasync);
        let descriptor = PathBuf::from(format!("/proc/{}/fd/{}", self.thread, self.arguments[0]));
        (syncs && self.result == 0).then_some(descriptor)
    }

    /// The name that it gives or takes, and which one the file had that gets it.
    pub(super) fn names(&self) -> Option<(Option<PathBuf>, PathBuf)> {
        let path = |argument: usize| self.path(self.arguments[argument]);
        match self.number {
            libc::SYS_rename => Some((Some(path(0)?), path(1)?)),
            libc::SYS_renameat | libc::SYS_renameat2 => Some((Some(path(1)?), path(3)?)),
            libc::SYS_unlink => Some((None, path(0)?)),
            libc::SYS_unlinkat => Some((None, path(1)?)),
            _ => None,
        }
    }

    /// The absolute path at an address of the program.
    fn path(&self, address: u64) -> Option<PathBuf> {
        let mut bytes = vec![0; libc::PATH_MAX as usize];
        let memory = File::open(format!("/proc/{}/mem", self.thread)).ok()?;
        let length = memory.read_at(&mut bytes, address).ok()?;
        let end = bytes[..length].iter().position(|b| *b == 0)?;
        bytes.truncate(end);
        Some(PathBuf::from(OsString::from_vec(bytes))).filter(|path| path.is_absolute())
    }
}
