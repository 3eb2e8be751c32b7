//! Rollouts: an assignment that reaches its targets group by group.

use super::{Hawkbit, Kind, Millis, Query, Refusal, Result, Stamp, Target, next};
use serde::Deserialize;

/// Groups of one rollout.
const GROUPS_MAX: usize = 500;

/// When a group has done well, or badly, in percent of its targets.
#[derive(Debug, Clone, Deserialize)]
pub struct Condition {
    pub expression: String,
}

impl Condition {
    fn percent(&self) -> Result<u8> {
        let percent = self.expression.parse().ok().filter(|p| *p <= 100);
        percent.ok_or_else(|| Refusal::rollout("a threshold must be between 0 and 100"))
    }
}

/// What follows.
#[derive(Debug, Clone, Deserialize)]
pub struct Consequence {
    pub action: String,
}

/// A group that an operator describes himself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewGroup {
    name: String,
    description: Option<String>,
    target_filter_query: Option<String>,
    /// Of the targets that are left.
    target_percentage: Option<f64>,
    success_condition: Option<Condition>,
    error_condition: Option<Condition>,
    error_action: Option<Consequence>,
}

/// What an operator says about a new rollout.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewRollout {
    pub name: String,
    pub description: Option<String>,
    pub distribution_set_id: u64,
    pub target_filter_query: String,
    pub amount_groups: Option<usize>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub forcetime: Option<Millis>,
    pub start_at: Option<Millis>,
    pub confirmation_required: Option<bool>,
    pub success_condition: Option<Condition>,
    pub error_condition: Option<Condition>,
    pub error_action: Option<Consequence>,
    pub groups: Option<Vec<NewGroup>>,
}

/// Targets that are asked at the same time.
#[derive(Debug, Clone)]
pub struct Group {
    pub id: u64,
    pub name: String,
    pub description: Option<String>,
    /// `creating`, `ready`, `scheduled`, `running`, `finished` or `error`.
    pub status: &'static str,
    pub stamp: Stamp,
    pub query: String,
    pub percentage: f64,
    pub targets: Vec<String>,
    /// Percent that have to succeed before the next group begins.
    pub success: u8,
    /// Percent that may fail before the rollout pauses.
    pub error: Option<u8>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Rollout {
    pub id: u64,
    pub name: String,
    pub description: Option<String>,
    pub query: String,
    pub set: u64,
    pub kind: Kind,
    pub confirm: bool,
    pub start_at: Option<Millis>,
    /// `creating`, `ready`, `starting`, `running`, `paused` or `finished`.
    pub status: &'static str,
    pub stamp: Stamp,
    pub groups: Vec<Group>,
}

/// A value of a target that a filter may name.
pub fn field_of(target: &Target, field: &str) -> Option<String> {
    let attribute = field.strip_prefix("attribute.").or_else(|| field.strip_prefix("controllerattributes."));
    if let Some(key) = attribute {
        return target.attributes.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.clone());
    }
    match field {
        "id" | "controllerid" => Some(target.id.clone()),
        "name" => Some(target.name.clone()),
        "description" => target.description.clone(),
        "updatestatus" => Some(target.update_status.to_owned()),
        _ => None,
    }
}

impl Hawkbit {
    /// The ids of the targets that match a filter.
    pub fn matching(&self, query: &str) -> Result<Vec<String>> {
        let query = Query::parse(query)?;
        let matching = self.targets.values().filter(|t| query.matches(&|field: &str| field_of(t, field)));
        Ok(matching.map(|t| t.id.clone()).collect())
    }

    /// Makes a rollout; its targets are chosen now and not later.
    pub fn create_rollout(&mut self, new: NewRollout, by: &str, now: Millis) -> Result<u64> {
        self.check_assignable(new.distribution_set_id)?;
        if self.rollouts.values().any(|r| r.name == new.name) {
            return Err(Refusal::exists("rollout", &new.name));
        }
        let targets = self.matching(&new.target_filter_query)?;
        if targets.is_empty() {
            return Err(Refusal::rollout("Rollout does not match any existing targets"));
        }
        let kind = new.kind.as_deref().unwrap_or("forced");
        let kind = Kind::from_words(kind, new.forcetime).ok_or_else(Refusal::unreadable)?;
        let groups = self.groups(&new, targets, by, now)?;
        let id = next(&mut self.ids.rollout);
        let rollout = Rollout {
            id,
            name: new.name,
            description: new.description,
            query: new.target_filter_query,
            set: new.distribution_set_id,
            kind,
            confirm: new.confirmation_required.unwrap_or(true),
            start_at: new.start_at,
            status: "creating",
            stamp: Stamp::new(by, now),
            groups,
        };
        self.rollouts.insert(id, rollout);
        self.catalog.lock(new.distribution_set_id, by, now);
        Ok(id)
    }

    fn groups(&mut self, new: &NewRollout, mut left: Vec<String>, by: &str, now: Millis) -> Result<Vec<Group>> {
        let even: Vec<NewGroup>;
        let described = match &new.groups {
            Some(groups) => groups,
            None => {
                even = even_groups(new.amount_groups.unwrap_or(1).min(GROUPS_MAX));
                &even
            }
        };
        if described.is_empty() || described.len() > GROUPS_MAX {
            return Err(Refusal::rollout(format!("the amount of groups must be between 1 and {GROUPS_MAX}")));
        }
        let mut groups = Vec::new();
        for group in described {
            let matching = self.matching(group.target_filter_query.as_deref().unwrap_or_default())?;
            let mut candidates: Vec<String> = left.iter().filter(|t| matching.contains(t)).cloned().collect();
            let percentage = group.target_percentage.unwrap_or(100.0).clamp(0.0, 100.0);
            candidates.truncate((candidates.len() as f64 * percentage / 100.0).ceil() as usize);
            left.retain(|t| !candidates.contains(t));
            let success = group.success_condition.as_ref().or(new.success_condition.as_ref());
            let error = group.error_condition.as_ref().or(new.error_condition.as_ref());
            let pauses = group.error_action.as_ref().or(new.error_action.as_ref()).is_some_and(|a| a.action == "PAUSE");
            groups.push(Group {
                id: next(&mut self.ids.group),
                name: group.name.clone(),
                description: group.description.clone(),
                status: "creating",
                stamp: Stamp::new(by, now),
                query: group.target_filter_query.clone().unwrap_or_default(),
                percentage,
                targets: candidates,
                success: success.map_or(Ok(50), Condition::percent)?,
                error: error.filter(|_| pauses).map(Condition::percent).transpose()?,
            });
        }
        if left.is_empty() { Ok(groups) } else { Err(Refusal::rollout("Rollout groups don't match all targets")) }
    }

    /// All rollouts, oldest first.
    pub fn rollouts(&self) -> impl Iterator<Item = &Rollout> {
        self.rollouts.values()
    }

    /// One rollout.
    pub fn rollout(&self, id: u64) -> Result<&Rollout> {
        self.rollouts.get(&id).ok_or_else(|| Refusal::no_such("Rollout", id))
    }

    /// Moves a rollout from one of some states to another, when the operator says so.
    pub fn set_rollout(&mut self, id: u64, from: &[&str], to: &'static str, by: &str, now: Millis) -> Result<()> {
        let rollout = self.rollouts.get_mut(&id).ok_or_else(|| Refusal::no_such("Rollout", id))?;
        if !from.contains(&rollout.status) {
            let message = format!("Rollout is {}, which does not allow {to}", rollout.status);
            return Err(Refusal::rollout_state(message));
        }
        rollout.status = to;
        rollout.stamp.touch(by, now);
        Ok(())
    }

    /// Removes a rollout; actions that it began go on, those that it did not are gone.
    pub fn delete_rollout(&mut self, id: u64) -> Result<()> {
        self.rollout(id)?;
        self.rollouts.remove(&id);
        self.actions.retain(|_, a| a.rollout != Some(id) || a.status != super::Status::Scheduled);
        Ok(())
    }
}

/// Groups of the same size: of what is left, the first of n takes the n-th part.
fn even_groups(count: usize) -> Vec<NewGroup> {
    let group = |at: usize| NewGroup {
        name: format!("group-{}", at + 1),
        description: None,
        target_filter_query: None,
        target_percentage: Some(100.0 / (count - at) as f64),
        success_condition: None,
        error_condition: None,
        error_action: None,
    };
    (0..count).map(group).collect()
}
