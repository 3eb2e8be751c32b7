//! What a command prints, and its exit status.

use anyhow::Context as _;
use fullmetal::config::ConfigError;
use fullmetal_gateway::daemon::DaemonError;
use fullmetal_gateway::decision::DecisionError;
use std::io::Write as _;
use std::process::ExitCode;

/// The gateway said no, or not yet.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

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
    let _ = writeln!(std::io::stderr(), "fullmetal-gateway: {}", one_line(&error));
    let usage = |e: &(dyn std::error::Error + 'static)| {
        e.is::<ConfigError>()
            || e.is::<DecisionError>()
            || e.downcast_ref::<DaemonError>().is_some_and(DaemonError::is_configuration)
    };
    ExitCode::from(if error.chain().any(usage) { 2 } else { 1 })
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
