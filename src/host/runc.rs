//! Commands to runc: <https://github.com/opencontainers/runc>, `man runc`.

use super::Layout;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A runc command that has not ended by then is killed.
pub(super) const COMMAND_MS_MAX: u64 = 30_000;
/// How often a command is asked whether it has ended.
pub(super) const POLL_MS: u64 = 5;
/// The longest text about its version that is read.
const VERSION_LEN_MAX: u64 = 4096;
/// What runc and the programs that it calls are looked for in.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a runc command failed.
#[derive(Debug, thiserror::Error)]
pub enum RuncError {
    /// It could not be run at all.
    #[error("running {} {act}: {source}; see that runc is installed and can be run (Debian: `apt-get install runc`, Yocto: \
             `runc-opencontainers`): no app starts without it", program.display())]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// Which command of it.
        act: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It ended otherwise than with 0.
    #[error("runc {act} ended with {status}")]
    Failed {
        /// Which command.
        act: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// It did not end in time.
    #[error("runc {act} did not end within {} s", COMMAND_MS_MAX / 1000)]
    Hangs {
        /// Which command.
        act: &'static str,
    },
}

/// Where `program` is in the usual directories; its bare name where it is in none.
pub(super) fn find(program: &str) -> PathBuf {
    let paths = PATH.split(':').map(|dir| Path::new(dir).join(program));
    paths.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.into())
}

/// Whether `program` can be run and ends well when it is asked for its version, which is what comes out.
pub(super) fn check(program: &Path) -> Result<String, RuncError> {
    let act = "--version";
    let mut command = clean(program);
    command.arg(act).stdout(Stdio::piped()).stderr(Stdio::null());
    let unspawned = |source| RuncError::Spawn { program: program.to_owned(), act, source };
    let mut child = command.spawn().map_err(unspawned)?;
    let out = child.stdout.take();
    finish(child, act, &unspawned)?;
    // It has ended, and what it said fits into the pipe.
    let mut said = Vec::new();
    if let Some(out) = out {
        out.take(VERSION_LEN_MAX).read_to_end(&mut said).map_err(unspawned)?;
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The runc of one container.
#[derive(Clone, Debug)]
pub(super) struct Runc {
    program: PathBuf,
    root: PathBuf,
    container: String,
    /// Makes commands services of systemd, not children.
    service: Option<Service>,
}

/// A command as a service of systemd.
#[derive(Clone, Debug)]
struct Service {
    /// How long it may take.
    limit: Duration,
    /// Empty from its begin on, then with its exit status: whoever asks systemd learns nothing when systemd or the bus
    /// goes away meanwhile.
    answer: PathBuf,
}

/// Notes begin and exit status of the command that follows. systemd takes `$$` for `$`.
const ANSWERED: &str = ": >\"$$0\"; \"$$@\"; echo $$? >\"$$0\"";

impl Runc {
    pub(super) fn new(program: &Path, layout: &Layout) -> Self {
        Runc { program: program.to_owned(), root: layout.runc_root(), container: layout.container(), service: None }
    }

    /// The same with commands that are services of systemd, and are ended after `limit`: what the agent's own unit may
    /// not do, such as entering a container, its children may not either. Their exit status comes into the file `answer`,
    /// which is there once they begin.
    #[cfg_attr(not(feature = "store"), expect(dead_code, reason = "only units are asked so"))]
    pub(super) fn through_systemd(self, limit: Duration, answer: PathBuf) -> Self {
        Runc { service: Some(Service { limit, answer }), ..self }
    }

    /// Where a command's exit status comes to; `None` for children.
    pub(super) fn answer(&self) -> Option<&Path> {
        self.service.as_ref().map(|service| service.answer.as_path())
    }

    /// Starts making the container; its standard streams become the app's.
    pub(super) fn run(
        &self,
        bundle: &Path,
        pid_file: &Path,
        out: io::PipeWriter,
        err: io::PipeWriter,
    ) -> Result<Child, RuncError> {
        let mut command = self.command("run");
        command.arg("--detach").arg("--bundle").arg(bundle).arg("--pid-file").arg(pid_file).arg(&self.container);
        self.spawn(command.stdout(out).stderr(err), "run")
    }

    /// Runs `argv` in the container; the caller waits.
    pub(super) fn exec(&self, argv: &[String], pid_file: &Path, out: io::PipeWriter) -> Result<Child, RuncError> {
        let mut command = self.command("exec");
        // systemd puts variables of the environment in their place in what it starts, and takes `$$` for `$`.
        let word = |arg: &String| if self.service.is_some() { arg.replace('$', "$$") } else { arg.clone() };
        command.arg("--pid-file").arg(pid_file).arg(&self.container).args(argv.iter().map(word));
        let err = out.try_clone().map_err(|source| self.unspawned("exec", source))?;
        self.spawn(command.stdout(out).stderr(err), "exec")
    }

    /// Kills what is left of the container and forgets it; nothing to do is success.
    pub(super) fn delete(&self) -> Result<(), RuncError> {
        if !self.root.join(&self.container).exists() {
            return Ok(());
        }
        let mut command = self.command("delete");
        command.arg("--force").arg(&self.container);
        let child = self.spawn(command.stdout(Stdio::null()).stderr(Stdio::null()), "delete")?;
        self.finish(child, "delete")
    }

    /// Waits for a command.
    pub(super) fn finish(&self, child: Child, act: &'static str) -> Result<(), RuncError> {
        finish(child, act, &|source| self.unspawned(act, source))
    }

    fn command(&self, act: &str) -> Command {
        let mut command = match &self.service {
            None => clean(&self.program),
            Some(Service { limit, answer }) => {
                let mut run = clean(&find("systemd-run"));
                // Each would be told in the journal otherwise.
                run.args([
                    "--quiet",
                    "--no-ask-password",
                    "--pipe",
                    "--wait",
                    "--collect",
                    "--property=LogLevelMax=notice",
                ]);
                run.arg(format!("--property=RuntimeMaxSec={}ms", limit.as_millis()));
                run.args(["--", "/bin/sh", "-c", ANSWERED]).arg(answer).arg(&self.program);
                run
            }
        };
        command.arg("--root").arg(&self.root).arg(act);
        command
    }

    fn spawn(&self, command: &mut Command, act: &'static str) -> Result<Child, RuncError> {
        command.spawn().map_err(|source| self.unspawned(act, source))
    }

    fn unspawned(&self, act: &'static str, source: io::Error) -> RuncError {
        RuncError::Spawn { program: self.program.clone(), act, source }
    }
}

/// With a clean environment: `NOTIFY_SOCKET` would make runc 1.1 hold signals back.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).current_dir("/").stdin(Stdio::null());
    command
}

fn finish(mut child: Child, act: &'static str, unspawned: &dyn Fn(io::Error) -> RuncError) -> Result<(), RuncError> {
    let deadline = Instant::now() + Duration::from_millis(COMMAND_MS_MAX);
    loop {
        match child.try_wait().map_err(unspawned)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(RuncError::Failed { act, status }),
            None if Instant::now() > deadline => {
                child.kill().and_then(|()| child.wait()).map_err(unspawned)?;
                return Err(RuncError::Hangs { act });
            }
            None => thread::sleep(Duration::from_millis(POLL_MS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_missing_or_broken_runtime_is_told_with_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("runc");
        let told = check(&program).unwrap_err().to_string();
        assert!(told.contains(program.to_str().unwrap()) && told.contains("apt-get install runc"), "{told}");
        std::fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
        let told = check(&program).unwrap_err().to_string();
        assert!(told.contains("Permission denied") && told.contains("can be run"), "{told}");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let told = check(&program).unwrap_err().to_string();
        assert_eq!(told, "runc --version ended with exit status: 3");
        check(Path::new("true")).unwrap();
    }
}
