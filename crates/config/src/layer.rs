//! What one layer of the configuration states, and what is wrong with it.
//!
//! Owns: places of mistakes and the words for them. A key that cannot be understood is left out and
//! named, the others hold: a typo is no reason to be without completions. Does not own: which layer
//! wins ([`super::resolve()`]).

use std::fmt;
use std::path::{Path, PathBuf};

use lacuna_telemetry::experiment::Definition;
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::names::{doubtful_language, nearest};
use super::schema::{self, setting, settings};
use super::settings::{Config, TRAINED};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Editor,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Editor => f.write_str("editor"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// Something in the configuration that does not do what it was written for.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub origin: Origin,
    /// From 1, in a file.
    pub line: Option<usize>,
    /// `area.key`, `experiment.NAME`, or the start of either; nothing where a file as a whole is
    /// meant.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
    /// It holds all the same, but is hardly what was meant.
    pub is_doubt: bool,
}

impl Problem {
    /// With what follows from it.
    pub fn told(&self) -> String {
        let consequence = if self.is_doubt { "" } else { " (ignored)" };
        format!("{self}{consequence}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.line) {
            (Origin::File(path), Some(line)) => {
                write!(f, "{}:{line}: {}", path.display(), self.message)
            }
            (Origin::Editor, _) => write!(f, "editor settings: {}", self.message),
            (origin, _) => write!(f, "{origin}: {}", self.message),
        }
    }
}

/// A layer as it is written: `{area: {key: value}}`, without what cannot be used.
pub struct Layer {
    pub values: Value,
    pub problems: Vec<Problem>,
    /// A part could not be read, so that nobody knows what it forbids.
    pub is_unclear: bool,
}

/// Reads the text of a configuration file.
pub fn of_text(path: &Path, text: &str) -> Layer {
    // Editors on some systems begin a file with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        origin: Origin::File(path.to_owned()),
        text,
        values: Map::new(),
        problems: Vec::new(),
    };
    let mut kept = text.to_owned();
    let broken = without_broken_lines(&mut kept);
    for (at, message) in &broken {
        reader.problem(Some(*at), "", format!("this is not TOML: {}", clipped(message)));
    }
    if let Ok(table) = DeTable::parse(&kept) {
        for (area, value) in table.get_ref() {
            reader.area(area, value);
        }
    }
    reader.problems.sort_by_key(|problem| problem.line);
    let is_unclear =
        !broken.is_empty() || reader.problems.iter().any(|p| p.key.starts_with("telemetry"));
    Layer { values: Value::Object(reader.values), problems: reader.problems, is_unclear }
}

/// Blanks every line at which TOML ends, so that places stay; gives the places and what was wrong
/// there. What cannot be mended line by line is blanked as a whole.
fn without_broken_lines(text: &mut String) -> Vec<(usize, String)> {
    const MOST: usize = 20;
    let mut broken = Vec::new();
    loop {
        let error = match DeTable::parse(text) {
            Ok(_) => return broken,
            Err(error) => error,
        };
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        broken.push((at, error.message().to_owned()));
        let start = text.as_bytes()[..at].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let end =
            text.as_bytes()[at..].iter().position(|b| *b == b'\n').map_or(text.len(), |i| at + i);
        let is_blank = text.as_bytes()[start..end].iter().all(|b| *b == b' ');
        let (start, end) =
            if is_blank || broken.len() == MOST { (0, text.len()) } else { (start, end) };
        // Bytes for bytes: whatever stood there, lines and places after it are where they were.
        let blank: String = text.as_bytes()[start..end]
            .iter()
            .map(|b| if *b == b'\n' { '\n' } else { ' ' })
            .collect();
        text.replace_range(start..end, &blank);
    }
}

/// A file that cannot be read at all.
pub fn of_unreadable(path: PathBuf, why: String) -> Layer {
    let problem = Problem {
        origin: Origin::File(path),
        line: None,
        key: String::new(),
        message: why,
        is_doubt: false,
    };
    Layer { values: Value::Object(Map::new()), problems: vec![problem], is_unclear: true }
}

/// Reads what an editor sent.
pub fn of_editor(sent: &Value) -> Layer {
    let mut reader =
        Reader { origin: Origin::Editor, text: "", values: Map::new(), problems: Vec::new() };
    if !sent.is_object() && !sent.is_null() {
        reader.problem(
            None,
            "",
            format!("an object of settings is wanted, not {}", clipped(&sent.to_string())),
        );
    }
    for (area, keys) in sent.as_object().into_iter().flatten() {
        match keys.as_object() {
            // An editor's settings may come from a folder's file: whose word counts is not for it
            // to say.
            Some(_) if area == "trust" => {
                reader.problem(None, area, "trust is read from your own file only".to_owned())
            }
            Some(keys) if is_area(area) => {
                for (key, value) in keys {
                    reader.key(area, key, None, value.clone(), &value.to_string());
                }
            }
            _ => reader.unknown_area(area, None, keys.is_object()),
        }
    }
    let is_unclear = reader.problems.iter().any(|p| p.key.starts_with("telemetry"));
    Layer { values: Value::Object(reader.values), problems: reader.problems, is_unclear }
}

struct Reader<'a> {
    origin: Origin,
    text: &'a str,
    values: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, at: Option<usize>, key: &str, message: String) {
        let line = at.map(|at| line_of(self.text, at));
        self.problems.push(Problem {
            origin: self.origin.clone(),
            line,
            key: key.to_owned(),
            message,
            is_doubt: false,
        });
    }

    /// One `[area]` of a file.
    fn area(&mut self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let area = name.get_ref().as_ref();
        let at = name.span().start;
        let Some(table) = value.get_ref().as_table() else {
            return self.unknown_area(area, Some(at), false);
        };
        if area == "experiment" {
            return table.iter().for_each(|(name, value)| self.experiment(name, value));
        }
        if !is_area(area) {
            return self.unknown_area(area, Some(at), true);
        }
        for (key, value) in table {
            let shown = self.text.get(value.span()).unwrap_or_default().to_owned();
            match Value::deserialize(ValueDeserializer::from(value.clone())) {
                // `nan` and `inf`: JSON has no such numbers and says null, which would unset the
                // setting.
                Ok(Value::Null) => self.key(
                    area,
                    key.get_ref(),
                    Some(key.span().start),
                    Value::from(f64::MAX),
                    &shown,
                ),
                Ok(json) => self.key(area, key.get_ref(), Some(key.span().start), json, &shown),
                Err(error) => {
                    let name = format!("{area}.{}", key.get_ref());
                    self.problem(
                        Some(key.span().start),
                        &name,
                        format!("{name} = {}: {}", clipped(&shown), error.message()),
                    );
                }
            }
        }
    }

    fn unknown_area(&mut self, area: &str, at: Option<usize>, is_table: bool) {
        let known: Vec<String> = schema::areas()
            .into_iter()
            .map(|(area, _)| area)
            .chain(["experiment".to_owned()])
            .collect();
        let message = if known.iter().any(|name| name == area) {
            format!("{area} is a group of settings: give its keys, for example {}", example(area))
        } else if let Some(home) = settings().iter().find(|s| s.name.ends_with(&format!(".{area}")))
        {
            format!("{area} stands in no group: did you mean {}?", home.name)
        } else {
            let shown = if is_table { format!("[{}]", clipped(area)) } else { clipped(area) };
            match nearest(area, &known) {
                Some(near) => format!("{shown} is not a group of settings: did you mean [{near}]?"),
                None => {
                    format!("{shown} is not a group of settings: there are {}", known.join(", "))
                }
            }
        };
        self.problem(at, area, message);
    }

    /// Takes over one setting, or names what is wrong with it. `shown` is the value as it is
    /// written.
    fn key(&mut self, area: &str, key: &str, at: Option<usize>, value: Value, shown: &str) {
        let name = format!("{area}.{key}");
        if let Err(message) = known(&name) {
            return self.problem(at, &name, message);
        }
        if let Err(wrong) = check(&name, &value) {
            return self.problem(at, &name, format!("{name} = {} {wrong}", clipped(shown)));
        }
        if name.ends_with("languages") || name == "show.language" {
            for message in listed(&name, &value).filter_map(doubtful_language) {
                self.problem(at, &name, format!("{name}: {message}"));
                self.problems.last_mut().into_iter().for_each(|p| p.is_doubt = true);
            }
        }
        let area = self.values.entry(area.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        area[key] = value;
    }

    /// One `[experiment.NAME]` of a file: it runs as a whole or not at all.
    fn experiment(&mut self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let key = format!("experiment.{}", name.get_ref());
        let at = name.span().start;
        let definition = match Definition::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(definition) => definition,
            Err(error) => {
                let at = error.span().map_or(at, |span| span.start);
                return self.problem(
                    Some(at),
                    &key,
                    format!("{key}: {}", error.message().replace('\n', " ")),
                );
            }
        };
        if let Err(error) = definition.check(name.get_ref()) {
            return self.problem(Some(at), &key, error.to_string());
        }
        for (variant, v) in &definition.variant {
            for (setting, value) in &v.settings {
                if let Err(wrong) = varied(setting, value) {
                    let at = place(self.text, at, setting);
                    let message =
                        format!("experiment {}: variant {variant}: {wrong}", name.get_ref());
                    return self.problem(Some(at), &key, message);
                }
            }
        }
        let json = serde_json::to_value(&definition).unwrap_or_default();
        let experiments =
            self.values.entry("experiment").or_insert_with(|| Value::Object(Map::new()));
        experiments[name.get_ref().as_ref()] = json;
    }
}

/// Settings that belong to a client, not to a model that completes: an experiment's arms do not
/// reach them.
const MANNERS: [&str; 6] = [
    "show.eagerness",
    "show.language",
    "show.delay_ms",
    "show.in_comments",
    "show.in_doc_comments",
    "show.in_strings",
];

/// Whether an experiment may lay this over the configuration.
pub fn varied(name: &str, value: &Value) -> Result<(), String> {
    if ["telemetry.", "experiment.", "trust."].iter().any(|area| name.starts_with(area))
        || MANNERS.contains(&name)
    {
        return Err(format!("{name} is not a setting that can be varied"));
    }
    known(name)?;
    check(name, value).map_err(|wrong| format!("{name} = {} {wrong}", clipped(&value.to_string())))
}

/// Whether there is such a setting; if not, which may have been meant.
fn known(name: &str) -> Result<(), String> {
    if setting(name).is_some() {
        return Ok(());
    }
    let (_, key) = name.split_once('.').unwrap_or(("", name));
    let names = || settings().iter().map(|s| s.name.as_str());
    // The right key in the wrong group is nearer than any slip.
    let meant = names()
        .find(|n| n.split_once('.').is_some_and(|(_, k)| k == key))
        .or_else(|| nearest(name, names()))
        .or_else(|| {
            let keys: Vec<&str> =
                names().filter_map(|n| n.split_once('.')).map(|(_, key)| key).collect();
            let near = nearest(key, keys.iter().copied())?;
            names().find(|n| n.split_once('.').is_some_and(|(_, k)| k == near))
        });
    Err(match meant {
        Some(meant) => format!("{} is not a setting: did you mean {meant}?", clipped(name)),
        None => format!(
            "{} is not a setting: docs/settings.md and `lacuna doctor` list them",
            clipped(name)
        ),
    })
}

/// What is wrong with the value of a known setting.
fn check(name: &str, value: &Value) -> Result<(), String> {
    setting(name).map_or(Ok(()), |s| s.check(value))?;
    let (area, key) = name.split_once('.').unwrap_or((name, ""));
    let alone = serde_json::json!({area: {key: value}});
    let config: Config =
        serde_json::from_value(alone).map_err(|e| format!("cannot be used: {e}"))?;
    config.check_globs().map_err(|e| format!("cannot be used: {e}"))
}

fn is_area(name: &str) -> bool {
    settings().iter().any(|s| s.name.split_once('.').is_some_and(|(area, _)| area == name))
}

fn example(area: &str) -> String {
    let first = settings().iter().find(|s| s.name.starts_with(&format!("{area}.")));
    first.map_or_else(
        || format!("[{area}.NAME]"),
        |s| format!("{} = {}", s.name, schema::as_written(&s.default)),
    )
}

/// Where a key of an experiment is written: the first place behind its head.
fn place(text: &str, head: usize, key: &str) -> usize {
    text.get(head..).and_then(|rest| rest.find(key)).map_or(head, |at| head + at)
}

/// The line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|&&b| b == b'\n').count()
}

/// The start of what somebody wrote, on one line: it may be a megabyte.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 60;
    let line: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() { format!("{line}…") } else { line }
}

/// The languages that a list names.
fn listed<'a>(name: &'a str, value: &'a Value) -> impl Iterator<Item = &'a str> {
    let is_id = move |id: &&str| name != "show.languages" || *id != TRAINED;
    let listed = value.as_array().into_iter().flatten().filter_map(Value::as_str).filter(is_id);
    listed.chain(value.as_object().into_iter().flatten().map(|(id, _)| id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        of_text(Path::new("lacuna.toml"), text).problems.iter().map(ToString::to_string).collect()
    }

    /// One mistake each, with the line, the key and what to do.
    #[test]
    fn mistakes_are_told_with_line_key_and_hint() {
        for (text, expected) in [
            (
                "\n[show]\nline_token = 7\n",
                "lacuna.toml:3: show.line_token is not a setting: did you mean show.line_tokens?",
            ),
            (
                "[show]\nlineTokens = 7\n",
                "lacuna.toml:2: show.lineTokens is not a setting: did you mean show.line_tokens?",
            ),
            (
                "[show]\n\ndeadline_ms = 7\n",
                "lacuna.toml:3: show.deadline_ms is not a setting: did you mean latency.deadline_ms?",
            ),
            (
                "show.colour = 7\n",
                "lacuna.toml:1: show.colour is not a setting: docs/settings.md and `lacuna doctor` list them",
            ),
            (
                "[shwo]\nline_tokens = 7\n",
                "lacuna.toml:1: [shwo] is not a group of settings: did you mean [show]?",
            ),
            (
                "line_tokens = 7\n",
                "lacuna.toml:1: line_tokens stands in no group: did you mean show.line_tokens?",
            ),
            (
                "\nshow = 7\n",
                "lacuna.toml:2: show is a group of settings: give its keys, for example show.block_tokens = 160",
            ),
            (
                "[show]\nmin_confidence = \"high\"\n",
                "lacuna.toml:2: show.min_confidence = \"high\" is of the wrong kind: a number (0 to 1) is wanted",
            ),
            (
                "[show]\nmin_confidence = 1.5\n",
                "lacuna.toml:2: show.min_confidence = 1.5 is out of range: use 0 to 1",
            ),
            (
                "[show]\nmin_confidence = nan\n",
                "lacuna.toml:2: show.min_confidence = nan is out of range: use 0 to 1",
            ),
            (
                "[show]\nline_tokens = -1\n",
                "lacuna.toml:2: show.line_tokens = -1 is out of range: use 1 to 1024",
            ),
            (
                "[model]\norder = \"pms\"\n",
                "lacuna.toml:2: model.order = \"pms\" is not one of its values: did you mean \"psm\"? It takes auto, psm, spm",
            ),
            (
                "[telemetry]\nenabled = 1\n",
                "lacuna.toml:2: telemetry.enabled = 1 is of the wrong kind: true or false is wanted",
            ),
            (
                "[show]\ndisabled_languages = [\"pyhton\"]\n",
                "lacuna.toml:2: show.disabled_languages: no editor is known to call a language \"pyhton\": did you mean \"python\"?",
            ),
            (
                "[show.language.pyhton]\neagerness = \"low\"\n",
                "lacuna.toml:1: show.language: no editor is known to call a language \"pyhton\": did you mean \"python\"?",
            ),
            ("[show.language.python]\neagernes = \"low\"\n", "lacuna.toml:1: show.language = "),
            (
                "[context]\nignore = [\"{\"]\n",
                "lacuna.toml:2: context.ignore = [\"{\"] cannot be used: ",
            ),
            (
                "[experiment.a]\nunit = \"user\"\nvariant.control = {}\nvariant.b = {}\n",
                "lacuna.toml:2: experiment.a: unknown variant `user`",
            ),
            (
                "[experiment.a.variant]\ncontrol = {}\n",
                "lacuna.toml:1: experiment a: there are 1 variants, 2 to 16 are needed",
            ),
            (
                "[experiment.a.variant.control]\n[experiment.a.variant.b.settings]\n\"show.line_token\" = 3\n",
                "lacuna.toml:3: experiment a: variant b: show.line_token is not a setting: did you mean show.line_tokens?",
            ),
        ] {
            let told = told(text);
            assert!(told.len() == 1 && told[0].starts_with(expected), "{text}: {told:?}");
        }
    }

    #[test]
    fn what_is_right_holds_beside_what_is_not() {
        let text = "[show]\nline_tokens = 7\nblok = 1\n[shwo]\nx = 1\n[latency]\ndeadline_ms = 9\n";
        let layer = of_text(Path::new("lacuna.toml"), text);
        assert_eq!(
            layer.values,
            serde_json::json!({"show": {"line_tokens": 7}, "latency": {"deadline_ms": 9}})
        );
        assert_eq!((layer.problems.len(), layer.is_unclear), (2, false));
    }

    #[test]
    fn a_line_that_is_no_toml_takes_no_other_with_it() {
        let layer = of_text(Path::new("lacuna.toml"), "[show]\nline_tokens 7\nblock_tokens = 9\n");
        assert_eq!(layer.values, serde_json::json!({"show": {"block_tokens": 9}}));
        assert!(layer.is_unclear && layer.problems.len() == 1, "{:?}", layer.problems);
        assert!(
            layer.problems[0].to_string().starts_with("lacuna.toml:2: this is not TOML: "),
            "{}",
            layer.problems[0]
        );
        let twice = of_text(Path::new("x"), "[show]\nline_tokens = 1\nline_tokens = 2\n");
        assert_eq!(
            twice.values,
            serde_json::json!({"show": {"line_tokens": 1}}),
            "the first of two holds"
        );
        for text in [
            "not toml at all",
            "[show\nline_tokens = 7",
            "[show]\nline_tokens = 1\nline_tokens = 2\n",
            "a = \"",
            "\0",
        ] {
            let layer = of_text(Path::new("lacuna.toml"), text);
            assert!(layer.is_unclear && !layer.problems.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_mistake_about_telemetry_leaves_it_unclear() {
        for (text, is_unclear) in [
            ("[telemetry]\nenabeld = false\n", true),
            ("[telemetry]\nenabled = \"no\"\n", true),
            ("[show]\nx = 1\n", false),
        ] {
            assert_eq!(of_text(Path::new("x"), text).is_unclear, is_unclear, "{text}");
        }
    }

    #[test]
    fn an_editors_settings_are_told_alike() {
        let layer = of_editor(
            &serde_json::json!({"show": {"line_tokens": "x", "block_tokens": 9, "colour": 1}, "nonsense": 3}),
        );
        assert_eq!(layer.values, serde_json::json!({"show": {"block_tokens": 9}}));
        let told: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told.iter()
                .any(|t| t == "editor settings: show.line_tokens = \"x\" is of the wrong kind: a whole number (1 to 1024) is wanted"),
            "{told:?}"
        );
        assert!(told.iter().all(|t| t.starts_with("editor settings: ")), "{told:?}");
    }

    #[test]
    fn hostile_text_is_answered_with_a_short_line() {
        for text in [
            "[".repeat(100_000),
            "a.".repeat(50_000),
            format!("[show]\n{} = 1\n", "k".repeat(900_000)),
            format!("[show]\nline_tokens = {}\n", "[".repeat(10_000)),
        ] {
            let layer = of_text(Path::new("x"), &text);
            assert!(
                !layer.problems.is_empty()
                    && layer.problems.iter().all(|p| p.to_string().len() < 1000),
                "{}",
                layer.problems[0].to_string().len()
            );
        }
    }
}
