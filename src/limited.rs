//! Programs of the system that are run to their end: within a time, and with a bound on what is read of what they say.

use std::io::{self, Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is read of each of a program's two outputs.
const BYTES_MAX: u64 = 1 << 20;
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Runs a program and gives what it said. `input`, less than a pipe holds, is all that it reads.
///
/// # Errors
/// When it cannot be started, or does not end within `limit`: it is killed then.
pub(crate) fn output(command: &mut Command, input: &[u8], limit: Duration) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // One that reads nothing says why.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let (stdout, stderr) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > end => {
                let _ = child.kill().and_then(|()| child.wait());
                let late = format!("it has not ended after {} s", limit.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, late));
            }
            None => thread::sleep(LOOK),
        }
    };
    let all = |reader: Option<JoinHandle<Vec<u8>>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: all(stdout), stderr: all(stderr) })
}

fn read(from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut bytes, mut from) = (Vec::new(), from);
        let _ = from.by_ref().take(BYTES_MAX).read_to_end(&mut bytes);
        // Else it would wait for a reader instead of ending.
        let _ = io::copy(&mut from, &mut io::sink());
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_its_input_and_its_words_are_read_to_a_bound() {
        let minute = Duration::from_secs(60);
        let echoed = output(Command::new("sh").args(["-c", "cat; echo no >&2; exit 3"]), b"yes", minute).unwrap();
        assert_eq!((&echoed.stdout[..], &echoed.stderr[..]), (&b"yes"[..], &b"no\n"[..]));
        assert_eq!(echoed.status.code(), Some(3));
        let long = output(Command::new("head").args(["-c", "3000000", "/dev/zero"]), b"", minute).unwrap();
        assert_eq!((long.stdout.len(), long.status.success()), (1 << 20, true));
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let late = output(Command::new("sleep").arg("600"), b"", Duration::from_millis(20)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
