//! Tells systemd that the deciding thread goes on, where the unit has a `WatchdogSec=`: an agent that hangs is killed and started
//! again. The protocol is that of sd_watchdog_enabled(3) and sd_notify(3).

use super::Agent;
use fullmetal_proto::Timestamp;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tracing::warn;

/// How often within the time that systemd gives.
const TIMES: u32 = 2;

/// Whom to tell, and when.
pub struct Alive {
    socket: UnixDatagram,
    every: Duration,
    /// When it is told next.
    at: Timestamp,
}

impl Alive {
    /// `None` where nobody watches this process; `variable` is one of its environment.
    pub fn watched(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let limit = number("WATCHDOG_USEC").filter(|limit| *limit > 0)?;
        if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
            return None;
        }
        let name = variable("NOTIFY_SOCKET")?;
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // A systemd that is busy is told the next time.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = socket.inspect_err(|error| warn!(%error, "systemd will take this agent for one that hangs"));
        Some(Alive { socket: socket.ok()?, every: Duration::from_micros(limit) / TIMES, at: Timestamp::ZERO })
    }

    /// Tells it if that is due.
    fn tell(&mut self, now: Timestamp) {
        if self.at <= now {
            let _ = self.socket.send(b"WATCHDOG=1");
            self.at = now.after(self.every);
        }
    }
}

impl Agent {
    /// Says that it goes on; how long there is nothing to do then.
    pub(super) fn rest(&mut self) -> Duration {
        let now = self.now().steady;
        self.alive.iter_mut().for_each(|alive| alive.tell(now));
        let due = self.alive.iter().map(|alive| alive.at).fold(self.due(), Timestamp::min);
        due.since(now).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_twice_within_the_time_and_only_by_who_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let own = std::process::id().to_string();
        let watched = |usec: &str, pid: &str| {
            Alive::watched(|name| match name {
                "WATCHDOG_USEC" => Some(usec.into()),
                "WATCHDOG_PID" => Some(pid.into()),
                _ => Some(path.clone().into()),
            })
        };
        assert!(
            watched("0", &own).is_none() && watched("1000000", "1").is_none() && Alive::watched(|_| None).is_none()
        );
        let mut alive = watched("1000000", &own).unwrap();
        let told = |alive: &mut Alive, millis| {
            alive.tell(Timestamp::ZERO.after(Duration::from_millis(millis)));
            let mut word = [0; 64];
            systemd.recv(&mut word).ok().map(|length| word[..length] == *b"WATCHDOG=1")
        };
        assert_eq!(
            [0, 499, 500, 999, 1000].map(|millis| told(&mut alive, millis)),
            [Some(true), None, Some(true), None, Some(true)]
        );
        drop(systemd);
        alive.tell(Timestamp::from_secs(9));
    }
}
