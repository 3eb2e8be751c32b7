//! A document's signed bytes as JSON, for scripts.

use ciborium::Value;

/// Byte strings over this length are told by their length only.
const BYTES_SHOWN_MAX: usize = 4096;

/// The body as JSON: byte strings become hex.
pub fn of_cbor(body: &[u8]) -> serde_json::Value {
    ciborium::from_reader(body).map_or(serde_json::Value::Null, convert)
}

fn convert(value: Value) -> serde_json::Value {
    match value {
        Value::Integer(i) => u64::try_from(i).map_or_else(|_| i64::try_from(i).unwrap_or(i64::MIN).into(), Into::into),
        Value::Bytes(b) if b.len() > BYTES_SHOWN_MAX => format!("({} bytes)", b.len()).into(),
        Value::Bytes(b) => hex::encode(b).into(),
        Value::Float(f) => f.into(),
        Value::Text(t) => t.into(),
        Value::Bool(b) => b.into(),
        Value::Array(items) => items.into_iter().map(convert).collect(),
        Value::Map(entries) => entries.into_iter().map(|(k, v)| (key(k), convert(v))).collect(),
        _ => serde_json::Value::Null,
    }
}

fn key(value: Value) -> String {
    match convert(value) {
        serde_json::Value::String(s) => s,
        other => other.to_string(),
    }
}
