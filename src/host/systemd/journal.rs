//! An app's last lines, from the journal of systemd: `journalctl(1)`, fields of `systemd.journal-fields(7)`.

use super::super::tail::Tail;
use crate::limited;
use std::process::Command;
use std::time::Duration;
use tracing::warn;

/// How long journalctl may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What the processes of `unit` said last, since `since_ms` (milliseconds of the device's clock), in this boot.
pub(super) fn last_lines(unit: &str, since_ms: u64) -> Vec<String> {
    let mut command = Command::new("journalctl");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.args(["--quiet", "--no-pager", "--output=cat", "--all", "--boot", "--lines=20"]);
    // journalctl takes whole seconds only with a fraction of six digits.
    command.arg(format!("--since=@{}.{:06}", since_ms / 1000, since_ms % 1000 * 1000));
    command.arg(format!("_SYSTEMD_UNIT={unit}"));
    let said = limited::output(&mut command, b"", LIMIT);
    let said = said.inspect_err(|error| warn!(unit, %error, "journalctl: no last lines are to be had"));
    let mut tail = Tail::default();
    tail.push(&said.map(|said| said.stdout).unwrap_or_default());
    tail.end();
    tail.lines()
}
