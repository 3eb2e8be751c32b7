//! `fullmetal peer`: the daemon.

use super::{Context, output};
use anyhow::Context as _;
use fullmetal::peer;

pub fn run(context: &Context) -> anyhow::Result<()> {
    output::log_to_stderr("info");
    let settings = context.settings()?;
    let runtime = peer::runtime().context("starting the runtime")?;
    runtime.block_on(peer::run(settings))
}
