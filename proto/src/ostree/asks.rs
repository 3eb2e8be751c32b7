//! What an app asks of the device that runs it: its place among other apps, limits, grants.
//!
//! The commit's metadata says it, so a build key has signed it. A device gives no more than its own policy allows.

use crate::AppName;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The most apps in one list of neighbours.
pub const NEIGHBOURS_MAX: usize = 16;
/// The most grants of one app.
pub const GRANTS_MAX: usize = 32;
/// Seconds that a start may take until the app says that it is ready.
pub const START_TIMEOUT_S: RangeInclusive<u32> = 1..=3600;
/// Bytes of memory; no container starts in less.
pub const MEMORY: RangeInclusive<u64> = 4 << 20..=1 << 40;
/// Thousandths of one CPU; the kernel takes no quota below a millisecond in each tenth of a second.
pub const CPU: RangeInclusive<u32> = 10..=1_024_000;
/// Processes and threads, the kernel's `PID_MAX_LIMIT`.
pub const PIDS: RangeInclusive<u32> = 1..=4_194_304;
/// Weight of block I/O; this range means the same to both versions of control groups (runc translates it).
pub const IO: RangeInclusive<u32> = 10..=1000;
/// The longest name of a device in a grant.
const DEVICE_LEN_MAX: usize = 64;

/// All that a commit asks for; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// `fullmetal.after` (as): apps that start before it where they are there.
    pub after: Vec<AppName>,
    /// `fullmetal.requires` (as): apps without which it does not run.
    pub requires: Vec<AppName>,
    /// `fullmetal.wants` (as): apps that are started with it, and whose end is not its own.
    pub wants: Vec<AppName>,
    /// `fullmetal.notify` (b): it says itself when it is ready, in systemd's protocol.
    pub notify: bool,
    /// `fullmetal.start-timeout` (u): seconds until it must be ready.
    pub start_timeout: Option<u32>,
    /// What it may use of the device.
    pub limits: Limits,
    /// `fullmetal.grants` (as): devices that it needs.
    pub grants: Vec<Grant>,
}

/// What an app may use of the device; no limit where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `fullmetal.memory` (t): bytes, within [`MEMORY`].
    pub memory: Option<u64>,
    /// `fullmetal.cpu` (u): thousandths of one CPU, within [`CPU`].
    pub cpu: Option<u32>,
    /// `fullmetal.pids` (u): processes and threads, within [`PIDS`].
    pub pids: Option<u32>,
    /// `fullmetal.io` (u): weight of block I/O against other apps, within [`IO`]; 500 is the kernel's default.
    pub io: Option<u32>,
}

/// Device nodes, by what they are for. A device's policy allows each app grants by these names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// `screen`: frame buffers, display controllers, and what people touch and type on.
    Screen,
    /// `gpu`: what renders and computes.
    Gpu,
    /// `sound`: ALSA's devices.
    Sound,
    /// `serial:NAME`: the terminal `/dev/NAME`, such as `serial:ttyUSB0`.
    Serial(String),
    /// `device:PATH`: the character device `/dev/PATH`, such as `device:i2c-1` or `device:input/event3`.
    Device(String),
}

/// A text that names no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{:?} is no grant: they are screen, gpu, sound, serial:NAME (such as serial:ttyUSB0) and device:PATH (such as device:i2c-1)",
    .0.chars().take(80).collect::<String>()
)]
pub struct NoGrant(String);

impl FromStr for Grant {
    type Err = NoGrant;

    fn from_str(text: &str) -> Result<Self, NoGrant> {
        let grant = match text.split_once(':') {
            None => match text {
                "screen" => Some(Grant::Screen),
                "gpu" => Some(Grant::Gpu),
                "sound" => Some(Grant::Sound),
                _ => None,
            },
            Some(("serial", name)) => is_serial(name).then(|| Grant::Serial(name.to_owned())),
            Some(("device", path)) => is_path(path).then(|| Grant::Device(path.to_owned())),
            Some(_) => None,
        };
        grant.ok_or_else(|| NoGrant(text.to_owned()))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Screen => f.write_str("screen"),
            Grant::Gpu => f.write_str("gpu"),
            Grant::Sound => f.write_str("sound"),
            Grant::Serial(name) => write!(f, "serial:{name}"),
            Grant::Device(path) => write!(f, "device:{path}"),
        }
    }
}

/// A number of bytes as people write it: `65536`, `512K`, `2M`, `2MiB`, `1G`. None for anything else.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// CPUs as people write them, such as `0.5` or `2`, in thousandths of one. None for anything else.
pub fn parse_cpu(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(part)
}

/// A serial port of any driver, but no console: `tty0`, `tty1`… are the screen's.
fn is_serial(name: &str) -> bool {
    let kind = name.strip_prefix("tty").unwrap_or_default();
    kind.starts_with(|c: char| c.is_ascii_alphabetic()) && is_path(name) && !name.contains('/')
}

/// A path below /dev that stays there.
fn is_path(path: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':' | b'@');
    let word = |w: &str| !w.is_empty() && !w.starts_with(['.', '-']) && w.bytes().all(ok);
    path.len() <= DEVICE_LEN_MAX && path.split('/').all(word)
}
