//! `fullmetal peer`: the daemon.

use anyhow::Context as _;
use fullmetal::config::{Paths, Settings, unknown_interfaces};
use fullmetal::{console, peer};

pub fn run(paths: Paths) -> anyhow::Result<()> {
    console::log_to_stderr();
    let settings = Settings::load(paths)?;
    if let Some((unknown, existing)) = unknown_interfaces(&settings.peer) {
        let (unknown, existing) = (unknown.join(", "), existing.join(", "));
        tracing::warn!(%unknown, %existing, "[peer] interfaces names what does not exist now; nobody is found there");
    }
    let runtime = peer::runtime().context("starting the runtime")?;
    runtime.block_on(peer::run(settings))
}
