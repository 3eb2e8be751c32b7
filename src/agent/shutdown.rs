//! A device that goes down: apps that are stopped because it is have not failed.
//!
//! What looks like a failure is held, and all that comes after it, until systemd has said that the device stays up: at
//! once, or when a shutdown is cancelled. A device that does go down goes on from its record after the boot. A thread of
//! its own asks, since systemd may take its time.

use super::Event;
use fullmetal_proto::deploy::{AppEvent, Input};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tracing::{info, warn};

/// How often it is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often in a row systemd may leave the question open before the device counts as one that stays up.
const SILENT_MAX: u32 = 6;

/// Whether the device goes down; `None` when nobody says. It may block.
pub type Ask = Arc<dyn Fn() -> Option<bool> + Send + Sync>;

/// What is held, in its order.
pub struct Shutdown {
    ask: Ask,
    events: Sender<Event>,
    held: Vec<Input>,
}

impl Shutdown {
    /// Tells `events` when a device that may go down stays up.
    pub fn new(ask: Ask, events: Sender<Event>) -> Self {
        Shutdown { ask, events, held: Vec::new() }
    }

    /// Something is held.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Holds what looks like a failure while apps are in motion (`after_switch`), and what comes after it; gives back
    /// everything else.
    pub fn hold(&mut self, input: Input, after_switch: bool) -> Option<Input> {
        if !self.holds() {
            if !after_switch || !is_failure(&input) {
                return Some(input);
            }
            let (ask, events) = (self.ask.clone(), self.events.clone());
            std::thread::spawn(move || {
                until_it_stays_up(&ask);
                let _ = events.send(Event::StaysUp);
            });
        }
        // Time passes by itself.
        if input != Input::Wakeup {
            self.held.push(input);
        }
        None
    }

    /// Gives all that was held.
    pub fn release(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.held)
    }
}

fn is_failure(input: &Input) -> bool {
    use AppEvent::{Exited, SaysFailed, Unhealthy};
    match input {
        Input::Failed { .. } | Input::NotReverted { .. } => true,
        Input::App { event, .. } => matches!(event, Exited { .. } | SaysFailed { .. } | Unhealthy { .. }),
        _ => false,
    }
}

fn until_it_stays_up(ask: &Ask) {
    let (mut silent, mut told) = (0, false);
    loop {
        match ask() {
            Some(false) => break,
            Some(true) => {
                silent = 0;
                if !std::mem::replace(&mut told, true) {
                    info!("the device goes down; nothing more is decided");
                }
            }
            None => silent += 1,
        }
        if silent == SILENT_MAX {
            warn!("systemd does not say whether the device goes down; it counts as one that stays up");
            break;
        }
        std::thread::sleep(AGAIN);
    }
    if told {
        info!("the device stays up; what was held is decided");
    }
}
