//! `fullmetal agent`: the daemon.

use fullmetal::config::{Paths, Settings};
use fullmetal::console;

pub fn run(paths: Paths) -> anyhow::Result<()> {
    console::log_to_stderr();
    end_with_any_thread();
    fullmetal::agent::run(Settings::load(paths)?)
}

/// An agent that has lost one of its threads would wait for it for ever. The apps live on, and the next start of the
/// agent goes on from the disk.
fn end_with_any_thread() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
}
