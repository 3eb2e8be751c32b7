//! The real [`Os`]: each step is a unit that systemd runs for the agent, which may itself neither write nor open what an
//! operating system is changed by.

use super::{Answer, GENERATOR, Os, OsError, Step, words};
use crate::config::Paths;
use crate::host::{BusError, Once, Ran, run_once};
use fullmetal_proto::deploy::OsView;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tracing::warn;

/// There is one at a time. One that an earlier agent started is stopped, which is to it what a power cut would be.
const UNIT: &str = "fullmetal-os.service";
/// How long it may take to look.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// A checkout of a whole system.
const STAGE_MAX: Duration = Duration::from_secs(600);
/// Kernel and initramfs are written to `/boot`, and others may hold the sysroot before.
const CHANGE_MAX: Duration = Duration::from_secs(300);

/// Has `fullmetal os` do each step, as a unit of its own.
#[derive(Debug)]
pub struct UnitOs {
    program: PathBuf,
    root: PathBuf,
    one: Mutex<()>,
}

impl UnitOs {
    /// `program` is the installed `fullmetal`, `root` the directory of the device, `/` but in tests.
    pub fn new(program: PathBuf, root: PathBuf) -> Self {
        UnitOs { program, root, one: Mutex::new(()) }
    }
}

impl Os for UnitOs {
    fn ask(&self, step: &Step) -> Result<Option<OsView>, OsError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let before = [path(&self.program), "--root".to_owned(), path(&self.root), "os".to_owned()];
        let limit = match step {
            Step::Look | Step::Room(_) => LOOK_MAX,
            Step::Stage(_) => STAGE_MAX,
            _ => CHANGE_MAX,
        };
        let (name, generator) = GENERATOR;
        let ran = run_once(&Once {
            unit: UNIT,
            description: "A step of an update of the operating system by Fullmetal",
            argv: &[&before[..], &words(step)].concat(),
            environment: &[format!("{name}={generator}")],
            limit,
        });
        let view = answer(ran)?;
        self.tell(step);
        Ok(view)
    }
}

impl UnitOs {
    /// An agent that can have steps done sees to a trial, which the end of the count ends: `fullmetal-fallback.service` need not.
    fn tell(&self, done: &Step) {
        let paths = Paths::new(self.root.clone());
        let over = matches!(done, Step::Clear(_)).then(|| paths.trial_over());
        for path in [Some(paths.trial_taken()), over].into_iter().flatten().filter(|path| !path.exists()) {
            if let Err(error) = fs::write(&path, "") {
                warn!(%error, path = %path.display(), "an operating system on trial may be given up some time after its boot");
            }
        }
    }
}

fn answer(ran: Result<Ran, BusError>) -> Result<Option<OsView>, OsError> {
    let ran = ran.map_err(OsError::passing)?;
    match serde_json::from_slice(&ran.printed) {
        Ok(Answer::View(view)) => Ok(view.map(|view| *view)),
        Ok(Answer::Error(error)) => Err(error),
        Err(error) => Err(OsError::passing(format!(
            "{UNIT} has not answered ({error}; its job ended with \"{}\"): see `journalctl -u {UNIT}`",
            ran.result
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_to_the_end_is_no_answer_and_may_be_asked_again() {
        let said = |printed: &str| answer(Ok(Ran { result: "done".into(), printed: printed.into() }));
        assert_eq!(said("{\"view\":null}\n"), Ok(None));
        let error = OsError { reason: "no".into(), retry: false };
        assert_eq!(said(&serde_json::to_string(&Answer::Error(error.clone())).unwrap()), Err(error));
        for cut in ["", "{\"view\":nu", "{\"error\":{\"reason\":\"no\"}}"] {
            assert!(said(cut).is_err_and(|error| error.retry && error.reason.contains(UNIT)), "{cut}");
        }
    }
}
