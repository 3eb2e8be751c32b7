//! Bounded CBOR (RFC 8949): a size limit, a depth limit, no duplicate map keys, no trailing bytes.

use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};

/// How deep arrays and maps may nest in anything that comes from outside.
pub const DEPTH_MAX: usize = 16;

/// Why bytes are not an acceptable CBOR item of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// More bytes than the format allows.
    #[error("{len} bytes are over the limit of {max}")]
    TooLong {
        /// What was given.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// More items than the format allows.
    #[error("over the limit of {max} items")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// Not well-formed CBOR, or nested too deep.
    #[error("not well-formed CBOR: {0}")]
    Malformed(String),
    /// Bytes after the end of the item.
    #[error("{0} stray bytes after the end")]
    Trailing(usize),
    /// The same map key twice.
    #[error("field {0} appears twice")]
    Duplicate(String),
    /// Well-formed, but not of the expected shape.
    #[error("unexpected content: {0}")]
    Shape(String),
}

/// Encodes `value`; struct fields keep their order, so equal values give equal bytes.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to memory cannot fail");
    out
}

/// Decodes exactly one item of at most `max` bytes.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, CborError> {
    if bytes.len() > max {
        return Err(CborError::TooLong { len: bytes.len(), max });
    }
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
        .map_err(|e| CborError::Malformed(told(e)))?;
    if !rest.is_empty() {
        return Err(CborError::Trailing(rest.len()));
    }
    refuse_duplicates(&value)?;
    value.deserialized().map_err(|e| CborError::Shape(shape(e)))
}

/// As [`from_slice`], for messages that come often: at most `items_max` items, since each takes far more memory
/// than the byte that it may be on the wire.
pub fn from_slice_of_items<T: DeserializeOwned>(bytes: &[u8], max: usize, items_max: usize) -> Result<T, CborError> {
    if bytes.len() <= max && has_more_items(bytes, items_max) {
        return Err(CborError::TooMany { max: items_max });
    }
    from_slice(bytes, max)
}

/// Counts heads; what is malformed ends the count and is left to the decoder.
fn has_more_items(bytes: &[u8], max: usize) -> bool {
    let (mut at, mut items) = (0usize, 0usize);
    while let Some(head) = bytes.get(at) {
        items += 1;
        if items > max {
            return true;
        }
        let width = match head & 0x1f {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let Some(argument) = bytes.get(at + 1..at + 1 + width) else { return false };
        let small = u64::from(head & 0x1f) * u64::from(width == 0 && head & 0x1f < 24);
        let value = argument.iter().fold(small, |value, byte| value << 8 | u64::from(*byte));
        let is_text = matches!(head >> 5, 2 | 3) && head & 0x1f != 31;
        let content = if is_text { usize::try_from(value).unwrap_or(usize::MAX) } else { 0 };
        at = (at + 1 + width).saturating_add(content);
    }
    false
}

/// What the decoder says, for a person; its own texts show its data structures.
fn told(error: ciborium::de::Error<std::io::Error>) -> String {
    use ciborium::de::Error;
    match error {
        Error::Io(_) => "it ends too early".to_owned(),
        Error::Syntax(at) => format!("syntax error at byte {at}"),
        Error::Semantic(Some(at), what) => format!("{what} at byte {at}"),
        Error::Semantic(None, what) => what,
        Error::RecursionLimitExceeded => format!("nested deeper than {DEPTH_MAX}"),
    }
}

fn shape(error: ciborium::value::Error) -> String {
    let ciborium::value::Error::Custom(what) = error;
    what
}

fn refuse_duplicates(value: &Value) -> Result<(), CborError> {
    match value {
        Value::Array(items) => items.iter().try_for_each(refuse_duplicates),
        Value::Tag(_, inner) => refuse_duplicates(inner),
        Value::Map(entries) => {
            let mut keys: Vec<Vec<u8>> = entries.iter().map(|(k, _)| to_vec(k)).collect();
            keys.sort_unstable();
            if let Some(pair) = keys.windows(2).find(|w| w[0] == w[1]) {
                let key: Result<Value, _> = ciborium::from_reader(pair[0].as_slice());
                return Err(CborError::Duplicate(key.map_or_else(|_| "?".into(), |k| describe(&k))));
            }
            entries.iter().try_for_each(|(k, v)| {
                refuse_duplicates(k)?;
                refuse_duplicates(v)
            })
        }
        _ => Ok(()),
    }
}

fn describe(key: &Value) -> String {
    match key {
        Value::Text(t) => format!("{:?}", t.chars().take(80).collect::<String>()),
        other => format!("{other:?}").chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        a: u32,
        b: String,
    }

    #[test]
    fn a_duplicate_field_is_refused_even_when_it_is_unknown() {
        // {"a":1,"b":"","x":1,"x":2}
        let bytes = hex::decode("a461610161626061780161780 2".replace(' ', "")).unwrap();
        let err = from_slice::<Sample>(&bytes, 100).unwrap_err();
        assert_eq!(err, CborError::Duplicate("\"x\"".into()));
    }

    #[test]
    fn unknown_fields_are_ignored_and_stray_bytes_are_not() {
        let mut bytes = hex::decode("a3616101616260617801").unwrap();
        assert_eq!(from_slice(&bytes, 100), Ok(Sample { a: 1, b: String::new() }));
        bytes.push(0);
        assert_eq!(from_slice::<Sample>(&bytes, 100), Err(CborError::Trailing(1)));
        assert_eq!(from_slice::<Sample>(&bytes, 5), Err(CborError::TooLong { len: 11, max: 5 }));
    }

    #[test]
    fn deep_nesting_and_huge_claimed_lengths_are_refused_cheaply() {
        let deep = vec![0x81u8; 10_000];
        assert!(matches!(from_slice::<Value>(&deep, 1 << 20), Err(CborError::Malformed(_))));
        let huge = hex::decode("9bffffffffffffffff").unwrap();
        assert!(matches!(from_slice::<Value>(&huge, 1 << 20), Err(CborError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_slice::<Sample>(&bytes, 200);
            let _ = from_slice::<Value>(&bytes, 200);
        }
    }
}
