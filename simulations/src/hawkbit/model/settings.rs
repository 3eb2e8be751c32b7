//! The tenant's configuration.

use super::{Millis, Refusal, Result, Stamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const POLLING: &str = "pollingTime";
const POLLS_BEFORE_WINDOW: &str = "maintenanceWindowPollCount";
const GATEWAY: &str = "authentication.gatewaytoken.enabled";
const GATEWAY_KEY: &str = "authentication.gatewaytoken.key";
const TARGET: &str = "authentication.targettoken.enabled";
const CONFIRM: &str = "user.confirmation.flow.enabled";
const AUTO_CLOSE: &str = "repository.actions.autoclose.enabled";

const POLLING_S_MIN: u64 = 30;
const POLLING_S_MAX: u64 = 86_399;
const RANGE: &str = "The allowed range is [00:00:30, 23:59:59].";

/// All settings: what was set, else the default.
#[derive(Debug, Default, Clone)]
pub struct Settings {
    set: BTreeMap<&'static str, (Value, Stamp)>,
}

fn default_of(key: &str) -> Option<(&'static str, Value)> {
    Some(match key {
        POLLING => (POLLING, json!("00:05:00")),
        POLLS_BEFORE_WINDOW => (POLLS_BEFORE_WINDOW, json!(3)),
        GATEWAY => (GATEWAY, json!(false)),
        GATEWAY_KEY => (GATEWAY_KEY, json!("")),
        TARGET => (TARGET, json!(false)),
        CONFIRM => (CONFIRM, json!(false)),
        AUTO_CLOSE => (AUTO_CLOSE, json!(false)),
        _ => return None,
    })
}

impl Settings {
    /// Every key there is.
    pub fn keys() -> [&'static str; 7] {
        [AUTO_CLOSE, GATEWAY, GATEWAY_KEY, TARGET, POLLS_BEFORE_WINDOW, POLLING, CONFIRM]
    }

    /// The value of a key and, if it is no default, who set it.
    pub fn get(&self, key: &str) -> Result<(Value, Option<&Stamp>)> {
        let (key, default) = default_of(key).ok_or_else(|| Refusal::no_such_setting(key))?;
        Ok(self.set.get(key).map_or((default, None), |(value, stamp)| (value.clone(), Some(stamp))))
    }

    /// Sets a key.
    pub fn put(&mut self, key: &str, value: &Value, by: &str, now: Millis) -> Result<()> {
        let (key, default) = default_of(key).ok_or_else(|| Refusal::no_such_setting(key))?;
        let same_type = match &default {
            Value::Bool(_) => value.is_boolean(),
            Value::Number(_) => value.as_u64().is_some_and(|n| n > 0),
            _ => value.is_string(),
        };
        if !same_type {
            return Err(Refusal::setting(&format!("The given value {value} is of the wrong type for {key}.")));
        }
        if key == POLLING {
            check_polling(value.as_str().unwrap_or_default())?;
        }
        let stamp = self.set.remove(key).map_or_else(|| Stamp::new(by, now), |(_, stamp)| stamp);
        let entry = self.set.entry(key).or_insert((value.clone(), stamp));
        entry.1.touch(by, now);
        Ok(())
    }

    /// Back to the default.
    pub fn reset(&mut self, key: &str) -> Result<()> {
        let (key, _) = default_of(key).ok_or_else(|| Refusal::no_such_setting(key))?;
        self.set.remove(key);
        Ok(())
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).is_ok_and(|(value, _)| value == json!(true))
    }

    /// The polling interval in seconds.
    pub fn polling_s(&self) -> u64 {
        let value = self.get(POLLING).ok().map(|(value, _)| value).unwrap_or_default();
        seconds(value.as_str().unwrap_or_default()).unwrap_or(300)
    }

    /// How often a device is to poll before its window opens.
    pub fn polls_before_window(&self) -> u64 {
        self.get(POLLS_BEFORE_WINDOW).ok().and_then(|(value, _)| value.as_u64()).unwrap_or(3)
    }

    /// The gateway token, if one is taken.
    pub fn gateway_token(&self) -> Option<String> {
        let (value, _) = self.get(GATEWAY_KEY).ok()?;
        let key = value.as_str()?;
        (self.flag(GATEWAY) && !key.is_empty()).then(|| key.to_owned())
    }

    /// Whether each target's own token is taken.
    pub fn target_tokens(&self) -> bool {
        self.flag(TARGET)
    }

    /// Whether somebody at the device has to agree.
    pub fn confirmation(&self) -> bool {
        self.flag(CONFIRM)
    }

    /// Whether a newer assignment ends an older one without asking the device.
    pub fn closes_obsolete(&self) -> bool {
        self.flag(AUTO_CLOSE)
    }
}

fn check_polling(text: &str) -> Result<()> {
    let seconds = seconds(text).or_else(|| iso_seconds(text));
    let seconds = seconds.ok_or_else(|| {
        Refusal::setting("The given configuration value is expected as a string in the format HH:mm:ss.")
    })?;
    if seconds > POLLING_S_MAX {
        let message = format!("The polling interval is bigger then maximum polling interval. {RANGE}");
        return Err(Refusal::setting(&message));
    }
    if seconds < POLLING_S_MIN {
        let message = format!("The polling interval is smaller then minimum polling interval. {RANGE}");
        return Err(Refusal::setting(&message));
    }
    Ok(())
}

/// Seconds of `HH:mm:ss`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let parts: Vec<u64> = text.split(':').map(|p| p.parse().ok().filter(|_| p.len() == 2)).collect::<Option<_>>()?;
    match parts[..] {
        [h, m, s] if m < 60 && s < 60 => Some(h * 3600 + m * 60 + s),
        _ => None,
    }
}

/// Seconds of an ISO-8601 duration of days, hours, minutes and seconds.
fn iso_seconds(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0_u64, String::new());
    for c in text.strip_prefix('P')?.chars().filter(|c| *c != 'T') {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            'D' => 86_400,
            'H' => 3_600,
            'M' => 60,
            'S' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    (number.is_empty() && total > 0).then_some(total)
}

/// `HH:mm:ss` of seconds.
pub fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
