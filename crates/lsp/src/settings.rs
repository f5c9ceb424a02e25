//! A client's settings while it is served: what it said at `initialize`, what it has said since,
//! and what has to wait for another start.
//!
//! Owns no setting: [`lacuna_config::resolve`] reads them, [`super::server`] puts them in force.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use lacuna_config::{Near, Origin, Problem, Resolved};

/// Settings, or areas of settings, that are read once, when the server starts.
const READ_ONCE: [&str; 5] =
    ["model.path", "http.", "telemetry.dir", "telemetry.retention_days", "trust."];

pub struct Settings {
    /// The workspace's folder.
    root: Option<PathBuf>,
    model_flag: Option<String>,
    /// What `initialize` brought.
    first: Value,
    /// What the client has said since, which goes before it.
    since: Value,
    /// All as they were told last, by name.
    values: BTreeMap<String, Value>,
}

/// Names of the settings that have changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changed {
    pub now: Vec<String>,
    /// In force when the server is started again.
    pub later: Vec<String>,
}

impl Settings {
    pub fn new(
        root: Option<PathBuf>,
        model_flag: Option<String>,
        first: Option<Value>,
    ) -> Settings {
        Settings {
            root,
            model_flag,
            first: first.unwrap_or_else(|| Value::Object(Map::new())),
            since: Value::Null,
            values: BTreeMap::new(),
        }
    }

    /// All layers as they are now, files included.
    pub fn resolve(&self) -> anyhow::Result<Resolved> {
        self.resolve_with(&self.since)
    }

    /// As [`Settings::resolve`], if the client had said this since.
    pub fn resolve_with(&self, since: &Value) -> anyhow::Result<Resolved> {
        let here = std::env::current_dir().unwrap_or_default();
        let near = self.root.as_deref().map_or(Near::Inside(&here), Near::Root);
        let mut sent = self.first.clone();
        lay_over(&mut sent, since);
        let mut resolved = lacuna_config::resolve(near, Some(&sent), self.model_flag.as_deref())?;
        // Loaded before the first message, and shared by all clients.
        if resolved.origins["model.path"].1 == Origin::Editor {
            resolved.problems.push(Problem {
                origin: Origin::Editor,
                line: None,
                key: "model.path".to_owned(),
                message: "model.path is read before an editor is heard: start with --model, or set it in the user's file".to_owned(),
                is_doubt: false,
            });
        }
        Ok(resolved)
    }

    /// What the client has said since.
    pub fn since(&self) -> &Value {
        &self.since
    }

    /// Takes what was resolved as what is known; what is different from before. `is_recorded`:
    /// something watches what becomes of suggestions, or could again.
    pub fn take(&mut self, since: Value, resolved: &Resolved, is_recorded: bool) -> Changed {
        let values: BTreeMap<String, Value> = resolved
            .origins
            .iter()
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect();
        let changed = values
            .iter()
            .filter(|(name, value)| self.values.get(*name) != Some(*value))
            .map(|(name, _)| name.clone());
        let waits = |name: &String| {
            READ_ONCE.iter().any(|once| name.starts_with(once))
                || name == "telemetry.enabled" && resolved.config.telemetry.enabled && !is_recorded
        };
        let (later, now) = changed.partition(waits);
        (self.since, self.values) = (since, values);
        Changed { now, later }
    }
}

impl Changed {
    /// For the client's log; `None`: nothing has changed.
    pub fn told(&self) -> Option<String> {
        let part = |names: &[String], what: &str| {
            (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
        };
        let parts = [
            part(&self.now, "now in force"),
            part(&self.later, "in force when the server is started again"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("settings {}", parts.join("; ")))
    }
}

/// What is ours of the settings that a client pushes, if anything is: under `lacuna`, or at the top
/// if there is nothing else. Editors push everybody's.
pub fn ours(sent: &Value) -> Option<Value> {
    let full = |value: &Value| value.as_object().is_some_and(|keys| !keys.is_empty());
    if let Some(ours) = sent.get("lacuna") {
        return full(ours).then(|| ours.clone());
    }
    let known = |(area, keys): (&String, &Value)| {
        keys.as_object().is_some_and(|keys| {
            keys.keys()
                .all(|key| lacuna_config::schema::setting(&format!("{area}.{key}")).is_some())
        })
    };
    (full(sent) && sent.as_object().into_iter().flatten().all(known)).then(|| sent.clone())
}

/// Puts `over` over `into`, key by key; `null` says nothing.
fn lay_over(into: &mut Value, over: &Value) {
    match (into, over) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(over)) => {
            for (key, value) in over.iter().filter(|(_, value)| !value.is_null()) {
                let nothing =
                    if value.is_object() { Value::Object(Map::new()) } else { Value::Null };
                lay_over(into.entry(key.clone()).or_insert(nothing), value);
            }
        }
        (into, over) => *into = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_everybodys_is_not_ours() {
        for (sent, expected) in [
            (
                json!({"lacuna": {"show": {"line_tokens": 2}}, "python": {}}),
                Some(json!({"show": {"line_tokens": 2}})),
            ),
            (json!({"lacuna": {"shwo": 1}}), Some(json!({"shwo": 1}))),
            (json!({"show": {"line_tokens": 2}}), Some(json!({"show": {"line_tokens": 2}}))),
            (json!({"http": {"proxy": "x"}, "python": {"a": 1}}), None),
            (json!({"http": {"proxy": "x"}}), None),
            (json!({"lacuna": {}}), None),
            (json!({"lacuna": null}), None),
            (json!({}), None),
            (json!(null), None),
            (json!(7), None),
        ] {
            assert_eq!(ours(&sent), expected, "{sent}");
        }
    }

    #[test]
    fn what_changes_is_told_and_what_has_to_wait() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(
            Some(folder.path().to_owned()),
            None,
            Some(json!({"show": {"line_tokens": 5}})),
        );
        let mut set = |since: Value, is_recorded: bool| {
            let resolved = settings.resolve_with(&since).unwrap();
            (settings.take(since, &resolved, is_recorded), resolved.config.show.line_tokens)
        };
        set(Value::Null, true);
        assert_eq!(set(Value::Null, true).0, Changed::default());
        let (changed, tokens) = set(
            json!({"show": {"line_tokens": 2}, "telemetry": {"dir": "elsewhere", "enabled": false}}),
            true,
        );
        assert_eq!(changed.now, ["show.line_tokens", "telemetry.enabled"]);
        assert_eq!(changed.later, ["telemetry.dir"]);
        assert_eq!(tokens, 2);
        assert_eq!(
            changed.told().unwrap(),
            "settings now in force: show.line_tokens, telemetry.enabled; in force when the server is started again: telemetry.dir"
        );
        // What is not said any more is as it was at the start.
        let (changed, tokens) = set(json!({"show": {}}), false);
        assert_eq!(changed.later, ["telemetry.dir", "telemetry.enabled"]);
        assert_eq!((changed.now, tokens), (vec!["show.line_tokens".to_owned()], 5));
    }
}
