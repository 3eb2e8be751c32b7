//! What a version asks for: its commit object in the store says so, which a build key signed.

use crate::config::Paths;
use crate::installed_commit;
use fullmetal_proto::ostree::{Asks, Grant};
use fullmetal_proto::{AppName, Digest};
use std::{fs, io};
use tracing::warn;

/// In the tree of a FullMetalUpdate app that draws on the screen.
const SCREEN_USED: &str = "screen.used";

/// What the commit asks for, and the marker of FullMetalUpdate in its tree.
///
/// Without the object it asks for nothing: it is given no devices, and the policy's bounds are its limits.
pub(super) fn in_checkout(paths: &Paths, name: &AppName, commit: &Digest) -> Asks {
    let mut asks = by_commit(paths, commit).unwrap_or_else(|error| {
        warn!(app = %name, %error, "what the commit asks for is not known");
        Asks::default()
    });
    let marker = paths.checkout(name, commit).join(SCREEN_USED);
    if fs::symlink_metadata(marker).is_ok() && !asks.grants.contains(&Grant::Screen) {
        asks.grants.push(Grant::Screen);
    }
    asks
}

/// What the commit asks for, by its object in the store.
pub(super) fn by_commit(paths: &Paths, commit: &Digest) -> io::Result<Asks> {
    installed_commit::read(paths, commit).map(|commit| commit.metadata.asks)
}
