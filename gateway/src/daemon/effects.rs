//! What the core decides, done.

use super::{Daemon, DaemonError};
use crate::control::Response;
use fullmetal::local::sealed_descriptor;
use fullmetal_proto::dispatch::{Effect, Input};
use fullmetal_proto::steering;
use fullmetal_proto::wire::local::{CentralObject, ToPeer};
use fullmetal_proto::wire::{Announcement, Hint, Part, Receipt, Report, seal};
use fullmetal_proto::{Bitmap, DeviceId, Digest};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

/// The most manifests in one Retain: what fits a packet.
const RETAIN_MAX: usize = 4000;

impl Daemon {
    /// Does effects until none is left. What the core has decided may be what Hawkbit waits for, and the other way round.
    pub(super) fn carry_out(&mut self) -> Result<(), DaemonError> {
        loop {
            let mut changed = false;
            loop {
                let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll()).collect();
                if effects.is_empty() {
                    break;
                }
                changed |= effects.iter().any(|e| matches!(e, Effect::Persist { .. }));
                for done in self.perform_all(effects)? {
                    self.give(done);
                }
            }
            if !self.steer_on(changed) {
                return Ok(());
            }
        }
    }

    /// Reports go to the disk together, and lines of the audit log: before anybody is told anything, all are synced.
    /// Returns the confirmations.
    fn perform_all(&mut self, effects: Vec<Effect>) -> Result<Vec<Input>, DaemonError> {
        let (mut reports, mut done) = (Vec::new(), Vec::new());
        for effect in &effects {
            if let Effect::Spool { device, counter, envelope } = effect {
                reports.push((device, *counter, envelope.as_slice()));
                done.push(Input::Spooled { device: device.clone(), counter: *counter });
            }
        }
        self.disk.spool(&reports)?;
        for effect in effects {
            if matches!(effect, Effect::Announce(_) | Effect::Answer { .. } | Effect::Alarm(_)) {
                self.audit.sync()?;
            }
            done.extend(self.perform(effect)?);
        }
        self.audit.sync()?;
        Ok(done)
    }

    fn perform(&mut self, effect: Effect) -> Result<Option<Input>, DaemonError> {
        match effect {
            Effect::Spool { .. } => {}
            Effect::Persist { seq, state } => {
                self.disk.save_state(&state)?;
                return Ok(Some(Input::Persisted(seq)));
            }
            Effect::Feedback(report) => return self.feedback(report),
            Effect::Audit(entry) => {
                self.audit.entry(&entry)?;
                return Ok(Some(Input::Audited { id: entry.id }));
            }
            Effect::Unspool { device, counter } => self.disk.unspool(&device, counter)?,
            Effect::Resolve { action, parts, removed } => self.resolver.make(action, parts, removed),
            Effect::Help(parts) => self.help(&parts),
            Effect::Announce(announcement) => self.announce(&announcement)?,
            Effect::Receipt { device, counter } => self.receipt(device, counter),
            Effect::Answer { ticket, action, outcome } => {
                if let Some(back) = self.tickets.remove(&ticket) {
                    let _ = back.send(Response::Answer { action, outcome });
                }
            }
            Effect::Alarm(alarm) => tracing::error!(%alarm, "the gateway has stopped acting"),
        }
        Ok(None)
    }

    /// The audit log has every report. Hawkbit is told too, and says when it has it; for a decision from a file the log
    /// is the place where its results go.
    fn feedback(&mut self, report: Box<Report>) -> Result<Option<Input>, DaemonError> {
        let now = self.now();
        self.audit.report(now, &report)?;
        let (device, counter) = (report.device.clone(), report.counter);
        tracing::info!(%device, counter, action = report.action, state = ?report.state, reason = report.reason, "report");
        // Who is not for this server is not asked about there either.
        if let Some(steer) = self.steer.as_mut().filter(|s| s.allows(&device)) {
            steer.rules.handle(steering::Input::Report(report), self.core.state(), now);
            return Ok(None);
        }
        Ok(Some(Input::Delivered { device, counter }))
    }

    fn announce(&mut self, announcement: &Announcement) -> Result<(), DaemonError> {
        let bytes = match seal(announcement, &[&self.key]) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note("the announcement cannot be written", &error.to_string());
                return Ok(());
            }
        };
        self.clock.raise(announcement.issued);
        let (epoch, counter) = announcement.rank();
        let hint = Hint { epoch, counter, digest: Digest::of(&bytes), length: bytes.len() as u32 };
        let descriptor = sealed_descriptor(&bytes)?;
        let sent = self.link.send(ToPeer::Announce(hint), Some(descriptor));
        tracing::info!(epoch, counter, rows = announcement.rows.len(), sent, "announcement");
        Ok(())
    }

    fn receipt(&mut self, device: DeviceId, counter: u64) {
        let receipt = Receipt { fleet: self.fleet.clone(), device, counter };
        if let Ok(bytes) = seal(&receipt, &[&self.key]) {
            self.link.send(ToPeer::Receipt(ByteBuf::from(bytes)), None);
        }
    }

    /// Has the peer fetch what devices will ask for, and keep it.
    fn help(&mut self, parts: &[Part]) {
        let wanted: BTreeSet<Digest> = parts.iter().map(|p| p.manifest.sha256).collect();
        for manifest in self.helped.difference(&wanted) {
            self.link.send(ToPeer::Unwant { manifest: *manifest }, None);
        }
        for part in parts.iter().filter(|p| !self.helped.contains(&p.manifest.sha256)) {
            let commit = part.commit;
            let blob = part.commit_object.clone();
            self.link.send(ToPeer::Blob { blob, central: CentralObject::Commit(commit) }, None);
            if let Some(blob) = part.commit_meta.clone() {
                self.link.send(ToPeer::Blob { blob, central: CentralObject::CommitMeta(commit) }, None);
            }
            let manifest = part.manifest.clone();
            // What was derived, central does not have.
            match self.manifests.read(&manifest.sha256).and_then(|bytes| sealed_descriptor(&bytes).ok()) {
                Some(bytes) => self.link.send(ToPeer::Offer { manifest, commit }, Some(bytes)),
                None => self.link.send(ToPeer::Want { manifest, commit, need: Bitmap::default() }, None),
            };
        }
        let manifests = wanted.iter().copied().take(RETAIN_MAX).collect();
        self.link.send(ToPeer::Retain { manifests }, None);
        self.helped = wanted;
    }
}
