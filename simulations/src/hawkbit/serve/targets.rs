//! `/targets`.

use super::super::model::{
    AutoConfirm, Hawkbit, Kind, Millis, NewTarget, Refusal, Result, Target, Window, Wish, WrittenWindow,
};
use super::list::{page_of, stamped, with};
use super::request::{Answer, Request};
use super::{ADMIN, actions, catalog};
use serde::Deserialize;
use serde_json::{Value, json};

/// One line of an assignment; the id names a target, or a set where the target is in the path.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<I> {
    pub id: I,
    #[serde(rename = "type")]
    kind: Option<String>,
    forcetime: Option<Millis>,
    confirmation_required: Option<bool>,
    maintenance_window: Option<WrittenWindow>,
}

impl<I> Line<I> {
    /// What the line asks for one target.
    pub fn wish(self, target: &str) -> Result<Wish> {
        let kind = self.kind.as_deref().unwrap_or("forced");
        let kind = Kind::from_words(kind, self.forcetime).ok_or_else(Refusal::unreadable)?;
        let window = self.maintenance_window.map(Window::new).transpose()?;
        Ok(Wish { target: target.into(), kind, window, confirm: self.confirmation_required.unwrap_or(true) })
    }
}

#[derive(Deserialize)]
struct Consent {
    initiator: Option<String>,
    remark: Option<String>,
}

/// Answers the operator.
pub fn answer(state: &mut Hawkbit, request: &Request, path: &[&str], now: Millis) -> Result<Answer> {
    match (request.method.as_str(), path) {
        ("GET", []) => {
            let ids = state.matching(request.query.get("q").map_or("", String::as_str))?;
            let items = ids.iter().filter_map(|id| state.target(id).ok()).map(|t| target(state, request, t, now));
            page_of(request, items.collect())
        }
        ("POST", []) => {
            let ids = state.create_targets(request.json()?, ADMIN, now)?;
            let items = ids.iter().filter_map(|id| state.target(id).ok()).map(|t| target(state, request, t, now));
            Ok(Answer::Json(201, items.collect()))
        }
        ("GET", [one]) => Ok(Answer::Json(200, target(state, request, state.target(one)?, now))),
        ("PUT", [one]) => {
            state.update_target(one, request.json::<NewTarget>()?, ADMIN, now)?;
            Ok(Answer::Json(200, target(state, request, state.target(one)?, now)))
        }
        ("DELETE", [one]) => {
            state.delete_target(one)?;
            Ok(Answer::Bare(204))
        }
        ("GET", [one, "attributes"]) => {
            let attributes = &state.target(one)?.attributes;
            Ok(if attributes.is_empty() { Answer::Bare(204) } else { Answer::Json(200, json!(attributes)) })
        }
        ("GET", [one, "assignedDS"]) => set_of(state, request, state.target(one)?.assigned),
        ("GET", [one, "installedDS"]) => set_of(state, request, state.target(one)?.installed),
        ("POST", [one, "assignedDS"]) => {
            state.target(one)?;
            let line = request.json::<Line<u64>>().or_else(|_| {
                let mut lines = request.json::<Vec<Line<u64>>>()?;
                if lines.len() == 1 { Ok(lines.remove(0)) } else { Err(Refusal::unreadable()) }
            })?;
            let set = line.id;
            let assigned = state.assign(set, vec![line.wish(one)?], ADMIN, now)?;
            catalog::assigned(state, request, &assigned)
        }
        (_, [one, "actions", rest @ ..]) => actions::of_target(state, request, (one, rest), now),
        (_, [one, "autoConfirm", rest @ ..]) => auto_confirm(state, request, (one, rest), now),
        _ => Err(Refusal::bare(404)),
    }
}

fn set_of(state: &Hawkbit, request: &Request, set: Option<u64>) -> Result<Answer> {
    match set.map(|id| state.catalog.set(id)) {
        Some(set) => Ok(Answer::Json(200, catalog::set(state, request, set?))),
        None => Ok(Answer::Bare(204)),
    }
}

fn auto_confirm(state: &mut Hawkbit, request: &Request, path: (&str, &[&str]), now: Millis) -> Result<Answer> {
    let (one, rest) = path;
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let item = match &state.target(one)?.auto_confirm {
                Some(consent) => {
                    let mut item = json!({ "active": true, "activatedAt": consent.activated_at });
                    with(&mut item, "initiator", consent.initiator.clone());
                    with(&mut item, "remark", consent.remark.clone());
                    item
                }
                None => json!({ "active": false }),
            };
            Ok(Answer::Json(200, item))
        }
        ("POST", ["activate"]) => {
            let none = Consent { initiator: None, remark: None };
            let Consent { initiator, remark } = if request.body.is_empty() { none } else { request.json()? };
            let initiator = initiator.or_else(|| Some(ADMIN.into()));
            let consent = AutoConfirm { initiator, remark, activated_at: now, by: ADMIN.into() };
            state.activate_auto_confirm(one, consent, now)?;
            Ok(Answer::Bare(200))
        }
        ("POST", ["deactivate"]) => {
            state.deactivate_auto_confirm(one)?;
            Ok(Answer::Bare(200))
        }
        _ => Err(Refusal::bare(404)),
    }
}

/// One target.
pub fn target(state: &Hawkbit, request: &Request, target: &Target, now: Millis) -> Value {
    let path = format!("/rest/v1/targets/{}", target.id);
    let link = |rest: &str| json!({ "href": request.link(&format!("{path}{rest}")) });
    let mut item = json!({
        "controllerId": target.id,
        "name": target.name,
        "updateStatus": target.update_status,
        "securityToken": target.token,
        "requestAttributes": target.wants_attributes,
        "_links": {
            "self": link(""),
            "assignedDS": link("/assignedDS"),
            "installedDS": link("/installedDS"),
            "attributes": link("/attributes"),
            "actions": link("/actions?offset=0&limit=50&sort=id%3ADESC"),
            "autoConfirm": link("/autoConfirm"),
        },
    });
    with(&mut item, "description", target.description.clone());
    with(&mut item, "installedAt", target.installed_at);
    if let Some(last) = target.last_poll {
        let next = last + state.settings.polling_s() * 1000;
        // As long again is granted before a device counts as late.
        let overdue = now > next + state.settings.polling_s() * 1000;
        item["lastControllerRequestAt"] = json!(last);
        item["pollStatus"] = json!({ "lastRequestAt": last, "nextExpectedRequestAt": next, "overdue": overdue });
    }
    if state.settings.confirmation() {
        item["autoConfirmActive"] = json!(target.auto_confirm.is_some());
    }
    stamped(item, &target.stamp)
}
