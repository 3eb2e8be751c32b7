//! Large pages of memory for runs: one of thousands of devices jumps about in hundreds of megabytes, and finding each page
//! of 4 KiB takes it a fifth of its time.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What glibc reads when a program starts
/// (<https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html>).
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Stands in the environment of the program that was started anew: a glibc that takes its variable out of it, as for programs
/// with rights of their own, must not make this go on for ever.
const ENLARGED: &str = "FULLMETAL_SIM_ENLARGED";
/// Memory is given to programs in pages of 2 MiB, where the kernel leaves that to them (`madvise`).
const LARGE_PAGES: &str = "glibc.malloc.hugetlb=1";

/// Starts this program anew in its own place, with large pages; what the environment says of memory already stands.
/// What cannot be started anew goes on as it is, only slower.
pub fn enlarge() {
    let Ok(program) = env::current_exe() else { return };
    if env::var_os(TUNABLES).is_none() && env::var_os(ENLARGED).is_none() {
        let mut args = env::args_os();
        let name = args.next().unwrap_or_else(|| program.clone().into_os_string());
        let _ = Command::new(program).arg0(name).args(args).env(TUNABLES, LARGE_PAGES).env(ENLARGED, "1").exec();
    }
}
