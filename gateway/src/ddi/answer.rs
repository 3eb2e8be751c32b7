//! What Hawkbit answers, read into types. Fields that are not known are ignored, fields that are not needed may be
//! absent or null; sizes were bounded before. The shapes are those of
//! <https://eclipse.dev/hawkbit/rest-api/rootcontroller-api-guide/> and of recordings with 0.3.0M7 and 1.0.4.

use super::error::shown;
use super::link::{Asked, Link};
use super::sleep::{SLEEP_DEFAULT, parse_sleep};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Hawkbit's number of an action, unique in its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(pub u64);

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ActionId {
    type Err = AnswerError;
    fn from_str(text: &str) -> Result<Self, AnswerError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number.map(ActionId).ok_or_else(|| AnswerError::ActionId { text: shown(text) })
    }
}

/// What is wrong with an answer that came whole.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No JSON, or not of the shape that it should have.
    #[error("the answer cannot be read: {problem}")]
    Json {
        /// serde's word, with line and column.
        problem: String,
    },
    /// An id that is no number.
    #[error("\"{text}\" is no action id")]
    ActionId {
        /// What stands there.
        text: String,
    },
    /// The polling interval.
    #[error("config.polling.sleep \"{text}\" is neither HH:mm:ss nor an ISO-8601 duration of at most a year")]
    Sleep {
        /// What stands there.
        text: String,
    },
    /// A link that does not lead where it should.
    #[error("the link {kind} leads to \"{href}\"")]
    Link {
        /// Which link.
        kind: &'static str,
        /// What stands there.
        href: String,
    },
    /// A link that names another device than the one asked for.
    #[error("the link {kind} names device \"{device}\", which was not asked for")]
    OtherDevice {
        /// Which link.
        kind: &'static str,
        /// Which device.
        device: String,
    },
    /// A link that names another tenant than the one asked for.
    #[error("the link {kind} names tenant \"{tenant}\", which was not asked for")]
    OtherTenant {
        /// Which link.
        kind: &'static str,
        /// Which tenant.
        tenant: String,
    },
    /// An answer about another action than the one asked for.
    #[error("asked for action {asked}, the answer is about action {found}")]
    OtherAction {
        /// What was asked for.
        asked: ActionId,
        /// What came.
        found: ActionId,
    },
    /// The deployment, confirmation or cancellation itself is not there.
    #[error("the answer has no \"{key}\"")]
    Absent {
        /// Its key.
        key: &'static str,
    },
    /// One key twice in the metadata of a module.
    #[error("module \"{module}\" has the metadata \"{key}\" twice")]
    Twice {
        /// The module's name.
        module: String,
        /// The key.
        key: String,
    },
}

/// What there is for a device to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// How long the server wants to be left alone.
    pub sleep: Duration,
    /// A deployment in force.
    pub deployment: Option<ActionId>,
    /// A deployment that waits for its confirmation.
    pub confirmation: Option<ActionId>,
    /// A deployment that is to be given up.
    pub cancel: Option<ActionId>,
    /// The deployment that the server holds to be installed.
    pub installed: Option<ActionId>,
    /// Changes when the deployment or confirmation does under its number: a window opens, a forced time comes.
    pub revision: Option<i64>,
    /// Whether the server asks for the device's attributes.
    pub wants_config_data: bool,
}

/// How urgently something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handling {
    /// Not now.
    Skip,
    /// When it suits the device.
    Attempt,
    /// At once.
    Forced,
}

/// The maintenance window of a deployment that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// Open.
    Available,
    /// Closed.
    Unavailable,
}

/// One software module of a deployment; its artifacts are none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its type: `os`, `bApp`, or the key of any other type.
    pub part: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The metadata that devices may see.
    pub metadata: BTreeMap<String, String>,
}

/// What the action's history says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History {
    /// The action's state in Hawkbit's words.
    pub status: String,
    /// The newest messages.
    pub messages: Vec<String>,
}

/// A deployment, also one that waits for its confirmation or is installed already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its action.
    pub id: ActionId,
    /// How urgently to fetch.
    pub download: Handling,
    /// How urgently to install.
    pub update: Handling,
    /// Its maintenance window, where it has one.
    pub maintenance_window: Option<Window>,
    /// Its modules.
    pub chunks: Vec<Chunk>,
    /// Whether nothing may begin before it is confirmed.
    pub confirmation_required: bool,
    /// The action's history, where it was asked for.
    pub history: Option<History>,
}

/// An action that is to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The cancellation's own number, under which it is answered.
    pub id: ActionId,
    /// The action to stop.
    pub stop_id: ActionId,
}

#[derive(Deserialize)]
struct RawBase {
    config: Option<RawConfig>,
    #[serde(rename = "_links")]
    links: Option<RawLinks>,
}

#[derive(Deserialize)]
struct RawConfig {
    polling: Option<RawPolling>,
}

#[derive(Deserialize)]
struct RawPolling {
    sleep: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLinks {
    deployment_base: Option<RawLink>,
    confirmation_base: Option<RawLink>,
    cancel_action: Option<RawLink>,
    installed_base: Option<RawLink>,
    config_data: Option<RawLink>,
}

#[derive(Deserialize)]
struct RawLink {
    href: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAction {
    id: String,
    deployment: Option<RawDeployment>,
    confirmation: Option<RawDeployment>,
    cancel_action: Option<RawCancel>,
    action_history: Option<History>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDeployment {
    download: Handling,
    update: Handling,
    maintenance_window: Option<Window>,
    chunks: Option<Vec<RawChunk>>,
}

#[derive(Deserialize)]
struct RawChunk {
    part: Option<String>,
    name: Option<String>,
    version: Option<String>,
    metadata: Option<Vec<RawMetadata>>,
}

#[derive(Deserialize)]
struct RawMetadata {
    key: String,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCancel {
    stop_id: String,
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(bytes).map_err(|e| AnswerError::Json { problem: shown(&e.to_string()) })
}

impl Base {
    /// Reads the answer to a poll.
    pub fn decode(bytes: &[u8], asked: Asked<'_>) -> Result<Self, AnswerError> {
        let raw: RawBase = json(bytes)?;
        let sleep = match raw.config.and_then(|c| c.polling).and_then(|p| p.sleep) {
            Some(text) => parse_sleep(&text).ok_or_else(|| AnswerError::Sleep { text: shown(&text) })?,
            None => SLEEP_DEFAULT,
        };
        let links = raw.links.unwrap_or_default();
        let read = |kind, link: Option<RawLink>| link.map(|l| asked.action(kind, &l.href)).transpose();
        let deployment = read("deploymentBase", links.deployment_base)?;
        let confirmation = read("confirmationBase", links.confirmation_base)?;
        let cancel = read("cancelAction", links.cancel_action)?;
        let installed = read("installedBase", links.installed_base)?;
        if let Some(link) = &links.config_data {
            asked.plain("configData", &link.href)?;
        }
        let action = |link: Option<Link>| link.map(|l| l.action);
        Ok(Base {
            sleep,
            revision: deployment.or(confirmation).and_then(|link| link.revision),
            deployment: action(deployment),
            confirmation: action(confirmation),
            cancel: action(cancel),
            installed: action(installed),
            wants_config_data: links.config_data.is_some(),
        })
    }
}

impl Deployment {
    /// Reads the answer to a question for a deployment, or for one that waits for its confirmation when `waits`.
    pub fn decode(bytes: &[u8], asked: ActionId, waits: bool) -> Result<Self, AnswerError> {
        let raw: RawAction = json(bytes)?;
        same(asked, &raw.id)?;
        let (key, found) = if waits { ("confirmation", raw.confirmation) } else { ("deployment", raw.deployment) };
        let found = found.ok_or(AnswerError::Absent { key })?;
        let chunks = found.chunks.unwrap_or_default();
        Ok(Deployment {
            id: asked,
            download: found.download,
            update: found.update,
            maintenance_window: found.maintenance_window,
            chunks: chunks.into_iter().map(chunk).collect::<Result<_, _>>()?,
            confirmation_required: waits,
            history: raw.action_history,
        })
    }
}

impl Cancel {
    /// Reads the answer to a question for a cancellation.
    pub fn decode(bytes: &[u8], asked: ActionId) -> Result<Self, AnswerError> {
        let raw: RawAction = json(bytes)?;
        same(asked, &raw.id)?;
        let cancel = raw.cancel_action.ok_or(AnswerError::Absent { key: "cancelAction" })?;
        Ok(Cancel { id: asked, stop_id: cancel.stop_id.parse()? })
    }
}

fn same(asked: ActionId, found: &str) -> Result<(), AnswerError> {
    let found = found.parse()?;
    if asked == found { Ok(()) } else { Err(AnswerError::OtherAction { asked, found }) }
}

fn chunk(raw: RawChunk) -> Result<Chunk, AnswerError> {
    let name = raw.name.unwrap_or_default();
    let mut metadata = BTreeMap::new();
    for RawMetadata { key, value } in raw.metadata.unwrap_or_default() {
        if metadata.contains_key(&key) {
            return Err(AnswerError::Twice { module: shown(&name), key: shown(&key) });
        }
        metadata.insert(key, value.unwrap_or_default());
    }
    Ok(Chunk { part: raw.part.unwrap_or_default(), name, version: raw.version.unwrap_or_default(), metadata })
}

#[cfg(test)]
mod tests;
