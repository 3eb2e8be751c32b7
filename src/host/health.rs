//! A health command inside an app's container.

use super::runc::Runc;
use super::supervisor::poll;
use super::tail::Tail;
use super::{Health, HostError};
use fullmetal_proto::wire::report::ExitStatus;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{self, Child};
use std::time::Duration;

/// What is read at once; bounded, so that a command that never stops talking cannot outlast its limit.
const READS_MAX: usize = 256;

/// How long what waits for a command, or the runtime, may take to follow its end.
const FOLLOW_MAX: Duration = Duration::from_secs(2);

/// Runs `argv` in the container; runc writes the id of its process to `pid_file`.
///
/// # Errors
/// [`HostError::Unanswered`] when systemd did not run it to its end.
pub(super) fn ask(runc: &Runc, argv: &[String], pid_file: &Path, limit: Duration) -> Result<Health, HostError> {
    let piped = |e| HostError::io("making a pipe for", pid_file)(e);
    let (output, writer) = io::pipe().map_err(piped)?;
    rustix::io::ioctl_fionbio(&output, true).map_err(|e| piped(e.into()))?;
    let forget = || [Some(pid_file), runc.answer()].into_iter().flatten().for_each(|file| drop(fs::remove_file(file)));
    forget();
    let child = runc.exec(argv, pid_file, writer)?;
    let health = Asked { child, output, tail: Tail::default(), pid_file, answer: runc.answer() }.health(limit);
    forget();
    health
}

/// A command that was asked for.
struct Asked<'a> {
    /// The runtime, or who waits for it.
    child: Child,
    output: io::PipeReader,
    tail: Tail,
    pid_file: &'a Path,
    /// See [`Runc::through_systemd`].
    answer: Option<&'a Path>,
}

impl Asked<'_> {
    fn health(mut self, limit: Duration) -> Result<Health, HostError> {
        if let Some(answer) = self.answer {
            poll(limit, || Ok((self.follow()?.is_some() || answer.exists()).then_some(())))?;
            if !answer.exists() {
                self.end()?;
                return Err(self.unanswered("it was not begun"));
            }
        }
        let ended = poll(limit, || {
            let status = self.follow()?;
            Ok(match self.answer {
                None => status.map(|status| status.code().unwrap_or(-1)),
                Some(answer) => fs::read_to_string(answer).ok().and_then(|text| text.trim().parse().ok()),
            })
        })?;
        let gone = self.follow()?.is_some();
        if ended.is_none() {
            self.kill();
        }
        self.end()?;
        let output = self.tail.lines();
        Ok(match ended {
            Some(0) => Health::Healthy,
            Some(code) => Health::Unhealthy { exit: ExitStatus::Code(code), output },
            None if gone => return Err(self.unanswered("its end was not told")),
            None => Health::TimedOut { output },
        })
    }

    /// Hears what there is to hear; gives how the child ended.
    fn follow(&mut self) -> Result<Option<process::ExitStatus>, HostError> {
        let ended = self.child.try_wait().map_err(HostError::io("waiting for runc exec of", self.pid_file))?;
        let mut buffer = [0; 4096];
        for _ in 0..READS_MAX {
            match self.output.read(&mut buffer) {
                Ok(count @ 1..) => self.tail.push(&buffer[..count]),
                Ok(0) | Err(_) => break,
            }
        }
        Ok(ended)
    }

    /// Killing runc alone would leave the command.
    fn kill(&self) {
        if let Some(pid) = fs::read_to_string(self.pid_file).ok().and_then(|t| Pid::from_raw(t.trim().parse().ok()?)) {
            kill_process(pid, Signal::KILL).ok();
        }
    }

    /// Leaves no child.
    fn end(&mut self) -> Result<(), HostError> {
        if poll(FOLLOW_MAX, || self.follow())?.is_none() {
            let ended = self.child.kill().and_then(|()| self.child.wait());
            ended.map_err(HostError::io("ending runc exec of", self.pid_file))?;
        }
        Ok(())
    }

    fn unanswered(&self, what: &str) -> HostError {
        let last = self.tail.lines().pop().map(|line| format!(": {line}")).unwrap_or_default();
        HostError::Unanswered { why: format!("{what}{last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What is made of a child that does this; `$0` is the file for the answer.
    fn asked(script: &str, limit: Duration) -> Result<Health, String> {
        let dir = tempfile::tempdir().unwrap();
        let (pid_file, answer) = (dir.path().join("pid"), dir.path().join("answer"));
        let (output, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&output, true).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&answer).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        drop(command);
        let asked = Asked { child, output, tail: Tail::default(), pid_file: &pid_file, answer: Some(&answer) };
        asked.health(limit).map_err(|e| e.to_string())
    }

    #[test]
    fn only_what_the_command_says_is_an_answer() {
        let (long, short) = (Duration::from_secs(20), Duration::from_millis(300));
        assert_eq!(asked(": >$0; echo 0 >$0; exit 1", long), Ok(Health::Healthy));
        // The bus goes away first.
        assert_eq!(asked(": >$0; (sleep 0.2; echo 0 >$0) & exit 1", long), Ok(Health::Healthy));
        let no = Health::Unhealthy { exit: ExitStatus::Code(3), output: vec!["no page".into()] };
        assert_eq!(asked(": >$0; echo no page; echo 3 >$0; exit 3", long), Ok(no));
        let told = asked("echo Failed to connect to bus; exit 1", long).unwrap_err();
        assert!(told.contains("it was not begun: Failed to connect to bus"), "{told}");
        let told = asked(": >$0; exit 1", short).unwrap_err();
        assert!(told.contains("its end was not told"), "{told}");
    }
}
