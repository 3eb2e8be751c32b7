//! What the programs print, what they log, and their exit status: 0, 1 for failure, 2 for usage and configuration.

use crate::config::ConfigError;
use crate::identity::IdentityError;
use anyhow::Context as _;
use std::error::Error;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The caller used a command in a way that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Prints `text` to standard output. A reader that went away (`| head`) is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_on(text).map(|_| ())
}

/// The same for a program that goes on printing; false when the reader went away.
pub fn print_on(text: &str) -> anyhow::Result<bool> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("writing to standard output"),
    }
}

/// Prints `value` as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// An amount of bytes for people: `512 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let fits = |n: &usize| bytes >> (10 * (n + 1)) < 1024;
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ => {
            let n = (0..units.len()).find(fits).unwrap_or(units.len() - 1);
            let tenths = (u128::from(bytes) * 10) >> (10 * (n + 1));
            format!("{}.{} {}", tenths / 10, tenths % 10, units[n])
        }
    }
}

/// A time span for people: `42 s`, `3 min 20 s`, `5 h 7 min`, `2 d 3 h`.
pub fn seconds(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        3600..86_400 => format!("{} h {} min", secs / 3600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3600 % 24),
    }
}

/// The exit status of a result of `program`; an error goes to standard error in one line.
///
/// `is_usage` knows the program's own errors that the caller or the configuration is to blame for.
pub fn exit(program: &str, result: anyhow::Result<()>, is_usage: fn(&(dyn Error + 'static)) -> bool) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "{program}: {}", one_line(&error));
    ExitCode::from(if error.chain().any(|e| blames_caller(e) || is_usage(e)) { 2 } else { 1 })
}

fn blames_caller(error: &(dyn Error + 'static)) -> bool {
    let identity = error.downcast_ref::<IdentityError>();
    error.is::<ConfigError>() || error.is::<UsageError>() || identity.is_some_and(IdentityError::is_configuration)
}

/// The chain of causes; one that its parent already quotes is not said twice.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Logs of a daemon go to standard error, as fields; `FULLMETAL_LOG` sets what is logged.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("FULLMETAL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_all_on_one_line() {
        let error = anyhow::anyhow!("no such file").context("reading x: no such file").context("loading trust");
        assert_eq!(one_line(&error), "loading trust: reading x: no such file");
    }

    #[test]
    fn amounts_are_fit_for_people() {
        let of = [0, 1023, 1024, 1536, 5 << 20, (1 << 30) - 1, u64::MAX].map(bytes);
        assert_eq!(of, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "1023.9 MiB", "16777215.9 TiB"]);
        let of = [0, 59, 61, 3661, 90_000].map(seconds);
        assert_eq!(of, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn wrong_files_are_told_from_a_disk_that_refuses_to_write() {
        let file = |action| {
            let (path, source) = ("trust".into(), std::io::Error::other("no"));
            anyhow::Error::from(IdentityError::File { action, path, source }).context("starting")
        };
        let status = |error: anyhow::Error| exit("test", Err(error), |_| false);
        assert_eq!(status(file("reading")), ExitCode::from(2));
        assert_eq!(status(file("writing")), ExitCode::from(1));
        assert_eq!(status(UsageError("no".into()).into()), ExitCode::from(2));
        assert_eq!(status(anyhow::anyhow!("no")), ExitCode::from(1));
    }
}
