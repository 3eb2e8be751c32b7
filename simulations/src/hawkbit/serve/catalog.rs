//! `/softwaremodules`, `/distributionsets` and their types.

use super::super::model::{
    Assigned, Hawkbit, Meta, Millis, Module, ModuleId, NewModule, NewSet, NewSetType, Refusal, Result, Set,
};
use super::ADMIN;
use super::list::{page, page_of, stamped, with};
use super::request::{Answer, Request, id};
use super::targets::{self, Line};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewModuleType {
    key: String,
    name: String,
    max_assignments: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaValue {
    value: String,
    #[serde(default)]
    target_visible: bool,
}

/// `/softwaremodules`.
pub fn modules(state: &mut Hawkbit, request: &Request, path: &[&str], now: Millis) -> Result<Answer> {
    match (request.method.as_str(), path) {
        ("GET", []) => {
            page(request, state.catalog.modules.values().filter(|m| !m.deleted).map(|m| module(state, request, m)))
        }
        ("POST", []) => {
            let mut made = Vec::new();
            for new in request.json::<Vec<NewModule>>()? {
                let one = state.catalog.create_module(new, ADMIN, now)?;
                made.push(module(state, request, state.catalog.module(one)?));
            }
            Ok(Answer::Json(201, made.into()))
        }
        ("GET", [one]) => Ok(Answer::Json(200, module(state, request, state.catalog.module(id(one)?)?))),
        ("DELETE", [one]) => {
            state.catalog.delete_module(id(one)?)?;
            Ok(Answer::Bare(204))
        }
        ("GET", [one, "artifacts"]) => {
            state.catalog.module(id(one)?)?;
            Ok(Answer::Json(200, json!([])))
        }
        (_, [one, "metadata", rest @ ..]) => metadata(state, request, (id(one)?, rest)),
        _ => Err(Refusal::bare(404)),
    }
}

fn metadata(state: &mut Hawkbit, request: &Request, path: (u64, &[&str])) -> Result<Answer> {
    let (module, rest) = path;
    let item = |m: &Meta| json!({ "key": m.key, "value": m.value, "targetVisible": m.target_visible });
    let there = &state.catalog.module(module)?.metadata;
    let find =
        |key: &str| there.iter().find(|m| m.key == key).ok_or_else(|| Refusal::no_such("SoftwareModuleMetadata", key));
    match (request.method.as_str(), rest) {
        ("GET", []) => page_of(request, there.iter().map(item).collect()),
        ("POST", []) => {
            let new = request.json::<Vec<Meta>>()?;
            let made = new.iter().map(item).collect();
            state.catalog.put_metadata(module, new, false)?;
            Ok(Answer::Json(201, made))
        }
        ("GET", [key]) => Ok(Answer::Json(200, item(find(key)?))),
        ("PUT", [key]) => {
            find(key)?;
            let MetaValue { value, target_visible } = request.json()?;
            let changed = Meta { key: (*key).into(), value, target_visible };
            let shown = item(&changed);
            state.catalog.put_metadata(module, vec![changed], true)?;
            Ok(Answer::Json(200, shown))
        }
        ("DELETE", [key]) => {
            find(key)?;
            if let Some(module) = state.catalog.modules.get_mut(&module) {
                module.metadata.retain(|m| m.key != *key);
            }
            Ok(Answer::Bare(204))
        }
        _ => Err(Refusal::bare(404)),
    }
}

fn module(state: &Hawkbit, request: &Request, module: &Module) -> Value {
    let kind = state.catalog.module_types.iter().find(|t| t.key == module.kind);
    let mut item = json!({
        "id": module.id,
        "name": module.name,
        "version": module.version,
        "type": module.kind,
        "typeName": kind.map(|t| &t.name),
        "encrypted": false,
        "locked": module.locked,
        "deleted": module.deleted,
        "complete": true,
        "_links": { "self": { "href": request.link(&format!("/rest/v1/softwaremodules/{}", module.id)) } },
    });
    with(&mut item, "vendor", module.vendor.clone());
    with(&mut item, "description", module.description.clone());
    stamped(item, &module.stamp)
}

/// `/distributionsets`.
pub fn sets(state: &mut Hawkbit, request: &Request, path: &[&str], now: Millis) -> Result<Answer> {
    match (request.method.as_str(), path) {
        ("GET", []) => {
            page(request, state.catalog.sets.values().filter(|s| !s.deleted).map(|s| set(state, request, s)))
        }
        ("POST", []) => {
            let mut made = Vec::new();
            for new in request.json::<Vec<NewSet>>()? {
                let one = state.catalog.create_set(new, ADMIN, now)?;
                made.push(set(state, request, state.catalog.set(one)?));
            }
            Ok(Answer::Json(201, made.into()))
        }
        ("GET", [one]) => Ok(Answer::Json(200, set(state, request, state.catalog.set(id(one)?)?))),
        ("DELETE", [one]) => {
            let one = id(one)?;
            let used = state.actions().any(|a| a.set == one) || state.rollouts().any(|r| r.set == one);
            state.catalog.delete_set(one, used)?;
            Ok(Answer::Bare(204))
        }
        ("GET", [one, "assignedSM"]) => {
            let modules = state.catalog.modules_of(state.catalog.set(id(one)?)?);
            page(request, modules.into_iter().map(|m| module(state, request, m)))
        }
        ("POST", [one, "assignedSM"]) => {
            state.catalog.add_modules(id(one)?, &request.json::<Vec<ModuleId>>()?, ADMIN, now)?;
            Ok(Answer::Bare(200))
        }
        ("GET", [one, "assignedTargets" | "installedTargets"]) => {
            let set = Some(state.catalog.set(id(one)?)?.id);
            let installed = path[1] == "installedTargets";
            let having = state.targets().filter(|t| set == if installed { t.installed } else { t.assigned });
            page(request, having.map(|t| targets::target(state, request, t, now)))
        }
        ("POST", [one, "assignedTargets"]) => assign(state, request, id(one)?, now),
        _ => Err(Refusal::bare(404)),
    }
}

fn assign(state: &mut Hawkbit, request: &Request, set: u64, now: Millis) -> Result<Answer> {
    let lines = request.json::<Vec<Line<String>>>()?;
    let mut wishes = Vec::new();
    for line in lines {
        let target = line.id.clone();
        wishes.push(line.wish(&target)?);
    }
    if request.query.get("offline").is_none_or(|o| o != "true") {
        let done = state.assign(set, wishes, ADMIN, now)?;
        return assigned(state, request, &done);
    }
    state.catalog.set(set)?;
    let (mut already, mut news) = (0, 0);
    for wish in wishes.iter().filter(|w| state.target(&w.target).is_ok()).map(|w| w.target.clone()).collect::<Vec<_>>()
    {
        if state.assign_offline(&wish, set, ADMIN, now)? { news += 1 } else { already += 1 }
    }
    let item = json!({ "alreadyAssigned": already, "assignedActions": [], "assigned": news, "total": already + news });
    Ok(Answer::Json(200, item))
}

/// What came of an assignment.
pub fn assigned(state: &Hawkbit, request: &Request, done: &Assigned) -> Result<Answer> {
    let action = |id: &u64| -> Result<Value> {
        let target = &state.action(*id)?.target;
        let link = request.link(&format!("/rest/v1/targets/{target}/actions/{id}"));
        Ok(json!({ "id": id, "_links": { "self": { "href": link } } }))
    };
    let actions = done.actions.iter().map(action).collect::<Result<Vec<_>>>()?;
    let (already, news) = (done.already, done.actions.len());
    Ok(Answer::Json(
        200,
        json!({ "alreadyAssigned": already, "assignedActions": actions, "assigned": news, "total": already + news }),
    ))
}

/// One distribution set.
pub fn set(state: &Hawkbit, request: &Request, set: &Set) -> Value {
    let kind = state.catalog.set_types.iter().find(|t| t.key == set.kind);
    let path = format!("/rest/v1/distributionsets/{}", set.id);
    let link = |rest: &str| json!({ "href": request.link(&format!("{path}{rest}")) });
    let modules = state.catalog.modules_of(set).into_iter().map(|m| module(state, request, m));
    let mut item = json!({
        "id": set.id,
        "name": set.name,
        "version": set.version,
        "type": set.kind,
        "typeName": kind.map(|t| &t.name),
        "locked": set.locked,
        "deleted": set.deleted,
        "valid": true,
        "requiredMigrationStep": set.migration,
        "modules": modules.collect::<Vec<_>>(),
        "complete": state.catalog.is_complete(set),
        "_links": {
            "self": link(""),
            "modules": link("/assignedSM?offset=0&limit=50"),
            "type": { "href": request.link(&format!("/rest/v1/distributionsettypes/{}", kind.map_or(0, |t| t.id))) },
            "metadata": link("/metadata"),
        },
    });
    with(&mut item, "description", set.description.clone());
    stamped(item, &set.stamp)
}

/// `/softwaremoduletypes`.
pub fn module_types(state: &mut Hawkbit, request: &Request, path: &[&str]) -> Result<Answer> {
    let item = |t: &super::super::model::ModuleType| json!({ "id": t.id, "key": t.key, "name": t.name, "maxAssignments": t.max, "deleted": false });
    match (request.method.as_str(), path) {
        ("GET", []) => page(request, state.catalog.module_types.iter().map(item)),
        ("POST", []) => {
            let mut made = Vec::new();
            for new in request.json::<Vec<NewModuleType>>()? {
                state.catalog.create_module_type(new.key, new.name, new.max_assignments.unwrap_or(1))?;
                made.extend(state.catalog.module_types.last().map(item));
            }
            Ok(Answer::Json(201, made.into()))
        }
        _ => Err(Refusal::bare(404)),
    }
}

/// `/distributionsettypes`.
pub fn set_types(state: &mut Hawkbit, request: &Request, path: &[&str]) -> Result<Answer> {
    let item = |t: &super::super::model::SetType| json!({ "id": t.id, "key": t.key, "name": t.name, "deleted": false });
    match (request.method.as_str(), path) {
        ("GET", []) => page(request, state.catalog.set_types.iter().map(item)),
        ("POST", []) => {
            let mut made = Vec::new();
            for new in request.json::<Vec<NewSetType>>()? {
                state.catalog.create_set_type(new)?;
                made.extend(state.catalog.set_types.last().map(item));
            }
            Ok(Answer::Json(201, made.into()))
        }
        _ => Err(Refusal::bare(404)),
    }
}
