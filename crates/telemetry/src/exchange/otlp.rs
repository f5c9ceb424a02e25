//! Rows as the body of an OTLP/HTTP request for logs, in the JSON encoding of the OpenTelemetry
//! protocol 1.x.

use serde_json::{Value, json};

use super::write::to_object;
use crate::event::{Event, Int, Names, Text};

/// The body of `POST …/v1/logs` for some rows of one installation: one log record a row, its
/// columns as attributes.
pub fn otlp_logs(events: &[Event], names: &Names) -> Value {
    let installation = events.first().map_or("", |e| names.text(e.installation));
    let records: Vec<Value> = events.iter().map(|event| record(event, names)).collect();
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            attribute("service.name", &json!("lacuna")),
            attribute("service.version", &json!(env!("CARGO_PKG_VERSION"))),
            attribute("service.instance.id", &json!(installation)),
        ]},
        "scopeLogs": [{"scope": {"name": "lacuna.telemetry"}, "logRecords": records}],
    }]})
}

fn record(event: &Event, names: &Names) -> Value {
    let kind = names.text(event.text(Text::Kind));
    // 64-bit integers are strings in protobuf's JSON.
    let nanos = i128::from(event.int(Int::At).unwrap_or(0)) * 1_000_000;
    let object = to_object(event, names);
    let attributes: Vec<Value> = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| attribute(&format!("lacuna.{key}"), value))
        .collect();
    json!({
        "timeUnixNano": nanos.max(0).to_string(),
        "severityNumber": 9,
        "severityText": "INFO",
        "eventName": format!("lacuna.{kind}"),
        "body": {"stringValue": kind},
        "attributes": attributes,
    })
}

fn attribute(key: &str, value: &Value) -> Value {
    match value {
        Value::Number(n) => json!({"key": key, "value": {"intValue": n.to_string()}}),
        other => json!({"key": key, "value": {"stringValue": other.as_str().unwrap_or("")}}),
    }
}
