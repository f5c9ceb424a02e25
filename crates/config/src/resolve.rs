//! The layers laid over each other: [`resolve`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, bail};
use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
use lacuna_engine::DeviceChoice;
use serde_json::{Map, Value};

use super::layer::{self, Layer, Origin, Problem, of_editor, of_text, of_unreadable};
use super::settings::Config;
use super::trust::{self, Near, Reach, Trusted};

impl Config {
    /// This configuration with an experiment's settings, `area.key`, laid over it.
    pub fn with_settings(&self, settings: &BTreeMap<String, Value>) -> anyhow::Result<Config> {
        let plain = Config { experiment: BTreeMap::new(), ..self.clone() };
        let mut value = serde_json::to_value(&plain)?;
        for (name, setting) in settings {
            layer::varied(name, setting).map_err(anyhow::Error::msg)?;
            let place =
                name.split_once('.').and_then(|(area, key)| value.get_mut(area)?.get_mut(key));
            let place =
                place.with_context(|| format!("{name} is not a setting that can be varied"))?;
            *place = if trust::reach(name) == Reach::Adds {
                trust::joined(place, setting)
            } else {
                setting.clone()
            };
        }
        Ok(serde_json::from_value(value)?)
    }
}

/// The configuration with the origin of each `area.key`.
pub struct Resolved {
    pub config: Config,
    pub origins: BTreeMap<String, (Value, Origin)>,
    /// What was written and cannot be used, or is hardly what was meant.
    pub problems: Vec<Problem>,
    /// What the workspace's file may not do and how it could, in one sentence.
    pub untrusted: Option<String>,
}

impl Resolved {
    /// For commands: the first mistake ends them, before they do anything by halves; what is only
    /// doubtful is said.
    pub fn strict(self) -> anyhow::Result<Resolved> {
        if let Some(problem) = self.problems.iter().find(|p| !p.is_doubt) {
            bail!("{problem}");
        }
        self.warn();
        Ok(self)
    }

    /// For servers: says what is wrong in the log and goes on.
    pub fn warn(&self) {
        for problem in &self.problems {
            warn_once(&problem.told());
        }
    }
}

/// `--device`, which every command takes.
static DEVICE_FLAG: OnceLock<DeviceChoice> = OnceLock::new();

/// What is resolved from now on has this device, whatever the layers say. The first call counts.
pub fn set_device_flag(device: DeviceChoice) {
    let _ = DEVICE_FLAG.set(device);
}

/// As [`resolve`], for what is run in the working directory.
pub fn resolve_here(model_flag: Option<&str>) -> anyhow::Result<Resolved> {
    let here = std::env::current_dir().unwrap_or_default();
    resolve(Near::Inside(&here), None, model_flag)
}

/// Merges the layers. `near` says whose workspace counts; `editor` are the settings an editor sent.
pub fn resolve(
    near: Near<'_>,
    editor: Option<&Value>,
    model_flag: Option<&str>,
) -> anyhow::Result<Resolved> {
    resolve_for(user_file(), near, editor, model_flag)
}

fn resolve_for(
    user_file: Option<PathBuf>,
    near: Near<'_>,
    editor: Option<&Value>,
    model_flag: Option<&str>,
) -> anyhow::Result<Resolved> {
    let defaults = serde_json::to_value(Config::default())?;
    let mut origins = BTreeMap::new();
    lay(&mut origins, &defaults, &Origin::Default);
    let mut problems = Vec::new();
    let mut unclear = None;
    let mut note = |layer: &mut Layer, origin: &Origin| {
        problems.append(&mut layer.problems);
        if layer.is_unclear && unclear.is_none() {
            unclear = Some(origin.clone());
        }
    };
    if let Some(path) = user_file {
        let mut layer = read_file(path.clone(), trust::read(&path));
        let origin = Origin::File(path);
        note(&mut layer, &origin);
        lay(&mut origins, &layer.values, &origin);
    }
    let folders: Vec<String> = origins
        .get("trust.folders")
        .and_then(|(v, _)| serde_json::from_value(v.clone()).ok())
        .unwrap_or_default();
    let mut untrusted = None;
    if let Some(file) = trust::workspace_file(near, &Trusted::new(&folders)) {
        let origin = Origin::File(file.path.clone());
        let (values, refused) = match file.text.transpose() {
            None => (Value::Null, "it belongs to another user".to_owned()),
            Some(text) => {
                let mut layer = read_file(file.path.clone(), text);
                note(&mut layer, &origin);
                let below =
                    |name: &str| origins.get(name).map_or(Value::Null, |(value, _)| value.clone());
                let (values, refused) = if file.is_trusted {
                    trust::trusted(&layer.values)
                } else {
                    trust::admit(&layer.values, below)
                };
                (values, refused.join(", "))
            }
        };
        untrusted = (!refused.is_empty()).then(|| untrusted_text(&file.path, &refused));
        lay(&mut origins, &values, &origin);
    }
    if let Some(text) = &untrusted {
        warn_once(text);
    }
    if let Some(sent) = editor {
        let mut layer = of_editor(sent);
        note(&mut layer, &Origin::Editor);
        lay(&mut origins, &layer.values, &Origin::Editor);
    }
    if let Some(model) = model_flag {
        lay(&mut origins, &serde_json::json!({"model": {"path": model}}), &Origin::Flag);
    }
    if let Some(device) = DEVICE_FLAG.get() {
        let device = serde_json::json!({"model": {"device": device.to_string()}});
        lay(&mut origins, &device, &Origin::Flag);
    }
    // Whoever may have said that nothing is to be recorded is taken to have said so.
    if let Some(origin) = unclear {
        lay(&mut origins, &serde_json::json!({"telemetry": {"enabled": false}}), &origin);
        let message = "telemetry is off until the mistake above is mended".to_owned();
        problems.push(Problem {
            origin,
            line: None,
            key: "telemetry.enabled".to_owned(),
            message,
            is_doubt: true,
        });
    }
    let mut merged: Map<String, Value> = Map::new();
    for (name, (value, _)) in &origins {
        let (area, key) = name.split_once('.').unwrap_or((name, ""));
        let area = merged.entry(area.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        area[key] = value.clone();
    }
    let config: Config = serde_json::from_value(Value::Object(merged))?;
    Ok(Resolved { config, origins, problems, untrusted })
}

fn untrusted_text(file: &Path, refused: &str) -> String {
    let folder = file.parent().unwrap_or(file).display();
    format!(
        "{} is not trusted, so this is ignored: {refused}. If you trust the folder, add {folder:?} to [trust] folders in your own {}",
        file.display(),
        user_file_place()
            .map_or_else(|| "config.toml".to_owned(), |path| path.display().to_string()),
        folder = folder.to_string(),
    )
}

/// Says a thing in the log, once in a process: every editor of a shared engine and every command
/// resolves anew.
fn warn_once(text: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
        tracing::warn!("{text}");
    }
}

fn lay(origins: &mut BTreeMap<String, (Value, Origin)>, layer: &Value, origin: &Origin) {
    for (area, keys) in layer.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let name = format!("{area}.{key}");
            let value = match origins.get(&name) {
                Some((below, _)) if trust::reach(&name) == Reach::Adds => {
                    trust::joined(below, value)
                }
                Some((below, _)) => over(below, value),
                None => value.clone(),
            };
            origins.insert(name, (value, origin.clone()));
        }
    }
}

/// A value over the one below: of a table the keys that are given, of anything else all.
fn over(below: &Value, value: &Value) -> Value {
    match (below, value) {
        (Value::Object(below), Value::Object(value)) => {
            let mut all = below.clone();
            value.iter().for_each(|(key, value)| {
                let merged = all.get(key).map_or_else(|| value.clone(), |below| over(below, value));
                all.insert(key.clone(), merged);
            });
            Value::Object(all)
        }
        _ => value.clone(),
    }
}

fn read_file(path: PathBuf, text: anyhow::Result<String>) -> Layer {
    match text {
        Ok(text) => of_text(&path, &text),
        Err(error) => of_unreadable(path, format!("{error:#}")),
    }
}

/// Reads text as a configuration file and, where it is JSON, as an editor's settings.
pub fn read_any(text: &str) {
    let layers = [
        Some(of_text(Path::new("lacuna.toml"), text)),
        serde_json::from_str(text).ok().map(|sent| of_editor(&sent)),
    ];
    for layer in layers.into_iter().flatten() {
        let mut origins = BTreeMap::new();
        lay(&mut origins, &layer.values, &Origin::Editor);
        assert!(layer.problems.iter().all(|problem| problem.told().len() < 4096));
        let read = serde_json::from_value::<Config>(layer.values);
        assert!(read.is_ok(), "what a layer keeps is a configuration: {read:?}");
    }
}

/// The user's file, if there is one.
pub fn user_file() -> Option<PathBuf> {
    user_file_place().filter(|path| path.is_file())
}

/// Where the user's file lies or would lie. A relative folder would be another one in every folder.
fn user_file_place() -> Option<PathBuf> {
    Some(choose_base_strategy().ok()?.config_dir().join("lacuna").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ContextConfig, OrderSetting, ShowConfig, TelemetryConfig};

    #[test]
    fn layers_and_origins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("lacuna.toml"),
            "[show]\nline_tokens = 7\nblock_tokens = 9\n",
        )
        .unwrap();
        let editor = serde_json::json!({"show": {"block_tokens": 11, "colour": 1}, "nonsense": 3});
        let resolved = resolve(Near::Root(dir.path()), Some(&editor), Some("m")).unwrap();
        assert_eq!((resolved.config.show.line_tokens, resolved.config.show.block_tokens), (7, 11));
        assert_eq!(resolved.config.model.path, "m");
        let keys: Vec<&str> = resolved.problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["nonsense", "show.colour"]);
        assert!(matches!(resolved.origins["show.line_tokens"].1, Origin::File(_)));
        assert_eq!(resolved.origins["show.block_tokens"].1, Origin::Editor);
        assert_eq!(resolved.origins["model.path"].1, Origin::Flag);
        assert_eq!(resolved.origins["latency.deadline_ms"].1, Origin::Default);
    }

    #[test]
    fn commands_refuse_what_files_say_and_nobody_knows_and_servers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "[shwo]\n",
            "[show]\nx = 1\n",
            "[show]\nline_tokens = \"a\"\n",
            "not toml",
            "[show]\nmin_confidence = 2.0\n",
        ] {
            std::fs::write(dir.path().join("lacuna.toml"), text).unwrap();
            let resolved = resolve(Near::Root(dir.path()), None, None).unwrap();
            assert_eq!(
                Config { telemetry: TelemetryConfig::default(), ..resolved.config.clone() },
                Config::default(),
                "{text:?}"
            );
            let error = resolved.strict().err().map(|e| format!("{e:#}")).unwrap_or_default();
            assert!(error.contains("lacuna.toml"), "{text:?}: {error}");
        }
    }

    #[test]
    fn nothing_is_recorded_while_it_is_unclear_whether_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        for (text, is_on) in [
            ("[show]\nx = 1\n", true),
            ("[telemetry]\nenabeld = false\n", false),
            ("[telemetry]\nenabled = \"no\"\n", false),
            ("[show]\nline_tokens 7\n", false),
            ("\u{feff}[telemetry]\nenabled = true\n", true),
        ] {
            let file = dir.path().join("config.toml");
            std::fs::write(&file, text).unwrap();
            let resolved =
                resolve_for(Some(file), Near::Root(Path::new("/nowhere")), None, None).unwrap();
            assert_eq!(resolved.config.telemetry.enabled, is_on, "{text:?}");
            assert_eq!(
                resolved.problems.iter().any(|p| p.message.starts_with("telemetry is off")),
                !is_on,
                "{text:?}"
            );
        }
        let editor = serde_json::json!({"telemetry": {"enable": false}});
        assert!(
            !resolve(Near::Root(Path::new("/nowhere")), Some(&editor), None)
                .unwrap()
                .config
                .telemetry
                .enabled
        );
    }

    #[test]
    fn experiments_lie_over_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let write = |settings: &str| {
            let text = format!(
                "[show]\nline_tokens = 7\n[experiment.order.variant]\ncontrol = {{}}\nb.settings = {{ {settings} }}\n"
            );
            let file = dir.path().join("config.toml");
            std::fs::write(&file, text).unwrap();
            let nowhere = Near::Root(Path::new("/nowhere"));
            resolve_for(Some(file), nowhere, None, None)
                .and_then(Resolved::strict)
                .map(|r| r.config)
                .map_err(|e| format!("{e:#}"))
        };
        let config = write("\"model.order\" = \"psm\", \"show.block_tokens\" = 9").unwrap();
        let varied =
            config.with_settings(&config.experiment["order"].variant["b"].settings).unwrap();
        assert_eq!(
            (varied.model.order, varied.show.block_tokens, varied.show.line_tokens),
            (OrderSetting::Psm, 9, 7)
        );
        for (settings, told) in [
            ("\"model.ordre\" = \"psm\"", "model.ordre is not a setting"),
            ("\"telemetry.enabled\" = false", "telemetry.enabled is not a setting"),
            ("\"show.block_tokens\" = 0", "out of range"),
            ("\"show.block_tokens\" = \"many\"", "wrong kind"),
        ] {
            let error = write(settings).unwrap_err();
            assert!(
                error.contains(told) && error.contains("experiment order: variant b"),
                "{settings}: {error}"
            );
        }
    }

    #[test]
    fn an_editors_mistake_is_reported_and_not_fatal() {
        let dir = tempfile::tempdir().unwrap();
        for editor in [
            serde_json::json!({"show": {"line_tokens": "x"}}),
            serde_json::json!([1]),
            serde_json::json!({"kv": 1}),
        ] {
            let resolved = resolve(Near::Root(dir.path()), Some(&editor), None).unwrap();
            assert_eq!(
                (resolved.config, resolved.problems.len()),
                (Config::default(), 1),
                "{editor}"
            );
        }
    }
    #[test]
    fn a_workspace_sets_what_is_harmless_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (user, work) = (dir.path().join("config.toml"), dir.path().join("work"));
        std::fs::create_dir(&work).unwrap();
        std::fs::write(&user, "[context]\nignore = [\"mine\"]\n").unwrap();
        let stated = "[show]\nline_tokens = 7\n[context]\nignore = [\"theirs\"]\nignore_defaults = false\n[telemetry]\ndir = \"t\"\n\
                      [model]\npath = \"m\"\n[http]\nlisten = \"0.0.0.0:1\"\n[trust]\nfolders = [\"/*\"]\n\
                      [experiment.e.variant.control]\n[experiment.e.variant.b.settings]\n\"model.path\" = \"m\"\n";
        std::fs::write(work.join("lacuna.toml"), stated).unwrap();
        let resolved = || resolve_for(Some(user.clone()), Near::Root(&work), None, None).unwrap();
        let harmless = Config {
            show: ShowConfig { line_tokens: 7, ..ShowConfig::default() },
            context: ContextConfig {
                ignore: vec!["mine".to_owned(), "theirs".to_owned()],
                ..ContextConfig::default()
            },
            ..Config::default()
        };
        let strange = resolved();
        assert_eq!(strange.config, harmless);
        let told = strange.untrusted.unwrap();
        for name in [
            "lacuna.toml",
            "context.ignore_defaults",
            "telemetry.dir",
            "model.path",
            "http.listen",
            "trust.folders",
            "experiment.e",
        ] {
            assert!(told.contains(name), "{name}: {told}");
        }
        std::fs::write(&user, format!("[trust]\nfolders = [{:?}]\n", work.display().to_string()))
            .unwrap();
        let trusted = resolved();
        assert_eq!(
            (trusted.config.model.path.as_str(), trusted.config.http.listen.as_str()),
            ("m", "0.0.0.0:1")
        );
        assert!(
            trusted.config.experiment.contains_key("e") && !trusted.config.context.ignore_defaults
        );
        // Whom to trust is not for a trusted folder to say either, nor for an editor.
        assert_eq!(trusted.config.trust.folders.len(), 1);
        assert!(trusted.untrusted.is_some_and(|told| told.contains("trust")));
        let editor = serde_json::json!({"trust": {"folders": ["/*"]}});
        let resolved = resolve_for(None, Near::Root(&work), Some(&editor), None).unwrap();
        assert_eq!((resolved.config.trust.folders.len(), resolved.problems.len()), (0, 1));
    }
}
