//! Times of a recording, moved to now.

use super::super::model::moved_schedule;
use super::Exchange;
use anyhow::Context as _;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the clocks of client and server may be apart, and how long a recording may have taken.
const SLACK_MS: u64 = 10 * 60 * 1000;

/// When a recording was made and when it is played.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    recorded: u64,
    here: u64,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Timing {
    /// The recording began when the first thing in it was made; it is played from now on.
    pub fn new(recorded: &[Exchange]) -> anyhow::Result<Self> {
        let made = recorded.iter().find_map(|e| e.response.body["createdAt"].as_u64());
        Ok(Timing { recorded: made.context("nothing in the recording says when it was made")?, here: now() })
    }

    /// Whether a moment of the recording and one of now are the same, or both lie within their run.
    pub fn same(&self, recorded: u64, here: u64) -> bool {
        let within = |time: u64, start: u64| time.abs_diff(start) < SLACK_MS;
        recorded == here || within(recorded, self.recorded) && within(here, self.here)
    }

    /// A moment of the recording as far from now as it was then.
    pub fn moved(&self, recorded: u64) -> u64 {
        (recorded + self.here).saturating_sub(self.recorded)
    }

    /// Moves the times in a request's body.
    pub fn move_body(&self, body: &mut Value) {
        match body {
            Value::Array(items) => items.iter_mut().for_each(|i| self.move_body(i)),
            Value::Object(map) => {
                for (key, value) in map {
                    let moved = match (key.as_str(), &*value) {
                        ("forcetime", Value::Number(n)) => n.as_u64().map(|t| self.moved(t).into()),
                        ("schedule", Value::String(s)) => {
                            moved_schedule(s, self.here.cast_signed() - self.recorded.cast_signed()).map(Value::from)
                        }
                        _ => None,
                    };
                    match moved {
                        Some(moved) => *value = moved,
                        None => self.move_body(value),
                    }
                }
            }
            _ => {}
        }
    }
}
