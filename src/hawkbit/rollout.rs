//! A rollout of the set to the targets of a filter, group after group.

use super::client::Client;
use super::{HawkbitError, Kind, filter_name};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long Hawkbit may take to sort targets into groups.
const READY_S_MAX: u64 = 120;
const LOOK_MS: u64 = 500;

/// A rollout to be.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Its name, which is its identity.
    pub name: String,
    /// Which targets, as a filter of Hawkbit's (RSQL).
    pub query: String,
    /// Even groups, one after the other.
    pub groups: u16,
    /// How each device takes it.
    pub kind: Kind,
    /// Percent of a group that must have succeeded before the next one begins.
    pub success_percent: u8,
    /// Percent of a group that may fail before the rollout pauses.
    pub error_percent: u8,
    /// Whether it begins at once.
    pub start: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: u64,
    name: String,
    status: String,
    target_filter_query: Option<String>,
    distribution_set_id: Option<u64>,
}

/// Finds the rollout or makes it, and starts it if that is asked for; gives its number.
pub(super) async fn ensure(client: &Client, set: u64, rollout: &Rollout) -> Result<u64, HawkbitError> {
    let listed: Vec<Listed> = client.list(&["rollouts"], Some(&filter_name(&rollout.name))).await?;
    let id = match listed.into_iter().find(|r| r.name == rollout.name) {
        Some(found) => is_ours(&found, set, rollout).map(|()| found.id)?,
        None => make(client, set, rollout).await?,
    };
    if rollout.start {
        start(client, id, rollout).await?;
    }
    Ok(id)
}

fn is_ours(found: &Listed, set: u64, rollout: &Rollout) -> Result<(), HawkbitError> {
    let other = |what| Err(HawkbitError::OtherRollout { name: rollout.name.clone(), what });
    if found.distribution_set_id.is_some_and(|there| there != set) {
        return other("distribution set");
    }
    if found.target_filter_query.as_ref().is_some_and(|there| *there != rollout.query) {
        return other("filter of targets");
    }
    Ok(())
}

async fn make(client: &Client, set: u64, rollout: &Rollout) -> Result<u64, HawkbitError> {
    let new = json!({
        "name": rollout.name,
        "distributionSetId": set,
        "targetFilterQuery": rollout.query,
        "type": rollout.kind.word(),
        "amountGroups": rollout.groups,
        "successCondition": { "condition": "THRESHOLD", "expression": rollout.success_percent.to_string() },
        "successAction": { "action": "NEXTGROUP", "expression": "" },
        "errorCondition": { "condition": "THRESHOLD", "expression": rollout.error_percent.to_string() },
        "errorAction": { "action": "PAUSE", "expression": "" },
    });
    client.make::<Listed>(&["rollouts"], &new).await.map(|made| made.id)
}

/// Waits until its groups are made, then starts it; one that runs or has run is left alone.
async fn start(client: &Client, id: u64, rollout: &Rollout) -> Result<(), HawkbitError> {
    let number = id.to_string();
    let not_ready =
        |status: &str, hint| HawkbitError::NotReady { name: rollout.name.clone(), status: shown(status), hint };
    let end = Instant::now() + Duration::from_secs(READY_S_MAX);
    loop {
        let there: Option<Listed> = client.find(&["rollouts", &number]).await?;
        let status = there.map_or_else(|| "deleted".to_owned(), |r| r.status);
        match status.as_str() {
            "ready" => return client.change(Method::POST, &["rollouts", &number, "start"], None).await,
            "starting" | "running" | "finished" => return Ok(()),
            "creating" if Instant::now() < end => tokio::time::sleep(Duration::from_millis(LOOK_MS)).await,
            "creating" => return Err(not_ready(&status, ": the same command again goes on")),
            "paused" => return Err(not_ready(&status, ": resume it in Hawkbit")),
            "waiting_for_approval" => return Err(not_ready(&status, ": approve it in Hawkbit")),
            _ => return Err(not_ready(&status, "")),
        }
    }
}

fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(40).collect()
}
