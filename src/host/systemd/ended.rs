//! What it means that an app's unit has ended.

use crate::host::state::State;
use crate::host::{AppStatus, Phase};
use fullmetal_proto::wire::report::ExitStatus;

/// A unit that is not active: stopped by us, whose record says how; never started, since who was about to was killed or
/// could not ask systemd; or stopped by somebody else.
pub(super) fn ended(status: AppStatus, state: Option<State>) -> AppStatus {
    match state.filter(|state| state.commit == status.commit) {
        Some(state) if state.phase == Phase::Stopped => state.status(false),
        Some(state) if state.phase == Phase::Starting => AppStatus { phase: Phase::Lost, ..status },
        _ => AppStatus { phase: Phase::Halted, ..status },
    }
}

/// A job that has done its work.
pub(super) fn is_done(status: &AppStatus) -> bool {
    status.job && status.phase == Phase::Exited && status.last_exit == Some(ExitStatus::Code(0))
}
