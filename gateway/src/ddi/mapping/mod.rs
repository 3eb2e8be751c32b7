//! A deployment of Hawkbit's as a wish of ours: which parts, how urgently, until when, and what is to be said when they
//! are staged. Pure: the same deployment, time and interval give the same wish.
//!
//! | update | window | mode | valid until | when staged |
//! |---|---|---|---|---|
//! | forced | none | now | withdrawn | |
//! | forced | open | now | three polls | |
//! | attempt | none | when idle | withdrawn | |
//! | attempt | open | when idle | three polls | |
//! | skip | none, open (download-only) | stage | withdrawn | `downloaded`: the action is over |
//! | any | closed | stage | withdrawn | `proceeding`: the switch is still to come |
//!
//! Nothing is announced while the deployment waits for its confirmation, or while it says `download: skip`.

mod module;
#[cfg(test)]
mod tests;

pub use module::ModuleError;

use super::answer::{Deployment, Handling, Window};
use super::error::shown;
use fullmetal_proto::dispatch::{PartWish, Targets, Wish};
use fullmetal_proto::wire::bundle::PARTS_MAX;
use fullmetal_proto::wire::{Mode, PartKind};
use fullmetal_proto::{AppName, DeviceId, Timestamp};
use module::Wanted;
use std::collections::BTreeSet;
use std::time::Duration;

/// For how many polls an open window is believed: a device that was off for longer cannot switch after closing time.
const POLLS_VALID: u32 = 3;

/// What becomes of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Announce it.
    Announce(Order),
    /// Announce nothing, and withdraw what was announced for it.
    Hold {
        /// What it would be.
        order: Order,
        /// Why not yet.
        why: Hold,
    },
}

/// Why a deployment is not announced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It waits for its confirmation.
    Unconfirmed,
    /// The server does not want it fetched.
    NoDownload,
}

/// A usable deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// For one device, under Hawkbit's number. Its parts are in the order of their refs, so that the same modules give
    /// the same parts in whatever order a server lists them.
    pub wish: Wish,
    /// What a staged bundle means to Hawkbit.
    pub staged: Staged,
    /// What was passed over, for the action's history.
    pub notes: Vec<String>,
}

/// What a staged bundle means to Hawkbit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// `downloaded`: that was all, the action is over.
    Final,
    /// `proceeding`: the switch is still to come.
    Waits,
}

/// Why a deployment can never be done: the reason of a terminal failure.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It has nothing to install.
    #[error("the distribution set has no software modules")]
    Empty,
    /// More than a bundle holds.
    #[error("the distribution set has {found} software modules, at most {PARTS_MAX} can be installed together")]
    Many {
        /// How many.
        found: usize,
    },
    /// One of its modules.
    #[error("software module \"{name}\" {source}")]
    Module {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ModuleError,
    },
    /// Two modules for one app.
    #[error("software modules \"{first}\" and \"{second}\" are the same app")]
    Same {
        /// The name of one.
        first: String,
        /// The name of the other.
        second: String,
    },
    /// Two operating systems.
    #[error("software modules \"{first}\" and \"{second}\" are both an operating system; a device has one")]
    TwoOs {
        /// The name of one.
        first: String,
        /// The name of the other.
        second: String,
    },
}

/// What becomes of `deployment` for `device` at `now`, when the device is polled at most `interval` later again.
pub fn map(
    device: &DeviceId,
    deployment: &Deployment,
    now: Timestamp,
    interval: Duration,
) -> Result<Decision, Unusable> {
    let mut notes = Vec::new();
    let (parts, removed) = content(deployment, &mut notes)?;
    let (mode, staged) = mode(deployment);
    let open = deployment.maintenance_window == Some(Window::Available) && mode != Mode::Stage;
    let wish = Wish {
        action: Some(deployment.id.0),
        targets: Targets::Named(BTreeSet::from([device.clone()])),
        mode,
        valid_until: open.then(|| now.after(interval.saturating_mul(POLLS_VALID))),
        parts,
        removed,
    };
    let order = Order { wish, staged, notes };
    Ok(if deployment.confirmation_required {
        Decision::Hold { order, why: Hold::Unconfirmed }
    } else if deployment.download == Handling::Skip {
        Decision::Hold { order, why: Hold::NoDownload }
    } else {
        Decision::Announce(order)
    })
}

fn mode(deployment: &Deployment) -> (Mode, Staged) {
    match (deployment.update, deployment.maintenance_window) {
        (_, Some(Window::Unavailable)) => (Mode::Stage, Staged::Waits),
        (Handling::Skip, _) => (Mode::Stage, Staged::Final),
        (Handling::Attempt, _) => (Mode::WhenIdle, Staged::Waits),
        (Handling::Forced, _) => (Mode::Now, Staged::Waits),
    }
}

/// Parts in the order of their refs, and apps that leave in the order of their names.
fn content(deployment: &Deployment, notes: &mut Vec<String>) -> Result<(Vec<PartWish>, Vec<AppName>), Unusable> {
    let chunks = &deployment.chunks;
    match chunks.len() {
        0 => return Err(Unusable::Empty),
        found if found > PARTS_MAX => return Err(Unusable::Many { found }),
        _ => {}
    }
    let mut all: Vec<(Wanted, String)> = Vec::new();
    for chunk in chunks {
        let name = shown(&chunk.name);
        let wanted = module::wanted(chunk, notes);
        let wanted = wanted.map_err(|source| Unusable::Module { name: name.clone(), source })?;
        if let Some((other, first)) = all.iter().find(|(other, _)| same(other, &wanted)) {
            let (first, second) = (first.clone(), name);
            let both_os = is_os(other) && is_os(&wanted);
            return Err(if both_os { Unusable::TwoOs { first, second } } else { Unusable::Same { first, second } });
        }
        all.push((wanted, name));
    }
    let (mut parts, mut removed) = (Vec::new(), Vec::new());
    for (wanted, _) in all {
        match wanted {
            Wanted::Part(part) => parts.push(part),
            Wanted::Removal(app) => removed.push(app),
        }
    }
    parts.sort_by(|a, b| a.ref_name.cmp(&b.ref_name));
    removed.sort();
    Ok((parts, removed))
}

fn is_os(wanted: &Wanted) -> bool {
    matches!(wanted, Wanted::Part(part) if part.kind == PartKind::Os)
}

/// Whether two modules are one app, as far as they say it themselves, or both an operating system.
fn same(a: &Wanted, b: &Wanted) -> bool {
    if is_os(a) || is_os(b) {
        return is_os(a) && is_os(b);
    }
    let app = |wanted: &Wanted| match wanted {
        Wanted::Part(part) => part.name.clone(),
        Wanted::Removal(app) => Some(app.clone()),
    };
    let one_ref = matches!((a, b), (Wanted::Part(a), Wanted::Part(b)) if a.ref_name == b.ref_name);
    one_ref || app(a).is_some() && app(a) == app(b)
}
