//! `fullmetal agent`: the daemon.

use super::Context;

pub fn run(context: &Context) -> anyhow::Result<()> {
    super::output::log_to_stderr("info");
    fullmetal::agent::run(context.settings()?)
}
