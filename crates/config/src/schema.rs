//! The settings as the schema of [`Config`](super::Config) describes them: names, meanings,
//! defaults, and which values each takes.
//!
//! The schema is the one place where types and ranges stand; files, editors' settings, experiments,
//! `docs/settings.md` and VS Code's settings are all checked against it or made from it.

use std::fmt;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::names::nearest;
use super::settings::Config;
use super::trust;

/// One setting, `area.key`.
pub struct Setting {
    pub name: String,
    /// The doc comment of its field.
    pub meaning: String,
    pub default: Value,
    /// Any of these will do.
    kinds: Vec<Kind>,
}

/// A kind of value.
enum Kind {
    Bool,
    Whole {
        least: i64,
        most: i64,
    },
    Number {
        least: f64,
        most: f64,
    },
    Text,
    OneOf(Vec<String>),
    Texts,
    /// A table with one of these tables for each name.
    Tables {
        keys: Vec<String>,
    },
    /// The setting may be left open.
    Unset,
}

/// The JSON schema, without references: editors copy the properties of an area one by one.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    say_reach(&mut schema);
    schema
}

/// Adds to every setting what the `lacuna.toml` of a folder that is not trusted may do with it.
fn say_reach(schema: &mut Value) {
    let areas = schema["properties"].as_object_mut().into_iter().flatten();
    for (area, properties) in areas {
        for (key, setting) in properties["properties"].as_object_mut().into_iter().flatten() {
            setting["x-workspace"] = trust::reach(&format!("{area}.{key}")).name().into();
        }
    }
}

/// All settings but experiments, sorted by name.
pub fn settings() -> &'static [Setting] {
    static SETTINGS: OnceLock<Vec<Setting>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let schema = schema();
        let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
        let mut settings = Vec::new();
        for (area, properties) in objects(&schema["properties"]) {
            for (key, property) in objects(&properties["properties"]) {
                settings.push(Setting {
                    name: format!("{area}.{key}"),
                    meaning: property["description"]
                        .as_str()
                        .unwrap_or_default()
                        .replace('\n', " "),
                    default: defaults[area][key].clone(),
                    kinds: kinds(property),
                });
            }
        }
        settings
    })
}

/// What an area holds in one sentence, where it says so.
pub fn areas() -> Vec<(String, String)> {
    let schema = schema();
    let areas = objects(&schema["properties"]);
    areas
        .map(|(area, properties)| {
            (
                area.clone(),
                properties["description"].as_str().unwrap_or_default().replace('\n', " "),
            )
        })
        .collect()
}

pub fn setting(name: &str) -> Option<&'static Setting> {
    settings().iter().find(|s| s.name == name)
}

fn objects(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The kinds that a property takes; none where the schema says something that is not understood
/// here.
fn kinds(property: &Value) -> Vec<Kind> {
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(list) = property[alternatives].as_array() {
            return join(list.iter().flat_map(kinds).collect());
        }
    }
    if let Some(word) = property["const"].as_str() {
        return vec![Kind::OneOf(vec![word.to_owned()])];
    }
    if let Some(words) = property["enum"].as_array() {
        return vec![Kind::OneOf(
            words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        )];
    }
    let types = match &property["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    types
        .into_iter()
        .filter_map(|name| match name {
            "boolean" => Some(Kind::Bool),
            "integer" => Some(Kind::Whole {
                least: property["minimum"].as_i64().unwrap_or(i64::MIN),
                most: property["maximum"].as_i64().unwrap_or(i64::MAX),
            }),
            "number" => Some(Kind::Number {
                least: property["minimum"].as_f64().unwrap_or(f64::MIN),
                most: property["maximum"].as_f64().unwrap_or(f64::MAX),
            }),
            "string" => Some(Kind::Text),
            "object" => Some(Kind::Tables {
                keys: objects(&property["additionalProperties"]["properties"])
                    .map(|(key, _)| key.clone())
                    .collect(),
            }),
            "array" if property["items"]["type"] == "string" => Some(Kind::Texts),
            "null" => Some(Kind::Unset),
            _ => None,
        })
        .collect()
}

/// Several words are one choice.
fn join(kinds: Vec<Kind>) -> Vec<Kind> {
    let (mut words, mut rest) = (Vec::new(), Vec::new());
    for kind in kinds {
        match kind {
            Kind::OneOf(more) => words.extend(more),
            other => rest.push(other),
        }
    }
    if !words.is_empty() {
        rest.insert(0, Kind::OneOf(words));
    }
    rest
}

impl Setting {
    /// What is wrong with a value, in words that follow `area.key = value`; `Ok` as well where the
    /// schema does not tell.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.takes(value)) {
            return Ok(());
        }
        // A value of the right kind that is too large or small is told its range, a near word is
        // told which.
        if let [range] =
            self.kinds.iter().filter(|kind| kind.is_like(value)).collect::<Vec<_>>()[..]
        {
            return Err(match (range, value.as_str()) {
                (Kind::OneOf(words), Some(word)) => {
                    let hint = nearest(word, words)
                        .map(|near| format!(": did you mean {near:?}?"))
                        .unwrap_or_default();
                    format!("is not one of its values{hint} It takes {}", words.join(", "))
                }
                _ => format!("is out of range: use {}", range.range()),
            });
        }
        Err(format!("is of the wrong kind: {} is wanted", self.wanted()))
    }

    /// What it takes, in words.
    pub fn wanted(&self) -> String {
        let wanted: Vec<String> = self
            .kinds
            .iter()
            .filter(|kind| !matches!(kind, Kind::Unset))
            .map(Kind::to_string)
            .collect();
        wanted.join(", or ")
    }
}

impl Kind {
    fn takes(&self, value: &Value) -> bool {
        match self {
            Kind::Bool => value.is_boolean(),
            Kind::Whole { least, most } => {
                value.as_i64().is_some_and(|n| (*least..=*most).contains(&n))
            }
            Kind::Number { least, most } => {
                value.as_f64().is_some_and(|x| (*least..=*most).contains(&x))
            }
            Kind::Text => value.is_string(),
            Kind::OneOf(words) => {
                value.as_str().is_some_and(|word| words.iter().any(|w| w == word))
            }
            Kind::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            // What stands in them is looked at when they are read.
            Kind::Tables { .. } => {
                value.as_object().is_some_and(|tables| tables.values().all(Value::is_object))
            }
            Kind::Unset => value.is_null(),
        }
    }

    /// Whether a value is of this kind but for its size or spelling.
    fn is_like(&self, value: &Value) -> bool {
        match self {
            Kind::Whole { .. } => value.is_i64() || value.is_u64(),
            // Not a number at all (`nan`) is written as null in JSON.
            Kind::Number { .. } => value.is_number() || value.is_null(),
            Kind::OneOf(_) => value.is_string(),
            _ => false,
        }
    }

    fn range(&self) -> String {
        let bounds = |least: Option<String>, most: Option<String>| match (least, most) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, Some(most)) => format!("{most} or less"),
            (None, None) => "any".to_owned(),
        };
        match self {
            Kind::Whole { least, most } => bounds(
                (*least != i64::MIN).then(|| least.to_string()),
                (*most != i64::MAX).then(|| most.to_string()),
            ),
            Kind::Number { least, most } => bounds(
                (*least != f64::MIN).then(|| least.to_string()),
                (*most != f64::MAX).then(|| most.to_string()),
            ),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = match self.range() {
            range if range.is_empty() || range == "any" => String::new(),
            range => format!(" ({range})"),
        };
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Whole { .. } => write!(f, "a whole number{range}"),
            Kind::Number { .. } => write!(f, "a number{range}"),
            Kind::Text => f.write_str("text in quotes"),
            Kind::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                write!(f, "{}", words.join(" or "))
            }
            Kind::Texts => f.write_str("a list of texts"),
            Kind::Tables { keys } => write!(f, "a table for each name, with {}", keys.join(", ")),
            Kind::Unset => f.write_str("nothing"),
        }
    }
}

/// A value as `lacuna.toml` has it: `0.15`, `"auto"`, `[".env"]`; nothing for what is unset.
pub fn as_written(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => format!("{{ {} }}", written_pairs(map)),
        other => other.to_string(),
    }
}

fn written_pairs(map: &Map<String, Value>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key} = {}", as_written(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_default_is_a_value_that_its_setting_takes() {
        assert!(settings().len() > 20);
        for setting in settings() {
            assert_eq!(setting.check(&setting.default), Ok(()), "{}", setting.name);
            assert!(
                !setting.meaning.is_empty() && !setting.wanted().is_empty(),
                "{} has no description",
                setting.name
            );
        }
    }

    #[test]
    fn values_of_other_kinds_are_refused_in_words() {
        let told = |name: &str, value: Value| setting(name).unwrap().check(&value).unwrap_err();
        assert_eq!(
            told("show.min_confidence", json!("high")),
            "is of the wrong kind: a number (0 to 1) is wanted"
        );
        assert_eq!(told("show.min_confidence", json!(2)), "is out of range: use 0 to 1");
        assert_eq!(told("show.line_tokens", json!(0)), "is out of range: use 1 to 1024");
        assert_eq!(
            told("show.line_tokens", json!(1.5)),
            "is of the wrong kind: a whole number (1 to 1024) is wanted"
        );
        assert_eq!(told("latency.deadline_ms", json!(-1)), "is out of range: use 0 or more");
        assert_eq!(
            told("telemetry.enabled", json!("yes")),
            "is of the wrong kind: true or false is wanted"
        );
        assert_eq!(told("model.beam", json!(17)), "is out of range: use 1 to 16");
        assert_eq!(told("show.lines", json!(0)), "is out of range: use 1 to 64");
        assert_eq!(
            told("show.lines", json!("autp")),
            "is not one of its values: did you mean \"auto\"? It takes auto"
        );
        assert_eq!(
            told("show.lines", json!(true)),
            "is of the wrong kind: \"auto\", or a whole number (1 to 64) is wanted"
        );
        assert_eq!(
            told("show.eagerness", json!("hihg")),
            "is not one of its values: did you mean \"high\"? It takes low, normal, high"
        );
        assert_eq!(
            told("show.in_comments", json!("explicitly")),
            "is not one of its values: did you mean \"explicit\"? It takes explicit"
        );
        assert_eq!(
            told("show.in_comments", json!(1)),
            "is of the wrong kind: \"explicit\", or true or false is wanted"
        );
        assert_eq!(
            told("show.language", json!({"python": "low"})),
            "is of the wrong kind: a table for each name, with eagerness is wanted"
        );
        assert_eq!(told("show.delay_ms", json!(10_001)), "is out of range: use 0 to 10000");
        assert!(
            ["auto".into(), json!(1), json!(64)]
                .iter()
                .all(|lines| setting("show.lines").unwrap().check(lines).is_ok())
        );
        assert_eq!(
            told("context.ignore", json!([1])),
            "is of the wrong kind: a list of texts is wanted"
        );
        assert_eq!(
            told("kv.dtype", json!("int4")),
            "is not one of its values: did you mean \"int8\"? It takes auto, f32, f16, int8"
        );
        assert_eq!(setting("model.heal").unwrap().check(&Value::Null), Ok(()));
    }
}
