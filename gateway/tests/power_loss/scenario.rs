//! What happens while gateways are killed: a release that proves itself, one that is cancelled before the switch, one that
//! fails.

use crate::run::Run;
use fullmetal_proto::wire::{Mode, ReportState};

/// The actions of a scenario.
pub struct Actions {
    pub succeeded: u64,
    pub cancelled: u64,
    pub failed: u64,
}

/// Plays it to the end, until the gateway has nothing left to deliver.
pub fn play(run: &mut Run) -> Actions {
    let succeeded = assign(run, "2");
    let bundle = run.told(succeeded, Mode::Now);
    for state in [ReportState::Accepted, ReportState::Fetching, ReportState::Staged, ReportState::Switching] {
        run.report(succeeded, bundle, state);
    }
    run.shown(succeeded, "running", "switching");
    run.report(succeeded, bundle, ReportState::Proving);
    run.report(succeeded, bundle, ReportState::Succeeded);
    run.shown(succeeded, "finished", "has proven itself");

    let cancelled = assign(run, "3");
    let bundle = run.told(cancelled, Mode::Now);
    run.report(cancelled, bundle, ReportState::Fetching);
    run.hawkbit.cancel(&run.device, cancelled, false);
    run.told(cancelled, Mode::Withdraw);
    run.report(cancelled, bundle, ReportState::Withdrawn);
    run.shown(cancelled, "canceled", "dropped before the switch");

    let failed = assign(run, "4");
    let bundle = run.told(failed, Mode::Now);
    run.report(failed, bundle, ReportState::Switching);
    run.report(failed, bundle, ReportState::Failed);
    run.shown(failed, "error", "never healthy");
    run.rest();
    Actions { succeeded, cancelled, failed }
}

fn assign(run: &Run, version: &str) -> u64 {
    let commit = run.site.publish(version);
    run.hawkbit.assign(run.hawkbit.release(version, &commit), &run.device, "forced")
}
