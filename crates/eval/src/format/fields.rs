//! Taking fields out of a row whose shape is not ours: an error names the field and what stands
//! there.

use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value};

use crate::example::Fault;

pub(super) type Row = Map<String, Value>;

/// A text that must be there.
pub(super) fn text(row: &mut Row, field: &'static str) -> Result<String, Fault> {
    optional_text(row, field)?.ok_or_else(|| Fault::Json(serde_json::Error::missing_field(field)))
}

/// A text that may be absent or null.
pub(super) fn optional_text(row: &mut Row, field: &'static str) -> Result<Option<String>, Fault> {
    match row.remove(field) {
        Some(Value::String(text)) => Ok(Some(text)),
        None | Some(Value::Null) => Ok(None),
        Some(other) => Err(wrong(field, "text", &other)),
    }
}

/// A number from 0 on that may be absent or null.
pub(super) fn optional_count(row: &mut Row, field: &'static str) -> Result<Option<u32>, Fault> {
    match row.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(wrong(field, "a whole number from 0 on", &value)),
        },
    }
}

/// True or false; false when it is absent or null.
pub(super) fn flag(row: &mut Row, field: &'static str) -> Result<bool, Fault> {
    match row.remove(field) {
        Some(Value::Bool(value)) => Ok(value),
        None | Some(Value::Null) => Ok(false),
        Some(other) => Err(wrong(field, "true or false", &other)),
    }
}

/// A nested value that may be absent or null.
pub(super) fn optional<T: DeserializeOwned>(
    row: &mut Row,
    field: &'static str,
) -> Result<Option<T>, Fault> {
    match row.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|e| Fault::Json(serde_json::Error::custom(format_args!("`{field}`: {e}")))),
    }
}

fn wrong(field: &str, expected: &str, value: &Value) -> Fault {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Fault::Json(serde_json::Error::custom(format_args!("`{field}` is {kind}, not {expected}")))
}
