//! A start is always a recovery: it goes on from whatever the record says.

use super::outbox::Cause;
use super::record::{Phase, Record};
use super::{Deploy, DeployError, Event, Local, Now, RESTARTS_MAX};

impl Deploy {
    /// Goes on from `record`. Reports that may not have reached the spool come first, unchanged.
    pub(super) fn start(&mut self, record: Option<Box<Record>>, local: Local, now: Now) -> Result<(), DeployError> {
        self.record = record.map_or_else(|| first_record(now), |r| *r);
        self.local = local;
        self.give_out_again();
        let found = self.found();
        self.go(found)?;
        // What the record that was read suffices for waits for no new one, which a full disk does not take: leftovers go,
        // an old version comes back. Only an interruption must be counted before the switch goes on.
        self.queue.flush(&self.record);
        self.inventory(now);
        Ok(())
    }

    /// What the record says was under way; counts the interruption of a switch or probation before it goes on.
    fn found(&mut self) -> Event {
        let unspooled = self.record.has_unspooled_end();
        // What root began by hand and nothing was touched for is root's to begin again.
        let forgotten = self.record.deployment.take_if(|d| d.by_hand && d.phase == Phase::Staging);
        if forgotten.is_some() {
            self.queue.change();
        }
        let Some(deployment) = &mut self.record.deployment else {
            return if unspooled { Event::FoundEnd } else { Event::FoundNothing };
        };
        match deployment.phase {
            Phase::Staging => Event::FoundStaging,
            _ if deployment.os.is_some() => Event::FoundTrial,
            _ => self.interrupted(),
        }
    }

    /// What follows from an interruption of a switch, a probation or a roll back, once it is counted.
    pub(super) fn interrupted(&mut self) -> Event {
        let Some(deployment) = &mut self.record.deployment else { return Event::FoundNothing };
        let (restarts, what) = match &mut deployment.phase {
            Phase::Staging => return Event::FoundStaging,
            // The others are only of an operating system on trial, which is looked at first.
            Phase::RollingBack { .. } | Phase::Arming | Phase::Proven => return Event::FoundRollBack,
            Phase::Switching { restarts } => (restarts, "switch"),
            Phase::Proving { restarts } => (restarts, "probation"),
        };
        self.queue.change();
        if *restarts < RESTARTS_MAX {
            *restarts += 1;
            return Event::FoundSwitch;
        }
        let reason = format!("the device or its agent went down {} times during the {what}", RESTARTS_MAX + 1);
        deployment.phase = Phase::RollingBack { cause: Cause::new(&reason) };
        Event::FoundWornOut
    }
}

/// Counters begin at the time in seconds, so that a device that lost its disk does not use old ones again,
/// which the gateway would drop as known.
fn first_record(now: Now) -> Record {
    let mut record = Record::default();
    record.next_counter = now.trusted.as_secs().max(1);
    record
}
