//! Actions and their histories, as operators see them.

use super::super::model::{Action, Confirmation, Hawkbit, Kind, Millis, Refusal, Result};
use super::ADMIN;
use super::list::{page, page_of, stamped, with};
use super::request::{Answer, Request, id};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    force_type: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    confirmation: String,
    code: Option<i64>,
    details: Option<Vec<String>>,
}

/// `/actions`: those of all targets.
pub fn answer(state: &Hawkbit, request: &Request, path: &[&str]) -> Result<Answer> {
    match (request.method.as_str(), path) {
        ("GET", []) => page(request, state.actions().map(|a| action(state, request, a))),
        ("GET", [one]) => Ok(Answer::Json(200, action(state, request, state.action(id(one)?)?))),
        _ => Err(Refusal::bare(404)),
    }
}

/// `/targets/ID/actions`.
pub fn of_target(state: &mut Hawkbit, request: &Request, path: (&str, &[&str]), now: Millis) -> Result<Answer> {
    let (target, rest) = path;
    state.target(target)?;
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let newest_first = state.actions().filter(|a| a.target == target).map(|a| action(state, request, a));
            let mut newest_first: Vec<Value> = newest_first.collect();
            newest_first.reverse();
            page(request, newest_first.into_iter())
        }
        ("GET", [one]) => Ok(Answer::Json(200, action(state, request, state.action_of(target, id(one)?)?))),
        ("PUT", [one]) => {
            let (one, change) = (id(one)?, request.json::<Change>()?);
            state.action_of(target, one)?;
            match change.force_type.as_deref() {
                Some("forced") => state.force(target, one, ADMIN, now)?,
                Some(_) => return Err(Refusal::unreadable()),
                None => {}
            }
            Ok(Answer::Json(200, action(state, request, state.action(one)?)))
        }
        ("DELETE", [one]) => {
            if request.query.get("force").is_some_and(|f| f == "true") {
                state.force_quit(target, id(one)?, ADMIN, now)?;
            } else {
                state.cancel(target, id(one)?, ADMIN, now)?;
            }
            Ok(Answer::Bare(204))
        }
        ("PUT", [one, "confirmation"]) => {
            let Answered { confirmation, code, details } = request.json()?;
            state.confirm(target, id(one)?, Confirmation::new(confirmation == "confirmed", code, details), now)?;
            Ok(Answer::Bare(200))
        }
        ("GET", [one, "status"]) => history(request, state.action_of(target, id(one)?)?),
        _ => Err(Refusal::bare(404)),
    }
}

/// Newest first unless asked otherwise. No message is one that is null.
fn history(request: &Request, action: &Action) -> Result<Answer> {
    let entries = action.history.iter().rev().map(|entry| {
        let messages = if entry.messages.is_empty() { json!([null]) } else { json!(entry.messages) };
        let mut item = json!({
            "id": entry.id,
            "type": entry.status.name(),
            "messages": messages,
            "reportedAt": entry.reported_at,
            "timestamp": entry.timestamp,
        });
        with(&mut item, "code", entry.code);
        item
    });
    page_of(request, entries.collect())
}

/// One action.
pub fn action(state: &Hawkbit, request: &Request, action: &Action) -> Value {
    let target_path = format!("/rest/v1/targets/{}", action.target);
    let path = format!("{target_path}/actions/{}", action.id);
    let target_name = state.target(&action.target).map(|t| t.name.clone()).unwrap_or_default();
    let set_name = state.catalog.set(action.set).map(|s| format!("{}:{}", s.name, s.version)).unwrap_or_default();
    let set_path = format!("/rest/v1/distributionsets/{}", action.set);
    let mut item = json!({
        "id": action.id,
        "type": if action.is_cancel() { "cancel" } else { "update" },
        "active": action.active,
        "status": action.status.name(),
        "forceType": action.kind.name(),
        "weight": 1000,
        "_links": {
            "self": { "href": request.link(&path) },
            "target": { "href": request.link(&target_path), "name": target_name },
            "distributionset": { "href": request.link(&set_path), "name": set_name },
            "status": { "href": request.link(&format!("{path}/status?offset=0&limit=50&sort=id%3ADESC")) },
        },
    });
    if let Kind::TimeForced(time) = action.kind {
        item["forceTime"] = json!(time);
    }
    if action.is_cancel() {
        item["_links"]["canceledaction"] = json!({ "href": request.link(&path) });
    }
    with(&mut item, "lastStatusCode", action.last_code);
    if let Some(window) = &action.window {
        let (schedule, duration, timezone) = (&window.schedule, &window.duration, &window.timezone);
        item["maintenanceWindow"] = json!({ "schedule": schedule, "duration": duration, "timezone": timezone });
    }
    if let Some(rollout) = action.rollout {
        item["rollout"] = json!(rollout);
        item["_links"]["rollout"] = json!({ "href": request.link(&format!("/rest/v1/rollouts/{rollout}")) });
        with(&mut item, "rolloutName", state.rollout(rollout).ok().map(|r| r.name.clone()));
    }
    stamped(item, &action.stamp)
}
