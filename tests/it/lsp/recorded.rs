//! Conversations of other servers' clients, message by message as those send them, in
//! `recorded/*.jsonl`.
//!
//! A line is one step: `request` with the `result` or `error` code that the client needs, `notify`,
//! or `expect` (a notification of the server's). In what is expected an object may have more keys
//! than the pattern and a list more elements; `"<string>"`, `"<array>"` and `"<some>"` (anything
//! but null) stand for values, and `"<name=string>"` remembers one, which `"<name>"` puts into a
//! later message.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Session;

type Remembered = BTreeMap<String, Value>;

/// Compares a value with a pattern; the error says where they differ.
fn matches(
    pattern: &Value,
    found: &Value,
    remembered: &mut Remembered,
    at: &str,
) -> Result<(), String> {
    let differs = || Err(format!("{at}: {found} instead of {pattern}"));
    match (pattern, found) {
        (Value::Object(keys), Value::Object(_)) => keys.iter().try_for_each(|(key, pattern)| {
            matches(pattern, &found[key], remembered, &format!("{at}.{key}"))
        }),
        (Value::Array(patterns), Value::Array(all))
            if all.len() >= patterns.len() && patterns.is_empty() == all.is_empty() =>
        {
            patterns
                .iter()
                .zip(all)
                .enumerate()
                .try_for_each(|(i, (p, f))| matches(p, f, remembered, &format!("{at}[{i}]")))
        }
        (Value::String(text), _) if text.starts_with('<') && text.ends_with('>') => {
            let (name, kind) =
                text[1..text.len() - 1].split_once('=').unwrap_or(("", &text[1..text.len() - 1]));
            let fits = match kind {
                "string" => found.is_string(),
                "array" => found.is_array(),
                "some" => !found.is_null(),
                kind => panic!("{at}: <{kind}> is no kind of value"),
            };
            if !fits {
                return differs();
            }
            if !name.is_empty() {
                remembered.insert(format!("<{name}>"), found.clone());
            }
            Ok(())
        }
        _ if pattern == found => Ok(()),
        _ => differs(),
    }
}

/// Puts remembered values in their places.
fn filled(message: &Value, remembered: &Remembered) -> Value {
    match message {
        Value::String(text) => remembered.get(text).cloned().unwrap_or_else(|| message.clone()),
        Value::Array(all) => all.iter().map(|one| filled(one, remembered)).collect(),
        Value::Object(keys) => {
            keys.iter().map(|(key, value)| (key.clone(), filled(value, remembered))).collect()
        }
        _ => message.clone(),
    }
}

/// Plays a conversation. Panics at the first step that goes another way. Returns the number of
/// replies that were compared.
fn play(name: &str, text: &str) -> usize {
    let mut session = Session::uninitialized();
    let mut remembered = Remembered::new();
    let mut compared = 0;
    for (number, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let step: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{at}: {e}"));
        let mut params = filled(&step["params"], &remembered);
        if let Some(method) = step["request"].as_str() {
            if method == "initialize" {
                // Short answers and no deadline; the rest is the client's own.
                for (area, settings) in super::options().as_object().into_iter().flatten() {
                    params["initializationOptions"][area] = settings.clone();
                }
            }
            let reply = session.ask(method, params);
            let compare = match step["error"].as_i64() {
                Some(code) if reply["error"]["code"] == code => Ok(()),
                Some(code) => Err(format!("{reply} instead of error {code}")),
                None if reply.get("error").is_some() => Err(format!("{reply}")),
                None => matches(&step["result"], &reply["result"], &mut remembered, "result"),
            };
            compare.unwrap_or_else(|difference| panic!("{at}: {method}: {difference}"));
            compared += 1;
        } else if let Some(method) = step["notify"].as_str() {
            session.notify(method, params);
        } else if let Some(method) = step["expect"].as_str() {
            let told = session.notifications(method, 1);
            matches(&step["params"], &told[0], &mut remembered, method)
                .unwrap_or_else(|difference| panic!("{at}: {difference}"));
        }
    }
    assert_eq!(session.finish(), Some(0), "{name}");
    compared
}

macro_rules! conversation {
    ($test:ident, $file:literal, $replies:literal) => {
        #[test]
        fn $test() {
            assert_eq!(
                play($file, include_str!(concat!("recorded/", $file))),
                $replies,
                "replies that were compared"
            );
        }
    };
}

conversation!(copilot_lua, "copilot-lua.jsonl", 16);
conversation!(copilots_current_client, "copilot.jsonl", 7);
conversation!(llm_ls, "llm-ls.jsonl", 7);
conversation!(tabby_agent, "tabby-agent.jsonl", 8);

#[test]
fn a_pattern_finds_what_differs() {
    let found: Value = serde_json::from_str(r#"{"a": [1, {"b": "x"}], "c": null}"#).unwrap();
    let mut remembered = Remembered::new();
    for (pattern, fits) in [
        (r#"{"a": [1, {"b": "<name=string>"}]}"#, true),
        (r#"{"a": [1]}"#, true),
        (r#"{"a": []}"#, false),
        (r#"{"a": [2]}"#, false),
        (r#"{"a": "<array>", "c": null}"#, true),
        (r#"{"c": "<some>"}"#, false),
        (r#"{"d": "<string>"}"#, false),
        (r#"{"a": "<string>"}"#, false),
    ] {
        let pattern = serde_json::from_str(pattern).unwrap();
        assert_eq!(matches(&pattern, &found, &mut remembered, "").is_ok(), fits, "{pattern}");
    }
    assert_eq!(
        filled(&serde_json::json!({"id": ["<name>", "<other>"]}), &remembered),
        serde_json::json!({"id": ["x", "<other>"]})
    );
}
