//! `/rollouts`.

use super::super::model::{Group, Hawkbit, Kind, Millis, Refusal, Result, Rollout, RolloutCounts};
use super::list::{page, stamped, with};
use super::request::{Answer, Request, id};
use super::{ADMIN, targets};
use serde_json::{Value, json};

/// Answers the operator.
pub fn answer(state: &mut Hawkbit, request: &Request, path: &[&str], now: Millis) -> Result<Answer> {
    match (request.method.as_str(), path) {
        ("GET", []) => page(request, state.rollouts().map(|r| rollout(state, request, r))),
        ("POST", []) => {
            let id = state.create_rollout(request.json()?, ADMIN, now)?;
            Ok(Answer::Json(201, rollout(state, request, state.rollout(id)?)))
        }
        ("GET", [one]) => Ok(Answer::Json(200, rollout(state, request, state.rollout(id(one)?)?))),
        ("DELETE", [one]) => {
            state.delete_rollout(id(one)?)?;
            Ok(Answer::Bare(204))
        }
        ("POST", [one, "start"]) => set(state, one, &["ready"], "starting", now),
        ("POST", [one, "pause"]) => set(state, one, &["running"], "paused", now),
        ("POST", [one, "resume"]) => set(state, one, &["paused"], "running", now),
        ("POST", [one, "triggerNextGroup"]) => {
            state.trigger_next_group(id(one)?, now)?;
            Ok(Answer::Bare(204))
        }
        ("GET", [one, "deploygroups", rest @ ..]) => groups(state, request, (id(one)?, rest), now),
        _ => Err(Refusal::bare(404)),
    }
}

fn set(state: &mut Hawkbit, one: &str, from: &[&str], to: &'static str, now: Millis) -> Result<Answer> {
    state.set_rollout(id(one)?, from, to, ADMIN, now)?;
    Ok(Answer::Bare(204))
}

fn groups(state: &Hawkbit, request: &Request, path: (u64, &[&str]), now: Millis) -> Result<Answer> {
    let (one, rest) = path;
    let there = state.rollout(one)?;
    let find = |segment: &str| {
        let id = id(segment)?;
        there.groups.iter().find(|g| g.id == id).ok_or_else(|| Refusal::no_such("RolloutGroup", id))
    };
    match rest {
        [] => page(request, there.groups.iter().map(|g| group(state, request, there, g))),
        [one] => Ok(Answer::Json(200, group(state, request, there, find(one)?))),
        [one, "targets"] => {
            let members = find(one)?.targets.iter().filter_map(|id| state.target(id).ok());
            page(request, members.map(|t| targets::target(state, request, t, now)))
        }
        _ => Err(Refusal::bare(404)),
    }
}

fn per_status(counts: &RolloutCounts) -> Value {
    json!({
        "running": counts.running,
        "notstarted": counts.not_started,
        "scheduled": counts.scheduled,
        "cancelled": counts.cancelled,
        "finished": counts.finished,
        "error": counts.error,
    })
}

fn rollout(state: &Hawkbit, request: &Request, rollout: &Rollout) -> Value {
    let path = format!("/rest/v1/rollouts/{}", rollout.id);
    let link = |rest: &str| json!({ "href": request.link(&format!("{path}{rest}")) });
    let set = state.catalog.set(rollout.set).map(|s| format!("{}:{}", s.name, s.version)).unwrap_or_default();
    let set_link = request.link(&format!("/rest/v1/distributionsets/{}", rollout.set));
    let counts = state.rollout_counts(rollout);
    let forcetime = if let Kind::TimeForced(time) = rollout.kind { time } else { 0 };
    let mut item = json!({
        "id": rollout.id,
        "name": rollout.name,
        "targetFilterQuery": rollout.query,
        "distributionSetId": rollout.set,
        "status": rollout.status,
        "totalTargets": counts.total(),
        "totalTargetsPerStatus": per_status(&counts),
        "totalGroups": rollout.groups.len(),
        "forcetime": forcetime,
        "deleted": false,
        "type": rollout.kind.name(),
        "weight": 1000,
        "dynamic": false,
        "_links": {
            "start": link("/start"),
            "pause": link("/pause"),
            "resume": link("/resume"),
            "triggerNextGroup": link("/triggerNextGroup"),
            "approve": link("/approve"),
            "deny": link("/deny"),
            "groups": link("/deploygroups?offset=0&limit=50"),
            "distributionset": { "href": set_link, "name": set },
            "self": link(""),
        },
    });
    with(&mut item, "description", rollout.description.clone());
    with(&mut item, "startAt", rollout.start_at);
    stamped(item, &rollout.stamp)
}

fn group(state: &Hawkbit, request: &Request, rollout: &Rollout, group: &Group) -> Value {
    let path = format!("/rest/v1/rollouts/{}/deploygroups/{}", rollout.id, group.id);
    let counts = state.group_counts(rollout, group);
    let mut item = json!({
        "id": group.id,
        "name": group.name,
        "status": group.status,
        "targetFilterQuery": group.query,
        "targetPercentage": group.percentage,
        "totalTargets": group.targets.len(),
        "totalTargetsPerStatus": per_status(&counts),
        "successCondition": { "condition": "THRESHOLD", "expression": group.success.to_string() },
        "successAction": { "action": "NEXTGROUP", "expression": "" },
        "_links": { "self": { "href": request.link(&path) } },
    });
    if let Some(error) = group.error {
        item["errorCondition"] = json!({ "condition": "THRESHOLD", "expression": error.to_string() });
        item["errorAction"] = json!({ "action": "PAUSE", "expression": "" });
    }
    with(&mut item, "description", group.description.clone());
    stamped(item, &group.stamp)
}
