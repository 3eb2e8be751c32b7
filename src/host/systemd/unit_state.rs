//! What systemd knows about a unit: properties of `org.freedesktop.systemd1(5)`.

use fullmetal_proto::wire::report::ExitStatus;
use std::collections::HashMap;
use zbus::zvariant::{OwnedValue, Value};

/// What systemd knows about a unit.
pub(super) struct UnitState(HashMap<String, OwnedValue>);

impl UnitState {
    /// By the names of its properties.
    pub(super) fn of(properties: HashMap<String, OwnedValue>) -> Self {
        UnitState(properties)
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(|v| v.downcast_ref::<&str>().ok()).unwrap_or_default()
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        match self.0.get(key).map(|v| &**v) {
            Some(Value::U64(n)) => *n,
            Some(Value::U32(n)) => (*n).into(),
            Some(Value::I32(n)) => u64::try_from(*n).unwrap_or(0),
            _ => 0,
        }
    }

    /// Units that are named there.
    pub(super) fn names(&self, key: &str) -> Vec<String> {
        let names = self.0.get(key).and_then(|value| value.try_clone().ok());
        names.and_then(|names| names.try_into().ok()).unwrap_or_default()
    }

    pub(super) fn exit(&self) -> Option<ExitStatus> {
        exit_of(self.number("ExecMainCode"), self.number("ExecMainStatus"))
    }

    /// For people.
    pub(super) fn state(&self) -> String {
        format!("{} ({})", self.text("ActiveState"), self.text("SubState"))
    }
}

/// `CLD_EXITED` is 1, `CLD_KILLED` 2, `CLD_DUMPED` 3 (`sigaction(2)`). runc tells an end by a signal as shells do.
fn exit_of(code: u64, status: u64) -> Option<ExitStatus> {
    let status = i32::try_from(status).ok()?;
    match code {
        1 if (129..=192).contains(&status) => Some(ExitStatus::Signal(status - 128)),
        1 => Some(ExitStatus::Code(status)),
        2 | 3 => Some(ExitStatus::Signal(status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_tells_signals_as_shells_do() {
        assert_eq!(exit_of(1, 3), Some(ExitStatus::Code(3)));
        assert_eq!(exit_of(1, 137), Some(ExitStatus::Signal(9)));
        assert_eq!(exit_of(2, 9), Some(ExitStatus::Signal(9)));
        assert_eq!(exit_of(0, 0), None);
        assert_eq!(exit_of(1, 255), Some(ExitStatus::Code(255)));
    }
}
