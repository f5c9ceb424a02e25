//! Server-sent events, as completion servers stream them: lines `data: {json}`, ended by `data:
//! [DONE]` or the end.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// A stream longer than this is no completion.
const MAX_STREAM_BYTES: u64 = 16 << 20;

/// Calls `each` with every event. Errors: reading failed, or an event is not JSON.
pub fn events(reader: impl Read, mut each: impl FnMut(Value)) -> Result<(), String> {
    for line in BufReader::new(reader.take(MAX_STREAM_BYTES)).split(b'\n') {
        let line = line.map_err(|e| format!("the answer broke off: {e}"))?;
        let Some(data) = line.strip_prefix(b"data:") else { continue };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            break;
        }
        each(serde_json::from_slice(data).map_err(|e| format!("an event is not JSON: {e}"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        events(stream.as_bytes(), |event| all.push(event))?;
        Ok(all)
    }

    #[test]
    fn events_until_done() {
        let stream = ": comment\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:{\"b\":2}\n\ndata: [DONE]\n\ndata: {\"c\":3}\n";
        assert_eq!(
            read(stream),
            Ok(vec![serde_json::json!({"a": 1}), serde_json::json!({"b": 2})])
        );
        assert_eq!(read(""), Ok(vec![]));
        assert!(read("data: {\n").is_err());
    }
}
