//! `fullmetal peer`: the daemon.

use anyhow::Context as _;
use fullmetal::config::{Paths, Settings, unknown_interfaces};
use fullmetal::console::{self, UsageError};
use fullmetal::peer;

pub fn run(paths: Paths) -> anyhow::Result<()> {
    console::log_to_stderr();
    let settings = Settings::load(paths)?;
    if let Some((unknown, existing)) = unknown_interfaces(&settings.peer) {
        let (unknown, existing) = (unknown.join(", "), existing.join(", "));
        tracing::warn!(%unknown, %existing, "[peer] interfaces names what does not exist now; nobody is found there");
    }
    check_user(&settings)?;
    let runtime = peer::runtime().context("starting the runtime")?;
    runtime.block_on(peer::run(settings))
}

/// As another user it would leave files that the right one cannot change, and the agent would not talk to it.
fn check_user(settings: &Settings) -> anyhow::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    match settings.agent.peer_uid {
        Some(wanted) if wanted != uid => Err(UsageError(format!(
            "this is user {uid}, and [agent] peer_uid = {wanted}: start it as that user, such as by `setpriv --reuid \
             {wanted} --regid {wanted} --clear-groups fullmetal peer`"
        ))
        .into()),
        None if uid == 0 => {
            tracing::warn!("the peer runs as root; `fullmetal enroll --peer-uid` gives it a user of its own");
            Ok(())
        }
        _ => Ok(()),
    }
}
