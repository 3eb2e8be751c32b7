//! `fullmetal agent`: the daemon.

use fullmetal::config::{Paths, Settings};
use fullmetal::console;

pub fn run(paths: Paths) -> anyhow::Result<()> {
    console::log_to_stderr();
    fullmetal::agent::run(Settings::load(paths)?)
}
