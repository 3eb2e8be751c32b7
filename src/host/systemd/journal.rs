//! An app's last lines, from the journal of systemd: `journalctl(1)`, fields of `systemd.journal-fields(7)`.

use super::super::tail::Tail;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long journalctl may take.
const LIMIT: Duration = Duration::from_secs(5);
/// What is read of its output: lines may be longer than those that are kept.
const BYTES_MAX: u64 = 1 << 20;

/// What the processes of `unit` said last, since `since_ms` (milliseconds of the device's clock), in this boot.
pub(super) fn last_lines(unit: &str, since_ms: u64) -> Vec<String> {
    let mut command = Command::new("journalctl");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.args(["--quiet", "--no-pager", "--output=cat", "--all", "--boot", "--lines=20"]);
    // journalctl takes whole seconds only with a fraction of six digits.
    command.arg(format!("--since=@{}.{:06}", since_ms / 1000, since_ms % 1000 * 1000));
    command.arg(format!("_SYSTEMD_UNIT={unit}")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            warn!(%error, "the journal cannot be read: no app's last lines are to be had");
            return Vec::new();
        }
    };
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.map(|output| output.take(BYTES_MAX).read_to_end(&mut bytes));
        bytes
    });
    let end = Instant::now() + LIMIT;
    while !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
        if Instant::now() > end {
            warn!(unit, "journalctl does not end");
            let _ = child.kill().and_then(|()| child.wait());
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let mut tail = Tail::default();
    tail.push(&reader.join().unwrap_or_default());
    tail.end();
    tail.lines()
}
