//! Reading answers of scripts.

use redis::Value;

/// An answer that is not what the script promises.
pub(super) const ODD: &str = "redis gave an answer of an unexpected shape";

pub(super) fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(ODD.to_owned()),
    }
}

pub(super) fn bytes(value: Value) -> Result<Vec<u8>, String> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        _ => Err(ODD.to_owned()),
    }
}

pub(super) fn text(value: Value) -> Result<String, String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(ODD.to_owned()),
    }
}

/// A count or a version.
pub(super) fn count(value: &Value) -> Result<u64, String> {
    u64::try_from(int(value)?).map_err(|_| ODD.to_owned())
}

/// Exactly `N` values.
pub(super) fn exactly<const N: usize>(value: Value) -> Result<[Value; N], String> {
    list(value)?.try_into().map_err(|_| ODD.to_owned())
}
