//! The device's side: Direct Device Integration.

use super::super::model::{
    Action, AttributeMode, AutoConfirm, Catalog, Confirmation, Feedback, Hawkbit, Millis, Module, Refusal, Result,
    Settings, Target, clock,
};
use super::TENANT;
use super::list::with;
use super::request::{Answer, Request, id};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Messages of an action's history that a device gets at most.
const HISTORY_MAX: usize = 100;
const POLLING_S_MIN: u64 = 30;

#[derive(Deserialize)]
struct ConfigData {
    mode: Option<AttributeMode>,
    data: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct Installed {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Consent {
    initiator: Option<String>,
    remark: Option<String>,
}

/// Answers a device; `path` is its id and what follows.
pub fn answer(state: &mut Hawkbit, request: &Request, path: (&str, &[&str]), now: Millis) -> Result<Answer> {
    let (device, rest) = path;
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            state.poll(device, now)?;
            if let Some(action) = state.active_action(device).map(|a| a.id) {
                state.cancel_if_lapsed(action, now)?;
            }
            Ok(Answer::Json(200, base(state, request, device, now)?))
        }
        ("PUT", ["configData"]) => {
            let ConfigData { mode, data } = request.json()?;
            if data.is_empty() {
                return Err(Refusal::unreadable());
            }
            state.put_attributes(device, data, mode.unwrap_or(AttributeMode::Merge))?;
            Ok(Answer::Bare(200))
        }
        ("PUT", ["installedBase"]) => {
            let Installed { name, version } = request.json()?;
            let set = state.catalog.set_named(&name, &version)?.id;
            let news = state.assign_offline(device, set, device, now)?;
            Ok(Answer::Bare(if news { 201 } else { 200 }))
        }
        ("GET", ["deploymentBase", action]) => deployment(state, request, (device, id(action)?), now),
        ("POST", ["deploymentBase", action, "feedback"]) => {
            let (action, feedback) = (id(action)?, request.json::<Feedback>()?);
            state.feedback(device, action, &feedback, now)?;
            Ok(Answer::Bare(200))
        }
        ("GET", ["installedBase", action]) => {
            let action = state.action_of(device, id(action)?)?;
            if action.active || action.is_cancel() {
                return Err(Refusal::bare(404));
            }
            let body = described(state, request, action, "deployment", now)?;
            Ok(Answer::Json(200, body))
        }
        ("GET", ["cancelAction", action]) => {
            let action = state.action_of(device, id(action)?)?.id;
            if !state.action(action)?.is_cancel() {
                return Err(Refusal::bare(404));
            }
            state.retrieved(action, now)?;
            let name = action.to_string();
            Ok(Answer::Json(200, json!({ "id": name, "cancelAction": { "stopId": name } })))
        }
        ("POST", ["cancelAction", action, "feedback"]) => {
            let (action, feedback) = (id(action)?, request.json::<Feedback>()?);
            state.cancel_feedback(device, action, &feedback, now)?;
            Ok(Answer::Bare(200))
        }
        ("GET", ["softwaremodules", module, "artifacts"]) => {
            state.target(device)?;
            state.catalog.module(id(module)?)?;
            Ok(Answer::Json(200, json!([])))
        }
        (_, ["confirmationBase", rest @ ..]) => confirmation(state, request, (device, rest), now),
        _ => Err(Refusal::bare(404)),
    }
}

fn confirmation(state: &mut Hawkbit, request: &Request, path: (&str, &[&str]), now: Millis) -> Result<Answer> {
    let (device, rest) = path;
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            state.poll(device, now)?;
            Ok(Answer::Json(200, consent(state, request, device, now)?))
        }
        ("GET", [action]) => {
            let action = id(action)?;
            state.action_of(device, action)?;
            state.cancel_if_lapsed(action, now)?;
            let action = state.action(action)?;
            if !action.waits() {
                return Err(Refusal::bare(404));
            }
            Ok(Answer::Json(200, described(state, request, action, "confirmation", now)?))
        }
        ("POST", ["activateAutoConfirm"]) => {
            let consent = match request.body.is_empty() {
                true => Consent {
                    initiator: None,
                    remark: Some(
                        "Initiated using the Device Direct Integration API without providing a remark.".into(),
                    ),
                },
                false => request.json()?,
            };
            let Consent { initiator, remark } = consent;
            let consent = AutoConfirm { initiator, remark, activated_at: now, by: device.into() };
            state.activate_auto_confirm(device, consent, now)?;
            Ok(Answer::Bare(200))
        }
        ("POST", ["deactivateAutoConfirm"]) => {
            state.deactivate_auto_confirm(device)?;
            Ok(Answer::Bare(200))
        }
        ("POST", [action, "feedback"]) => {
            let (action, answer) = (id(action)?, request.json::<Confirmation>()?);
            state.confirm(device, action, answer, now)?;
            Ok(Answer::Bare(200))
        }
        _ => Err(Refusal::bare(404)),
    }
}

fn href(request: &Request, device: &str, rest: &str) -> Value {
    json!({ "href": request.link(&format!("/{TENANT}/controller/v1/{device}{rest}")) })
}

/// What a poll shows: how often to come back and what there is to do.
fn base(state: &Hawkbit, request: &Request, device: &str, now: Millis) -> Result<Value> {
    let target = state.target(device)?;
    let active = state.active_action(device);
    let mut links = Map::new();
    if let Some(action) = active {
        let (name, rest) = if action.waits() {
            ("confirmationBase", format!("/confirmationBase/{}?c={}", action.id, action.fingerprint(now)))
        } else if action.is_cancel() {
            ("cancelAction", format!("/cancelAction/{}", action.id))
        } else {
            ("deploymentBase", format!("/deploymentBase/{}?c={}", action.id, action.fingerprint(now)))
        };
        links.insert(name.into(), href(request, device, &rest));
    }
    if let Some(action) = state.installed_action(device) {
        links.insert("installedBase".into(), href(request, device, &format!("/installedBase/{}", action.id)));
    }
    if target.wants_attributes {
        links.insert("configData".into(), href(request, device, "/configData"));
    }
    let mut body = json!({ "config": { "polling": { "sleep": clock(sleep_s(&state.settings, active, now)) } } });
    if !links.is_empty() {
        body["_links"] = links.into();
    }
    Ok(body)
}

/// Seconds until the next poll: fewer when a maintenance window is near.
fn sleep_s(settings: &Settings, active: Option<&Action>, now: Millis) -> u64 {
    let usual = settings.polling_s();
    let opens = active.and_then(|a| a.window.as_ref()).and_then(|w| w.next_start(now)).filter(|start| *start >= now);
    match opens {
        Some(start) => ((start - now) / 1000 / settings.polls_before_window()).max(POLLING_S_MIN).min(usual),
        None => usual,
    }
}

fn deployment(state: &mut Hawkbit, request: &Request, path: (&str, u64), now: Millis) -> Result<Answer> {
    let (device, action) = path;
    state.action_of(device, action)?;
    state.cancel_if_lapsed(action, now)?;
    let there = state.action(action)?;
    if there.is_cancel() || there.waits() {
        return Err(Refusal::bare(404));
    }
    let body = described(state, request, there, "deployment", now)?;
    state.retrieved(action, now)?;
    Ok(Answer::Json(200, body))
}

/// An action as a device sees it.
fn described(state: &Hawkbit, request: &Request, action: &Action, key: &str, now: Millis) -> Result<Value> {
    let mut described =
        json!({ "download": action.download(now), "update": action.update(now), "chunks": chunks(state, action)? });
    if let Some(window) = &action.window {
        let status = if window.is_open(now) { "available" } else { "unavailable" };
        described["maintenanceWindow"] = json!(status);
    }
    let mut body = json!({ "id": action.id.to_string() });
    body[key] = described;
    let wanted = request.query.get("actionHistory").map(|n| n.parse::<i64>().map_err(|_| Refusal::unreadable()));
    let wanted = wanted.transpose()?.unwrap_or(0);
    let wanted = usize::try_from(wanted).map_or(HISTORY_MAX, |n| n.min(HISTORY_MAX));
    let messages = action.messages_of_others(wanted);
    if !messages.is_empty() {
        body["actionHistory"] = json!({ "status": action.status.name().to_uppercase(), "messages": messages });
    }
    Ok(body)
}

fn chunks(state: &Hawkbit, action: &Action) -> Result<Vec<Value>> {
    let set = state.catalog.set(action.set)?;
    let chunk = |module: &Module| {
        let part = match module.kind.as_str() {
            "application" => "bApp",
            "runtime" => "jvm",
            other => other,
        };
        let (version, name) = (&module.version, &module.name);
        let mut chunk = json!({ "part": part, "version": version, "name": name, "artifacts": [] });
        let visible = Catalog::visible_metadata(module);
        if !visible.is_empty() {
            let visible = visible.iter().map(|m| json!({ "key": m.key, "value": m.value }));
            chunk["metadata"] = visible.collect::<Vec<_>>().into();
        }
        chunk
    };
    Ok(state.catalog.modules_of(set).into_iter().map(chunk).collect())
}

/// Standing consent, as the device sees it.
fn consent(state: &Hawkbit, request: &Request, device: &str, now: Millis) -> Result<Value> {
    let target: &Target = state.target(device)?;
    let (state_now, link) = match &target.auto_confirm {
        Some(consent) => {
            let mut state_now = json!({ "active": true, "activatedAt": consent.activated_at });
            with(&mut state_now, "initiator", consent.initiator.clone());
            with(&mut state_now, "remark", consent.remark.clone());
            (state_now, "deactivateAutoConfirm")
        }
        None => (json!({ "active": false }), "activateAutoConfirm"),
    };
    let mut links = json!({ link: href(request, device, &format!("/confirmationBase/{link}")) });
    if let Some(action) = state.active_action(device).filter(|a| a.waits()) {
        let rest = format!("/confirmationBase/{}?c={}", action.id, action.fingerprint(now));
        links["confirmationBase"] = href(request, device, &rest);
    }
    Ok(json!({ "autoConfirm": state_now, "_links": links }))
}
