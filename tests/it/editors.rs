//! What the editor plugins say about the server agrees with the server.

use std::collections::BTreeMap;

use lacuna_tests::{Home, workspace};
use serde_json::Value;

fn manifest() -> Value {
    let path = workspace().join("editors/vscode/package.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the extension's manifest"))
        .expect("JSON")
}

/// Numbers as JavaScript has them: `0.0` is `0`.
fn as_javascript(value: &Value) -> Value {
    match value {
        Value::Number(n) => n.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(as_javascript).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), as_javascript(value))).collect()
        }
        other => other.clone(),
    }
}

/// `lacuna config schema`.
fn schema() -> Value {
    let output = Home::new().lacuna(["config", "schema"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    serde_json::from_str(&output.stdout).expect("JSON")
}

#[test]
fn vs_code_offers_exactly_the_servers_settings() {
    let schema = schema();
    let mut expected: BTreeMap<String, Value> = BTreeMap::new();
    for (area, keys) in schema["properties"].as_object().expect("areas") {
        for (key, value) in
            keys["properties"].as_object().unwrap_or_else(|| panic!("{area} has no settings"))
        {
            let mut value = as_javascript(value);
            let reach = value.as_object_mut().and_then(|setting| setting.remove("x-workspace"));
            let reach = reach.unwrap_or_else(|| panic!("{area}.{key}: who may set it?"));
            // A folder's .vscode/settings.json is a stranger's: it reaches what changes suggestions
            // in that folder and nothing else.
            let scope = match reach.as_str() {
                Some("users-file") => continue,
                Some("sets") => "resource",
                _ => "machine",
            };
            value["scope"] = scope.into();
            expected.insert(format!("lacuna.{area}.{key}"), value);
        }
    }
    assert!(expected.len() > 10, "{expected:?}");
    let manifest = manifest();
    let offered: BTreeMap<String, Value> = manifest["contributes"]["configuration"]["properties"]
        .as_object()
        .expect("settings")
        .iter()
        .filter(|(name, _)| {
            !name.starts_with("lacuna.server.") && !name.starts_with("lacuna.trace.")
        })
        .map(|(name, value)| (name.clone(), as_javascript(value)))
        .collect();
    assert_eq!(
        offered, expected,
        "run `node scripts/settings.mjs PATH-OF-LACUNA` in editors/vscode"
    );
}

#[test]
fn a_folders_settings_reach_nothing_but_what_is_shown() {
    let manifest = manifest();
    let settings =
        manifest["contributes"]["configuration"]["properties"].as_object().expect("settings");
    for (name, setting) in settings {
        let scope = setting["scope"].as_str().unwrap_or("none: window");
        let is_harmless = name.starts_with("lacuna.show.");
        assert!(
            if is_harmless { scope == "resource" } else { scope == "machine" },
            "{name} has the scope {scope}"
        );
    }
    // Whom to trust is asked nowhere but in the user's own file.
    assert!(!settings.keys().any(|name| name.starts_with("lacuna.trust")));
}

#[test]
fn every_setting_has_a_description_a_type_and_a_default() {
    for (area, keys) in schema()["properties"].as_object().expect("areas") {
        for (key, value) in keys["properties"].as_object().expect("settings") {
            let has_type = |value: &Value| {
                value.get("type").is_some()
                    || value.get("oneOf").is_some()
                    || value.get("enum").is_some()
            };
            let typed = has_type(value)
                || value["anyOf"].as_array().is_some_and(|all| all.iter().all(has_type));
            assert!(
                value["description"].is_string() && value.get("default").is_some() && typed,
                "{area}.{key}: {value}"
            );
        }
    }
}

#[test]
fn vs_code_declares_no_proposed_api_and_an_engine_that_its_types_match() {
    let manifest = manifest();
    assert!(manifest.get("enabledApiProposals").is_none());
    assert_eq!(manifest["engines"]["vscode"], "^1.91.0");
    assert_eq!(manifest["devDependencies"]["@types/vscode"], "1.91.0");
}

#[test]
fn the_editors_know_every_reason_that_the_document_gives_them() {
    let document = std::fs::read_to_string(workspace().join("docs/protocol.md"))
        .expect("the protocol's document");
    let of_clients: Vec<&str> = document
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?.split_once("` | client |").map(|(code, _)| code)
        })
        .collect();
    assert!(of_clients.len() >= 4, "{of_clients:?}");
    for (editor, files) in [
        ("vscode", &["src/why.ts"][..]),
        ("nvim", &["lua/lacuna/command.lua", "lua/lacuna/server.lua"]),
    ] {
        let text: String = files
            .iter()
            .map(|file| {
                std::fs::read_to_string(workspace().join("editors").join(editor).join(file))
                    .expect("a source file")
            })
            .collect();
        for code in &of_clients {
            assert!(text.contains(code), "{editor} never says {code}");
        }
    }
}
