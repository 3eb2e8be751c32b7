//! Lists: filtered, sorted and cut into pages.

use super::super::model::{Query, Result, Stamp};
use super::request::{Answer, Request};
use serde_json::{Value, json};
use std::cmp::Ordering;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;

/// The page that a request asks for, of items that match its filter.
pub fn page(request: &Request, items: impl Iterator<Item = Value>) -> Result<Answer> {
    let query = Query::parse(request.query.get("q").map_or("", String::as_str))?;
    let items = items.filter(|item| query.matches(&|name: &str| field(item, name)));
    page_of(request, items.collect())
}

/// The page that a request asks for.
pub fn page_of(request: &Request, mut items: Vec<Value>) -> Result<Answer> {
    for order in request.query.get("sort").into_iter().flat_map(|s| s.rsplit(',')) {
        let (key, direction) = order.split_once(':').unwrap_or((order, "ASC"));
        let descending = direction.eq_ignore_ascii_case("desc");
        items.sort_by(|a, b| {
            let order = compare(&a[key], &b[key]);
            if descending { order.reverse() } else { order }
        });
    }
    let total = items.len();
    let limit = request.number("limit")?.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let offset = request.number("offset")?.unwrap_or(0);
    let content: Vec<Value> = items.into_iter().skip(offset).take(limit).collect();
    let size = content.len();
    Ok(Answer::Json(200, json!({ "content": content, "total": total, "size": size })))
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_u64(), b.as_u64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_str().cmp(&b.as_str()),
    }
}

fn field(item: &Value, name: &str) -> Option<String> {
    let value = item.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Adds who made it and who changed it.
pub fn stamped(mut item: Value, stamp: &Stamp) -> Value {
    item["createdBy"] = json!(stamp.created_by);
    item["createdAt"] = json!(stamp.created_at);
    item["lastModifiedBy"] = json!(stamp.modified_by);
    item["lastModifiedAt"] = json!(stamp.modified_at);
    item
}

/// Adds a value that may be missing.
pub fn with<T: Into<Value>>(item: &mut Value, key: &str, value: Option<T>) {
    if let Some(value) = value {
        item[key] = value.into();
    }
}
