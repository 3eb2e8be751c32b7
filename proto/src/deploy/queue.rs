//! Effects in order, none before the record it relies on is durable.

use super::DeployError;
use super::effect::Effect;
use super::record::Record;
use std::collections::VecDeque;

/// Gathers what one input causes: at most one record, and the effects behind it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    handed_out: u64,
    acknowledged: u64,
    changed: bool,
    staged: Vec<Effect>,
    waiting: VecDeque<(u64, Effect)>,
    ready: VecDeque<Effect>,
}

impl Queue {
    /// Puts an effect behind the record of this input, or the newest that is not durable yet.
    pub fn emit(&mut self, effect: Effect) {
        self.staged.push(effect);
    }

    /// Puts an effect before the record of this input: only for what is right whichever record is durable.
    pub fn emit_first(&mut self, effect: Effect) {
        self.ready.push_back(effect);
    }

    /// The record changed in a way that must be durable before anything else happens.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// Ends an input.
    pub fn flush(&mut self, record: &Record) {
        if std::mem::take(&mut self.changed) {
            self.handed_out += 1;
            self.ready.push_back(Effect::Persist { seq: self.handed_out, record: Box::new(record.clone()) });
        }
        let seq = self.handed_out;
        self.waiting.extend(self.staged.drain(..).map(|e| (seq, e)));
        self.release();
    }

    /// A record is durable, and with it all before.
    pub fn persisted(&mut self, seq: u64) -> Result<(), DeployError> {
        if seq > self.handed_out {
            return Err(DeployError::NeverPersisted { seq, last: self.handed_out });
        }
        self.acknowledged = self.acknowledged.max(seq);
        self.release();
        Ok(())
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }

    fn release(&mut self) {
        while let Some((_, effect)) = self.waiting.pop_front_if(|(seq, _)| *seq <= self.acknowledged) {
            self.ready.push_back(effect);
        }
    }
}
