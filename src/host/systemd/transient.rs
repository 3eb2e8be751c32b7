//! Programs that systemd runs once, as a unit that is gone with them: for what a hardened service may not do itself.
//!
//! Interface: `StartTransientUnit` of `org.freedesktop.systemd1(5)`; properties as `systemd.service(5)` has them.

use super::bus::{Bus, BusError};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};
use zbus::zvariant::{Fd, Value};

/// How long a program may take to end that is to be stopped; what systemd gives it by default, and some.
const STOP_MAX: Duration = Duration::from_secs(100);

/// How long systemd may take to forget a unit that has ended, and how often it is asked.
const FORGET_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    /// The unit's name. One that runs under it already is stopped first: two never run at once.
    pub unit: &'a str,
    /// What it is, for people.
    pub description: &'a str,
    /// The program and its arguments.
    pub argv: &'a [String],
    /// Variables of its environment, as `NAME=value`.
    pub environment: &'a [String],
    /// How long it may take; it is killed then.
    pub limit: Duration,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How systemd calls its end: `done`, `failed`, `timeout` …
    pub result: String,
    /// What it printed; more than a pipe holds (64 KiB) keeps it from ending.
    pub printed: Vec<u8>,
}

/// Has systemd run a program as root, without network, and waits for its end.
///
/// # Errors
/// When systemd cannot be asked or does not answer.
pub fn run_once(once: &Once<'_>) -> Result<Ran, BusError> {
    stop_what_runs(once.unit)?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| BusError::Loop(error.into()))?;
    let mut bus = Bus::connect()?;
    let began = Instant::now();
    let job = loop {
        let properties = properties(once, Fd::from(write.as_fd()));
        let none: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        match bus.begin(once.unit, "StartTransientUnit", &(once.unit, "fail", properties, none)) {
            // systemd has not yet forgotten the one before.
            Err(error) if is_there(&error) && began.elapsed() < FORGET_MAX => thread::sleep(LOOK),
            begun => break begun?,
        }
    };
    drop(write);
    let end = bus.job(once.unit, job).end(once.limit + STOP_MAX, |_| {}, || {})?;
    // systemd may hold its end of the pipe for longer than the program.
    let _ = fcntl_setfl(&read, OFlags::NONBLOCK);
    let (mut printed, mut pipe) = (Vec::new(), std::fs::File::from(read));
    match pipe.read_to_end(&mut printed) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(BusError::Loop(error)),
        _ => Ok(Ran { result: end.result, printed }),
    }
}

fn properties<'a>(once: &'a Once<'_>, output: Fd<'a>) -> Vec<(&'static str, Value<'a>)> {
    let program = once.argv.first().map_or("", String::as_str);
    let limit = u64::try_from(once.limit.as_micros()).unwrap_or(u64::MAX);
    vec![
        ("Description", once.description.into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", vec![(program, once.argv.to_vec(), false)].into()),
        ("Environment", once.environment.to_vec().into()),
        ("TimeoutStartUSec", limit.into()),
        ("StandardOutputFileDescriptor", Value::Fd(output)),
        ("PrivateNetwork", true.into()),
        ("NoNewPrivileges", true.into()),
    ]
}

/// Whoever started it is gone.
fn stop_what_runs(unit: &str) -> Result<(), BusError> {
    let mut bus = Bus::connect()?;
    if bus.unit(unit)?.text("ActiveState") == "inactive" {
        return Ok(());
    }
    if let Some(job) = bus.stop(unit)? {
        job.end(STOP_MAX, |_| {}, || {})?;
    }
    bus.reset_failed(unit)
}

fn is_there(error: &BusError) -> bool {
    let BusError::Call { source, .. } = error else { return false };
    matches!(&**source, zbus::Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.systemd1.UnitExists")
}
