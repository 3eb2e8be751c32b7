//! Runs a program as a service of systemd: what the agent's own unit may not do, its children may not either.

use super::Ran;
use rustix::io::ioctl_fionbio;
use std::fs;
use std::io::{self, PipeReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What systemd may take to begin and to end it.
const MARGIN: Duration = Duration::from_secs(15);
/// How often it is looked for its end.
const LOOK: Duration = Duration::from_millis(20);
/// How much of what it says is kept.
const SAID_LEN_MAX: usize = 4096;
/// How much of the last line is told, in characters.
const LINE_LEN_MAX: usize = 200;
/// Notes begin and exit status: whoever asks systemd learns nothing when systemd or the bus goes away meanwhile. systemd takes
/// `$$` for `$`.
const ANSWERED: &str = "echo begun >\"$$0\"; \"$$1\"; echo $$? >\"$$0\"";

/// Runs `program`, and ends it and all that it started after `limit`; `run_dir` is for its exit status.
///
/// # Errors
/// When systemd did not run it, or nobody told its end.
pub(super) fn run(program: &Path, limit: Duration, run_dir: &Path) -> Result<Ran, String> {
    let failed = |what: &str, e: io::Error| format!("{what}: {e}");
    let answer = tempfile::Builder::new().prefix("health-").suffix(".answer").tempfile_in(run_dir);
    let answer = answer.map_err(|e| failed("making a file for its answer", e))?.into_temp_path();
    let (mut output, writer) = io::pipe().map_err(|e| failed("making a pipe", e))?;
    ioctl_fionbio(&output, true).map_err(|e| failed("making a pipe", e.into()))?;
    let mut command = service(program, &answer, limit);
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(|e| failed("making a pipe", e))?).stderr(writer);
    let mut child = command.spawn().map_err(|e| failed("running systemd-run", e))?;
    drop(command);
    let (began, mut said, mut begun) = (Instant::now(), Vec::new(), false);
    let status = loop {
        let gone = child.try_wait().map_err(|e| failed("waiting for systemd-run", e))?.is_some();
        listen(&mut output, &mut said);
        let told = fs::read_to_string(&answer).unwrap_or_default();
        begun |= !told.is_empty();
        let status = told.trim().parse::<i32>().ok();
        // systemd may go away before the program does.
        let in_vain = gone && (!begun || began.elapsed() >= limit);
        if status.is_some() || in_vain || began.elapsed() >= limit + MARGIN {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    // It ends by itself but where systemd hangs.
    let _ = child.kill().and_then(|()| child.wait());
    listen(&mut output, &mut said);
    let said = last_line(&said);
    match status {
        Some(0) => Ok(Ran::Well),
        // Its shell may still have told how it was ended.
        _ if begun && began.elapsed() >= limit => Ok(Ran::TooLong { said }),
        Some(status) => Ok(Ran::Failed { status, said }),
        None => Err(if said.is_empty() { "systemd did not begin it".into() } else { said }),
    }
}

fn service(program: &Path, answer: &Path, limit: Duration) -> Command {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--no-ask-password", "--pipe", "--wait", "--collect", "--property=LogLevelMax=notice"]);
    command.args([format!("--property=RuntimeMaxSec={}ms", limit.as_millis()), "--property=TimeoutStopSec=2s".into()]);
    command.arg("--description=Health check of the operating system").args(["--", "/bin/sh", "-c", ANSWERED]);
    command.arg(answer).arg(program.to_string_lossy().replace('$', "$$"));
    command
}

/// Takes what there is to hear, and keeps its end.
fn listen(output: &mut PipeReader, said: &mut Vec<u8>) {
    let mut buffer = [0; SAID_LEN_MAX];
    // Bounded: it may never stop talking.
    for _ in 0..64 {
        match output.read(&mut buffer) {
            Ok(count @ 1..) => said.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => break,
        }
        said.drain(..said.len().saturating_sub(SAID_LEN_MAX));
    }
}

/// For people: without what does something to a terminal.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn the_last_line_is_told_in_one_line() {
        assert_eq!(last_line(b"a\nno disk\x1b[0m\n\n"), "no disk [0m");
        assert_eq!(last_line(b""), "");
        assert_eq!(last_line("é".repeat(5000).as_bytes()).chars().count(), 200);
    }
}
