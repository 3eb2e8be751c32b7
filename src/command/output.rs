//! What a command prints, and its exit status.

use super::UsageError;
use anyhow::Context as _;
use fullmetal::config::ConfigError;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints `text` to standard output. A reader that went away (`| head`) is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

/// Prints `value` as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// The exit status of a result; an error goes to standard error in one line.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "fullmetal: {}", one_line(&error));
    let usage = error.chain().any(|e| e.is::<ConfigError>() || e.is::<UsageError>());
    ExitCode::from(if usage { 2 } else { 1 })
}

/// The chain of causes; one that its parent already quotes is not said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Logs of a daemon go to standard error, as fields; `FULLMETAL_LOG` sets what is logged.
pub fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FULLMETAL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}
