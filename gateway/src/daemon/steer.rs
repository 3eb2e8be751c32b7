//! Hawkbit's side of the running gateway: its rules, and the way to the server.

use super::{Daemon, DaemonError, Event};
use crate::control::Response;
use crate::ddi::{Ddi, Options, Pace};
use crate::hawkbit::{FromHawkbit, Hawkbit};
use crate::metrics::Requests;
use crate::status::{HawkbitStatus, Status};
use fullmetal::config::{Confirm, HawkbitSettings};
use fullmetal::identity::Clock;
use fullmetal_proto::steering::{self, Effect, Input, Reply, Steering};
use fullmetal_proto::{DeviceId, Timestamp};
use std::sync::mpsc::Sender;

/// Where decisions come from when `[hawkbit]` is configured.
pub(super) struct Steer {
    pub(super) rules: Steering,
    server: Hawkbit,
    settings: HawkbitSettings,
    /// When the server last answered.
    answered: Option<Timestamp>,
    /// Since when it does not, and why.
    silence: Option<(Timestamp, String)>,
}

impl Steer {
    /// Reads tokens and CA certificates; asks nothing yet.
    pub(super) fn start(
        settings: &HawkbitSettings,
        clock: &Clock,
        requests: &Requests,
        events: Sender<Event>,
    ) -> Result<Self, DaemonError> {
        // Only jitter comes from it: two gateways should not poll in step.
        let seed = clock.now().as_millis() ^ u64::from(std::process::id()) << 32;
        let options = Options::load(settings, clock.clone(), seed).map_err(crate::ddi::DdiError::from)?;
        let pace = Pace { min: settings.poll_min, max: settings.poll_max };
        let ddi = Ddi::new(options)?;
        let server =
            Hawkbit::start(ddi, pace, clock.clone(), seed, requests.clone(), events).map_err(DaemonError::Thread)?;
        let confirm = match settings.confirm {
            Confirm::Ask => steering::Confirm::Ask,
            Confirm::Auto => steering::Confirm::Auto,
        };
        let rules = Steering::new(steering::Config { heard_within: settings.heard_within, confirm });
        tracing::info!(url = %settings.url, tenant = settings.tenant, "decisions come from Hawkbit");
        Ok(Steer { rules, server, settings: settings.clone(), answered: None, silence: None })
    }

    /// Whether the server may steer this device.
    pub(super) fn allows(&self, device: &DeviceId) -> bool {
        self.settings.allows(device)
    }

    /// Adds what a person wants to know.
    pub(super) fn describe(&self, status: &mut Status) {
        let unconfirmed = self.rules.unconfirmed().map(|(device, action)| (device.clone(), action)).collect();
        let (url, tenant) = (self.settings.url.to_string(), self.settings.tenant.clone());
        let (answered, silence) = (self.answered, self.silence.clone());
        status.hawkbit = Some(HawkbitStatus { url, tenant, unconfirmed, answered, silence });
    }

    /// Whatever it says that is not "later" shows that it is there.
    fn hears(&mut self, input: &Input, now: Timestamp) {
        if !matches!(input, Input::Replied { reply: Reply::Later(_) | Reply::Unknown, .. }) {
            (self.answered, self.silence) = (Some(now), None);
        }
    }

    fn misses(&mut self, problem: &str, now: Timestamp) {
        let since = self.silence.as_ref().map_or(now, |(since, _)| *since);
        self.silence = Some((since, problem.to_owned()));
    }
}

impl Daemon {
    /// When the core or Hawkbit's rules have something to do by themselves.
    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        let rules = self.steer.as_ref().and_then(|s| s.rules.next_wakeup());
        [self.core.next_wakeup(), rules].into_iter().flatten().min()
    }

    /// Gives the rules an input, if there are any.
    pub(super) fn steer(&mut self, input: Input) {
        let now = self.now();
        if let Some(steer) = self.steer.as_mut() {
            steer.rules.handle(input, self.core.state(), now);
        }
    }

    /// Devices that the fleet hears, and that Hawkbit may steer.
    pub(super) fn heard(&mut self, list: Vec<(DeviceId, u32)>) {
        let now = self.now();
        let Some(steer) = &self.steer else { return };
        let at = |secs: u32| Timestamp::from_millis(now.as_millis().saturating_sub(u64::from(secs) * 1000));
        let list = list.into_iter().filter(|(id, _)| steer.allows(id)).map(|(id, secs)| (id, at(secs)));
        self.steer(Input::Heard(list.collect()));
    }

    pub(super) fn on_hawkbit(&mut self, event: FromHawkbit) {
        let now = self.now();
        match event {
            FromHawkbit::Input(input) => {
                self.steer.iter_mut().for_each(|s| s.hears(&input, now));
                self.steer(*input);
            }
            FromHawkbit::Trouble(problem) => {
                self.steer.iter_mut().for_each(|s| s.misses(&problem, now));
                self.note("Hawkbit", &problem);
            }
        }
    }

    /// A local operator's word on what waits for it.
    pub(super) fn confirm(&mut self, action: u64, yes: bool, back: &Sender<Response>) -> Result<(), DaemonError> {
        let waits = |s: &Steer| s.rules.unconfirmed().any(|(_, waiting)| waiting == action);
        if !self.steer.as_ref().is_some_and(waits) {
            let reason =
                format!("action {action} does not wait for a confirmation here; see `fullmetal-gateway status`");
            let _ = back.send(Response::Denied(reason));
            return Ok(());
        }
        let now = self.now();
        self.audit.deed(now, "confirmation", serde_json::json!({ "action": action, "yes": yes }))?;
        let _ = back.send(Response::Confirmed { action, yes });
        self.steer(Input::Confirm { action, yes });
        Ok(())
    }

    /// Carries out what the rules want, and has them look at what has come due, at all devices only when the core's state
    /// has `changed`; tells whether the core got something to do.
    pub(super) fn steer_on(&mut self, changed: bool) -> bool {
        let now = self.now();
        let Some(steer) = self.steer.as_mut() else { return false };
        if changed {
            steer.rules.handle(Input::Changed, self.core.state(), now);
        }
        if steer.rules.next_wakeup().is_some_and(|at| at <= now) {
            steer.rules.handle(Input::Wakeup, self.core.state(), now);
        }
        let mut core_has_work = false;
        while let Some(effect) = steer.rules.poll() {
            match effect {
                Effect::Dispatch(input) => {
                    self.core.handle(*input, now);
                    core_has_work = true;
                }
                effect => steer.server.carry_out(effect),
            }
        }
        core_has_work
    }
}
