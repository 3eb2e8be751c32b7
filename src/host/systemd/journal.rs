//! An app's last lines, from the journal of systemd: `journalctl(1)`, fields of `systemd.journal-fields(7)`.

use super::super::tail::Tail;
use crate::limited;
use fullmetal_proto::deploy::{BootId, LastBoot};
use std::process::Command;
use std::time::Duration;
use tracing::warn;

/// How long journalctl may take for an app, whose report waits for it.
const LIMIT: Duration = Duration::from_secs(5);
/// The same for another boot, which it looks for in all that the journal has, on a slow disk that is busy with starting up.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// What the processes of `unit` said last, since `since_ms` (milliseconds of the device's clock), in this boot.
pub(super) fn last_lines(unit: &str, since_ms: u64) -> Vec<String> {
    // journalctl takes whole seconds only with a fraction of six digits.
    let since = format!("--since=@{}.{:06}", since_ms / 1000, since_ms % 1000 * 1000);
    lines(LIMIT, &["--boot", "--lines=20", "--output=cat", &since, &format!("_SYSTEMD_UNIT={unit}")])
}

/// The newest boot before this one of which the journal knows; none where it does not outlive a boot.
pub fn last_boot() -> Option<LastBoot> {
    let newest = lines(BOOT_LIMIT, &["--boot=-1", "--lines=1", "--output=export", "--output-fields=_BOOT_ID"]);
    let boot = newest.iter().find_map(|line| line.strip_prefix("_BOOT_ID="))?;
    let lines = lines(BOOT_LIMIT, &["--boot=-1", "--lines=20", "--output=short-monotonic", "--no-hostname"]);
    Some(LastBoot { boot: BootId(boot.to_owned()), lines })
}

fn lines(limit: Duration, which: &[&str]) -> Vec<String> {
    let mut command = Command::new("journalctl");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.args(["--quiet", "--no-pager", "--all"]).args(which);
    let said = limited::output(&mut command, b"", limit);
    let said = said.inspect_err(|error| warn!(?which, %error, "journalctl: no last lines are to be had"));
    let mut tail = Tail::default();
    tail.push(&said.map(|said| said.stdout).unwrap_or_default());
    tail.end();
    tail.lines()
}
