//! Reboots, asked of logind, and who holds them back.
//!
//! Interface: `org.freedesktop.login1(5)`. Until release 256 logind lets root reboot whatever inhibitors of mode `block` there
//! are; with `ROOT_CHECK_INHIBITORS` it heeds those of other users only. So they are looked at here, too. From 257 on root
//! must say that it skips them. Those of mode `delay` logind always waits for.

use super::bus::{Bus, BusError};
use std::fmt;

const LOGIND: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
/// `SD_LOGIND_ROOT_CHECK_INHIBITORS` and `SD_LOGIND_SKIP_INHIBITORS` of `sd-login.h`.
const CHECK: u64 = 1 << 0;
const SKIP: u64 = 1 << 4;

/// Who holds every shutdown back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownInhibitor {
    /// Who, in their own words.
    pub who: String,
    /// Why.
    pub why: String,
    /// Their process.
    pub pid: u32,
}

impl fmt::Display for ShutdownInhibitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}): {}", self.who.escape_debug(), self.pid, self.why.escape_debug())
    }
}

/// Who holds a reboot back until they let go.
///
/// # Errors
/// When logind cannot be asked.
pub fn shutdown_inhibitors() -> Result<Vec<ShutdownInhibitor>, BusError> {
    type Listed = (String, String, String, String, u32, u32);
    let call = (LOGIND, PATH, MANAGER, "ListInhibitors");
    let all: Vec<Listed> = Bus::connect()?.call("tell who holds a shutdown back (logind)", call, &())?;
    let blocks =
        |(what, _, _, mode, ..): &Listed| mode.starts_with("block") && what.split(':').any(|what| what == "shutdown");
    let told = |(_, who, why, _, _, pid): Listed| ShutdownInhibitor { who, why, pid };
    Ok(all.into_iter().filter(blocks).map(told).collect())
}

/// Begins to reboot. With `force` whoever holds it back is passed over, and logind, too, where it refuses.
///
/// # Errors
/// When logind refuses or is not there; forced, when systemd cannot be asked either.
pub fn reboot(force: bool) -> Result<(), BusError> {
    let bus = Bus::connect()?;
    let with = |flags: u64| bus.call("reboot (logind)", (LOGIND, PATH, MANAGER, "RebootWithFlags"), &(flags,));
    match force {
        false => with(CHECK),
        // An older logind does not know the flag, and does as root says without.
        true => with(SKIP).or_else(|_| with(0)).or_else(|_| bus.isolate_reboot()),
    }
}
