//! What the bus shows of the agent.

use super::NAME;
use crate::agent::history::Past;
use fullmetal_proto::deploy::{Deployment, Record};
use fullmetal_proto::wire::asking::AgentReport;
use std::borrow::Cow;
use std::collections::HashMap;
use zbus::fdo::Properties;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::Value;

/// What happens, and when it does.
#[derive(Debug)]
pub enum News {
    /// The old versions may be down from now on.
    Switching {
        /// The deployment system's number; 0 for what root does by hand.
        action: u64,
        /// See [`Seen::parts`].
        parts: Vec<String>,
    },
    /// A deployment ended, and its report is on the disk.
    Finished(Past),
}

/// How it stands; each property is made of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub report: AgentReport,
    /// The action of the deployment under way; 0 when there is none, and for what root does by hand.
    pub action: u64,
    /// Apps and versions that it brings, and `NAME removed`, once they are known.
    pub parts: Vec<String>,
    /// Apps that leave with it.
    pub removed: Vec<String>,
    /// Each app in force, its version and the one before, which may be empty.
    pub apps: Vec<(String, String, String)>,
}

/// Who, why, user, process, since (seconds since 1970).
pub type Held = (String, String, u32, u32, u64);

impl Seen {
    pub fn of(report: AgentReport, record: &Record) -> Self {
        let deployment = record.deployment.as_ref();
        let apps = record.apps.iter().map(|(name, app)| {
            let previous = app.previous.as_ref().map(|p| p.version.clone()).unwrap_or_default();
            (name.to_string(), app.current.version.clone(), previous)
        });
        Seen {
            report,
            action: deployment.filter(|d| !d.by_hand).map_or(0, |d| d.wish.action),
            parts: deployment.map(Deployment::changes).unwrap_or_default(),
            removed: deployment.iter().flat_map(|d| &d.removed).map(ToString::to_string).collect(),
            apps: apps.collect(),
        }
    }

    pub fn lock_reason(&self) -> &str {
        self.report.locked.as_ref().map_or("", |lock| &lock.reason)
    }

    pub fn inhibitors(&self) -> Vec<Held> {
        let held = self.report.inhibitors.iter();
        held.map(|i| (i.who.clone(), i.why.clone(), i.uid, i.pid, i.since.as_secs())).collect()
    }

    pub fn window_opens(&self) -> u64 {
        self.report.windows_closed_until.map_or(0, |at| at.as_secs())
    }

    fn properties(&self) -> [(&'static str, Value<'_>); 13] {
        let report = &self.report;
        [
            ("State", report.state.as_str().into()),
            ("Apps", self.apps.clone().into()),
            ("Action", self.action.into()),
            ("Parts", self.parts.clone().into()),
            ("Removed", self.removed.clone().into()),
            ("BytesFromPeers", report.bytes_from_peers.into()),
            ("BytesFromCentral", report.bytes_from_central.into()),
            ("BytesTotal", report.bytes_total.into()),
            ("Obstacle", report.obstacle.as_deref().unwrap_or_default().into()),
            ("Locked", report.locked.is_some().into()),
            ("LockReason", self.lock_reason().into()),
            ("Inhibitors", self.inhibitors().into()),
            ("WindowOpens", self.window_opens().into()),
        ]
    }

    /// Those that are not as `before`.
    fn changes(&self, before: &Seen) -> HashMap<&'static str, Value<'_>> {
        let both = self.properties().into_iter().zip(before.properties());
        both.filter(|(new, old)| new != old).map(|(new, _)| new).collect()
    }

    /// Tells what is not as `before`, in one signal.
    pub async fn tell_changes(&self, before: &Seen, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        let changes = self.changes(before);
        if changes.is_empty() {
            return Ok(());
        }
        let interface = InterfaceName::from_static_str(NAME)?;
        Properties::properties_changed(emitter, interface, changes, Cow::Borrowed(&[])).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Timestamp;
    use fullmetal_proto::wire::asking::{Inhibitor, LockNote};

    #[test]
    fn what_changed_is_told_and_nothing_else() {
        let before = Seen::default();
        assert!(before.changes(&before).is_empty());
        let since = Timestamp::from_secs(7);
        let mut now = before.clone();
        now.report.state = "fetching".into();
        now.report.bytes_from_peers = 3;
        now.report.locked = Some(LockNote { reason: String::new(), since });
        let names = |seen: &Seen| {
            let mut names: Vec<_> = seen.changes(&before).into_keys().collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&now), ["BytesFromPeers", "Locked", "State"]);
        let mut held = before.clone();
        held.report.inhibitors.push(Inhibitor { who: "a".into(), why: "b".into(), uid: 1, pid: 2, since });
        assert_eq!(names(&held), ["Inhibitors"]);
        let inhibitors = held.changes(&before).remove("Inhibitors").unwrap();
        assert_eq!(inhibitors.value_signature().to_string(), "a(ssuut)");
        assert_eq!(Value::from(before.inhibitors()).value_signature().to_string(), "a(ssuut)", "also without one");
    }
}
