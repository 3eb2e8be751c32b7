//! A device that goes down: apps that are stopped because it is have not failed.
//!
//! What looks like a failure is held, and all that comes after it, until systemd has said that the device stays up: at
//! once, or when a shutdown is cancelled. A device that does go down goes on from its record after the boot. A thread of
//! its own asks, since systemd may take its time.

use super::Event;
use fullmetal_proto::deploy::{AppEvent, Input, Now};
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
    /// And when each came: it is judged by that time.
    held: Vec<(Input, Now)>,
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
    pub fn hold(&mut self, input: Input, after_switch: bool, now: Now) -> Option<Input> {
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
            self.held.push((input, now));
        }
        None
    }

    /// Gives all that was held, with the times at which it came.
    pub fn release(&mut self) -> Vec<(Input, Now)> {
        std::mem::take(&mut self.held)
    }
}

fn is_failure(input: &Input) -> bool {
    use AppEvent::{Exited, SaysFailed, Unhealthy};
    match input {
        Input::Failed { .. } | Input::NotReverted { .. } => true,
        Input::App { event, .. } | Input::Os(event) => {
            matches!(event, Exited { .. } | SaysFailed { .. } | Unhealthy { .. })
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Timestamp;
    use std::sync::mpsc::channel;

    #[test]
    fn what_is_held_comes_back_in_its_order_with_its_times() {
        let (events, told) = channel();
        let mut shutdown = Shutdown::new(Arc::new(|| Some(false)), events);
        let at = |secs| Now { steady: Timestamp::from_secs(secs), ..Now::default() };
        let failed = || Input::Failed { ticket: fullmetal_proto::deploy::Ticket(1), retry: false, reason: "no".into() };
        assert!(shutdown.hold(failed(), false, at(1)).is_some(), "nothing is in motion");
        assert!(shutdown.hold(Input::Unwritten, true, at(2)).is_some(), "no failure");
        assert!(shutdown.hold(failed(), true, at(3)).is_none());
        assert!(shutdown.hold(Input::Unwritten, true, at(4)).is_none(), "it comes after one");
        assert!(shutdown.hold(Input::Wakeup, true, at(5)).is_none());
        assert!(matches!(told.recv_timeout(Duration::from_secs(20)), Ok(Event::StaysUp)));
        assert_eq!(shutdown.release(), [(failed(), at(3)), (Input::Unwritten, at(4))]);
        assert!(!shutdown.holds());
    }
}
