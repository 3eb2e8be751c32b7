//! What it means that an app's unit has ended.

use crate::host::state::State;
use crate::host::{AppStatus, Phase};
use fullmetal_proto::wire::report::ExitStatus;

/// A unit that is not active, and last was until `left_ms` (since 1970; 0: never): stopped by us, whose record says how;
/// never started, since who was about to was killed or could not ask systemd; or stopped by somebody else.
pub(super) fn ended(status: AppStatus, state: Option<State>, left_ms: u64) -> AppStatus {
    match state.filter(|state| state.commit == status.commit) {
        Some(state) if state.phase == Phase::Stopped => state.status(false),
        // One that ran since had been started, whoever did not come to say so.
        Some(state) if state.phase == Phase::Starting && left_ms <= state.since_ms => {
            AppStatus { phase: Phase::Lost, ..status }
        }
        _ => AppStatus { phase: Phase::Halted, ..status },
    }
}

/// A job that has done its work.
pub(super) fn is_done(status: &AppStatus) -> bool {
    status.job && status.phase == Phase::Exited && status.last_exit == Some(ExitStatus::Code(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::App;
    use fullmetal_proto::Digest;

    #[test]
    fn a_start_that_was_cut_off_is_told_from_an_app_that_somebody_stopped() {
        let app = App { name: "web".parse().unwrap(), commit: Digest::of(b"1"), job: false };
        let mut state = State::new(&app, 1, 0);
        state.enter(Phase::Starting);
        let began = state.since_ms;
        let status = state.clone().status(false);
        let phase = |state, left_ms| ended(status.clone(), state, left_ms).phase;
        assert_eq!(phase(Some(state.clone()), 0), Phase::Lost, "it never ran");
        assert_eq!(phase(Some(state.clone()), began), Phase::Lost, "what ran was the run before");
        assert_eq!(phase(Some(state.clone()), began + 1), Phase::Halted, "it ran since");
        assert_eq!(phase(Some(State { commit: Digest::of(b"2"), ..state }), 0), Phase::Halted);
        assert_eq!(phase(None, 0), Phase::Halted);
    }
}
