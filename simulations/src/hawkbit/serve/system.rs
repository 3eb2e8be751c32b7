//! `/system/configs`: the tenant's configuration.

use super::super::model::{Hawkbit, Millis, Refusal, Result, Settings};
use super::ADMIN;
use super::list::stamped;
use super::request::{Answer, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct One {
    value: Value,
}

/// Answers the operator.
pub fn answer(state: &mut Hawkbit, request: &Request, path: &[&str], now: Millis) -> Result<Answer> {
    match (request.method.as_str(), path) {
        ("GET", []) => {
            let all = Settings::keys().into_iter().map(|k| Ok((k.to_owned(), setting(state, request, k)?)));
            Ok(Answer::Json(200, Value::Object(all.collect::<Result<Map<_, _>>>()?)))
        }
        ("PUT", []) => {
            // All or none: what is wrong is found on a copy first.
            let values = request.json::<Map<String, Value>>()?;
            let mut copy = state.settings.clone();
            for (key, value) in &values {
                copy.put(key, value, ADMIN, now)?;
            }
            state.settings = copy;
            let keys = values.keys().map(|k| Ok((k.clone(), setting(state, request, k)?)));
            Ok(Answer::Json(200, Value::Object(keys.collect::<Result<Map<_, _>>>()?)))
        }
        ("GET", [key]) => Ok(Answer::Json(200, setting(state, request, key)?)),
        ("PUT", [key]) => {
            state.settings.put(key, &request.json::<One>()?.value, ADMIN, now)?;
            Ok(Answer::Bare(204))
        }
        ("DELETE", [key]) => {
            state.settings.reset(key)?;
            Ok(Answer::Bare(204))
        }
        _ => Err(Refusal::bare(404)),
    }
}

fn setting(state: &Hawkbit, request: &Request, key: &str) -> Result<Value> {
    let (value, stamp) = state.settings.get(key)?;
    let link = request.link(&format!("/rest/v1/system/configs/{key}"));
    let item = json!({ "value": value, "global": stamp.is_none(), "_links": { "self": { "href": link } } });
    Ok(match stamp {
        Some(stamp) => stamped(item, stamp),
        None => item,
    })
}
