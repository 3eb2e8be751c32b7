//! The distribution set, and to whom it is assigned.

use super::client::Client;
use super::module::{Listed, one};
use super::{HawkbitError, Module, Offered, Versioned, filter};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::PartKind;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// The types of sets that a Hawkbit has from the start, by what is put into a new one first: one with an operating system
/// takes applications later, one of applications takes no operating system.
fn type_of(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Os => "os_app",
        PartKind::App => "app",
    }
}

/// Targets of one request.
const TARGETS_MAX: usize = 500;

/// How a device takes what is assigned to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Switches at once.
    Forced,
    /// Switches when the device allows it.
    Soft,
    /// Fetches, and switches never.
    DownloadOnly,
}

impl Kind {
    /// Hawkbit's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Forced => "forced",
            Kind::Soft => "soft",
            Kind::DownloadOnly => "downloadonly",
        }
    }
}

/// An assignment of a set.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// To whom.
    pub devices: Vec<DeviceId>,
    /// How.
    pub kind: Kind,
}

#[derive(Debug, Deserialize)]
struct ListedSet {
    id: u64,
    name: String,
    version: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Target {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assigned {
    #[serde(default)]
    already_assigned: u64,
    #[serde(default)]
    assigned: u64,
    #[serde(default)]
    assigned_actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
struct Action {
    id: u64,
}

/// Finds the set or makes it, and adds the module if it lacks it; gives its number.
pub(super) async fn ensure(
    client: &Client,
    named: &Versioned,
    (id_of_module, module): (u64, &Module),
) -> Result<u64, HawkbitError> {
    let listed: Vec<ListedSet> = client.list(&["distributionsets"], Some(&filter(named))).await?;
    let found = listed.iter().find(|s| s.name == named.name && s.version == named.version);
    let Some(found) = found else {
        let new = json!([{
            "name": named.name, "version": named.version, "type": type_of(module.kind), "modules": [{ "id": id_of_module }],
        }]);
        let made: Vec<ListedSet> = client.make(&["distributionsets"], &new).await?;
        return Ok(one(&made, &named.name)?.id);
    };
    let id = found.id.to_string();
    let modules: Vec<Listed> = client.list(&["distributionsets", &id, "assignedSM"], None).await?;
    if modules.iter().any(|m| m.id == id_of_module) {
        return Ok(found.id);
    }
    let (set, ours) = (named.to_string(), module.named.to_string());
    if module.kind == PartKind::Os && found.kind == type_of(PartKind::App) {
        return Err(HawkbitError::SetOfApps { set, ours });
    }
    if let Some(other) = modules.iter().find(|m| m.name == module.named.name) {
        let there = format!("{}:{}", other.name, other.version);
        return Err(HawkbitError::OtherSet { set, there, ours });
    }
    let add = json!([{ "id": id_of_module }]);
    match client.change(Method::POST, &["distributionsets", &id, "assignedSM"], Some(&add)).await {
        Ok(()) => Ok(found.id),
        // 0.3.0M7 says 403 for a set in use, 1.0.4 says 423 or 400.
        Err(HawkbitError::Refused { status: 400..=499, said, .. } | HawkbitError::Forbidden { said, .. }) => {
            Err(HawkbitError::Locked { set, ours, said })
        }
        Err(error) => Err(error),
    }
}

/// Assigns the set to all or none: Hawkbit itself passes over whom it does not know.
pub(super) async fn assign(
    client: &Client,
    set: u64,
    assignment: &Assignment,
    offered: &mut Offered,
) -> Result<(), HawkbitError> {
    for device in &assignment.devices {
        if client.find::<Target>(&["targets", device.as_str()]).await?.is_none() {
            return Err(HawkbitError::NoTarget { device: device.to_string() });
        }
    }
    let id = set.to_string();
    let mut taken = 0;
    for devices in assignment.devices.chunks(TARGETS_MAX) {
        let line = |device: &DeviceId| json!({ "id": device.as_str(), "type": assignment.kind.word() });
        let lines: Value = devices.iter().map(line).collect();
        let done: Assigned = client.make(&["distributionsets", &id, "assignedTargets"], &lines).await?;
        taken += done.assigned + done.already_assigned;
        offered.already_assigned += done.already_assigned;
        offered.actions.extend(done.assigned_actions.iter().map(|a| a.id));
    }
    let asked = assignment.devices.len() as u64;
    if taken < asked { Err(HawkbitError::LeftOut { taken, asked }) } else { Ok(()) }
}
