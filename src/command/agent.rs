//! `fullmetal agent`: the daemon.

use super::Context;
use fullmetal::console;

pub fn run(context: &Context) -> anyhow::Result<()> {
    console::log_to_stderr();
    fullmetal::agent::run(context.settings()?)
}
