//! Configuration: one struct, four layers, and for every value the layer it came from.
//!
//! Order: flags > editor settings > `lacuna.toml` in the workspace > the user's file > defaults.
//! What a workspace may not set (`trust`) is named and ignored. What cannot be understood is left
//! out and named ([`Problem`]): servers go on without it, commands end with it
//! ([`Resolved::strict`]).
//!
//! [`layer`] reads what a layer states, [`schema`] knows every setting.

mod globs;
mod layer;
pub mod names;
pub mod reference;
pub mod schema;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use lacuna_complete::{AUTO_LINES, Settings};
use lacuna_engine::{KvDtype, Reuse};
use lacuna_telemetry::experiment::Definition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::globs::globs;
pub use self::layer::Problem;
use self::layer::{Layer, of_editor, of_text, of_unreadable};
pub use self::trust::Near;
use self::trust::{Reach, Trusted};

/// In `show.languages`: what the model was trained for.
pub const TRAINED: &str = "trained";
/// Shorter runs of moved text are computed again: finding them costs more than they save.
const MIN_RUN: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub model: ModelConfig,
    pub latency: LatencyConfig,
    pub context: ContextConfig,
    pub show: ShowConfig,
    pub kv: KvConfig,
    pub telemetry: TelemetryConfig,
    /// `[experiment.NAME]`: A/B tests, begun by `lacuna telemetry experiment start NAME`. In files
    /// only: not for editors' settings.
    #[schemars(skip)]
    pub experiment: BTreeMap<String, Definition>,
    pub http: HttpConfig,
    pub trust: TrustConfig,
}

/// Whose word counts. Only the user's own file (`~/.config/lacuna/config.toml`) may say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    /// Folders whose `lacuna.toml` may set everything, as absolute paths or from `~`; with `/*` at
    /// the end all folders below, too.
    pub folders: Vec<String>,
}

/// What becomes of suggestions, recorded on this machine only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Record at all.
    pub enabled: bool,
    /// Rows older than this many days are deleted; 0: never.
    #[schemars(range(max = 36_500))]
    pub retention_days: u32,
    /// Directory of the store; empty: `lacuna` in the user's data directory.
    pub dir: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Directory in Hugging Face layout or a packed file; empty for the embedded model.
    pub path: String,
    /// `auto` (what the model was trained on), `psm` or `spm`.
    pub order: OrderSetting,
    /// Token healing; unset: on, except where the model says otherwise.
    pub heal: Option<bool>,
    /// The last lines before the cursor go behind the middle marker, so that typing only appends to
    /// the prompt; unset: with `psm` only.
    pub seam: Option<bool>,
    /// Hypotheses that are followed while one line is completed, 1 to 16; the likeliest line that
    /// the rules let pass is shown. 1 takes the likeliest token each time, with drafts; unset: 8
    /// below 50 million parameters, 4 below 300, 2 below 1,000, else 1.
    #[schemars(range(min = 1, max = 16))]
    pub beam: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderSetting {
    #[default]
    Auto,
    Psm,
    Spm,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyConfig {
    /// Milliseconds after which the best so far is returned; 0: no deadline.
    pub deadline_ms: u64,
    /// Threads that compute, the requesting one among them; 0: all cores that the process may use.
    #[schemars(range(max = 256))]
    pub threads: usize,
    /// Bind each helping thread to a core of its own.
    pub pin_threads: bool,
    /// Guess tokens from the file and verify several at once; completions are the same.
    pub drafts: bool,
    /// Prepare what is likely to be asked next while nobody waits.
    pub background: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContextConfig {
    /// Upper limit of a prompt in tokens.
    #[schemars(range(min = 32, max = 32_768))]
    pub prompt_tokens: usize,
    /// Larger files are not completed.
    #[schemars(range(min = 1_024, max = 134_217_728))]
    pub max_file_bytes: usize,
    /// Files that are left alone beside the built-in list, as in `.gitignore`: a pattern without a
    /// slash matches a name in any folder.
    pub ignore: Vec<String>,
    /// The built-in list of names under which keys and passwords are kept is left alone, too.
    pub ignore_defaults: bool,
    /// Files that `.gitignore` names and that other files' prompts may show all the same, by
    /// patterns as in `ignore`.
    pub include: Vec<String>,
    /// Prompts show parts of other open files that resemble the surroundings of the cursor. Off:
    /// the embedded model gains nothing by it.
    pub other_files: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShowConfig {
    /// Least probability that its first line is right of a suggestion that nobody asked for; what
    /// is asked for by hand is always shown. Unset: as the model says, so that about half of what
    /// is shown is right; a model that does not say shows everything, and its mean probability a
    /// token is compared if this is set.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_confidence: Option<f64>,
    /// Longest single-line completion, in tokens.
    #[schemars(range(min = 1, max = 1_024))]
    pub line_tokens: usize,
    /// Lines of a suggestion at most: `1` never breaks a line, more are suggested only where a
    /// block is opened that has no body yet; `auto` is 6.
    pub lines: Lines,
    /// Longest block, in tokens.
    #[schemars(range(min = 1, max = 4_096))]
    pub block_tokens: usize,
    /// Languages with suggestions, by LSP language id; `trained` stands for those that the model
    /// says it was trained for (all, if it does not say), `*` for all. Others are silent, also when
    /// asked by hand.
    pub languages: Vec<String>,
    /// Languages without suggestions, whatever `languages` says, by LSP language id, for example
    /// `markdown`; `*`: all.
    pub disabled_languages: Vec<String>,
    /// How much is shown unasked: `low` only what is very likely right, `high` also what is less
    /// likely than `normal`, which asks for `min_confidence`.
    pub eagerness: Eagerness,
    /// What holds for single languages, by LSP language id: `[show.language.python]` with
    /// `eagerness = "low"`.
    pub language: BTreeMap<String, LanguageConfig>,
    /// Milliseconds without a change before anything is shown unasked. The text on screen goes on
    /// at once while it is typed, and who asks by hand does not wait.
    #[schemars(range(max = 10_000))]
    pub delay_ms: u64,
    /// Suggestions in comments: `false` never, `"explicit"` when asked for by hand. Languages with
    /// a grammar.
    pub in_comments: Wanted,
    /// The same in documentation: `///`, `/** */`, Python's docstrings, in Go the comment above a
    /// declaration.
    pub in_doc_comments: Wanted,
    /// The same in strings. Code in an f-string or a template string is code.
    pub in_strings: Wanted,
}

/// How much is shown unasked.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Eagerness {
    Low,
    #[default]
    Normal,
    High,
}

/// What holds for one language.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageConfig {
    /// As `show.eagerness`, in this language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eagerness: Option<Eagerness>,
}

/// Whether suggestions are wanted at a kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Wanted {
    Always(bool),
    Explicit(ExplicitSetting),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExplicitSetting {
    Explicit,
}

impl Wanted {
    /// Whether a request may be answered there. `is_automatic`: made while typing, not by the user.
    pub fn allows(self, is_automatic: bool) -> bool {
        match self {
            Wanted::Always(wanted) => wanted,
            Wanted::Explicit(_) => !is_automatic,
        }
    }
}

impl ShowConfig {
    /// What holds in a language.
    pub fn eagerness_in(&self, language_id: &str) -> Eagerness {
        self.language
            .get(language_id)
            .and_then(|language| language.eagerness)
            .unwrap_or(self.eagerness)
    }
}

impl From<Eagerness> for lacuna_complete::Eagerness {
    fn from(eagerness: Eagerness) -> Self {
        match eagerness {
            Eagerness::Low => Self::Low,
            Eagerness::Normal => Self::Normal,
            Eagerness::High => Self::High,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KvConfig {
    /// Megabytes (2²⁰ bytes) that the keys and values of all documents may take.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub budget_mb: usize,
    /// How keys and values are held: `auto` (int8), `f16` or `f32`.
    pub dtype: DtypeSetting,
    /// What a prompt may take over from text that has moved: `exact` (nothing: only what stands
    /// where it stood), `shift` or `blend`.
    pub reuse: ReuseSetting,
    /// With `blend`: share of the moved tokens that is computed again (0–1).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub blend_ratio: f64,
}

/// `auto`, or a number of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Lines {
    Auto(AutoSetting),
    AtMost(#[schemars(range(min = 1, max = 64))] usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AutoSetting {
    Auto,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines::Auto(AutoSetting::Auto)
    }
}

impl Lines {
    fn most(self) -> usize {
        match self {
            Lines::Auto(_) => AUTO_LINES,
            Lines::AtMost(n) => n,
        }
    }
}

/// Approximate ways are switches: what they cost is measured in `docs/bench/kv-quality.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReuseSetting {
    #[default]
    Exact,
    Shift,
    Blend,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DtypeSetting {
    #[default]
    Auto,
    F32,
    F16,
    Int8,
}

/// `lacuna serve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: String,
    /// File whose first line is the token that clients must send; empty: none is asked for, on
    /// loopback only.
    pub token_file: String,
    /// Connections with a request that is under way; as many again wait, at most 64, further ones
    /// are refused.
    #[schemars(range(min = 1, max = 4_096))]
    pub max_connections: usize,
    /// Requests that run or wait for their turn; further ones are refused.
    #[schemars(range(min = 1, max = 1_024))]
    pub max_requests: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: "127.0.0.1:8012".to_owned(),
            token_file: String::new(),
            max_connections: 128,
            max_requests: 32,
        }
    }
}

impl Default for LatencyConfig {
    fn default() -> Self {
        LatencyConfig {
            deadline_ms: 400,
            threads: 0,
            pin_threads: true,
            drafts: true,
            background: true,
        }
    }
}

impl Default for ContextConfig {
    fn default() -> Self {
        let settings = Settings::default();
        ContextConfig {
            prompt_tokens: settings.prompt_tokens,
            max_file_bytes: settings.max_file_bytes,
            ignore: Vec::new(),
            ignore_defaults: true,
            include: Vec::new(),
            other_files: settings.other_files,
        }
    }
}

impl Default for ShowConfig {
    fn default() -> Self {
        let settings = Settings::default();
        ShowConfig {
            min_confidence: None,
            line_tokens: settings.line_tokens,
            lines: Lines::default(),
            block_tokens: settings.block_tokens,
            languages: vec![TRAINED.to_owned()],
            disabled_languages: Vec::new(),
            eagerness: Eagerness::Normal,
            language: BTreeMap::new(),
            delay_ms: 0,
            in_comments: Wanted::Always(true),
            in_doc_comments: Wanted::Always(true),
            in_strings: Wanted::Always(true),
        }
    }
}

impl Default for KvConfig {
    fn default() -> Self {
        KvConfig {
            budget_mb: Settings::default().kv_budget_bytes >> 20,
            dtype: DtypeSetting::Auto,
            reuse: ReuseSetting::Exact,
            blend_ratio: 0.15,
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig { enabled: true, retention_days: 365, dir: String::new() }
    }
}

impl TelemetryConfig {
    /// Where the store lies: `telemetry.db` in `telemetry.dir`, or in the user's data directory.
    pub fn store_path(&self) -> anyhow::Result<PathBuf> {
        if !self.dir.is_empty() {
            return Ok(Path::new(&self.dir).join("telemetry.db"));
        }
        let base = std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| {
                std::env::var_os("HOME")
                    .map(|home| PathBuf::from(home).join(".local").join("share"))
            })
            .or_else(|| std::env::var_os("LOCALAPPDATA").map(PathBuf::from))
            .context(
                "neither XDG_DATA_HOME nor HOME is set: set telemetry.dir in the configuration",
            )?;
        Ok(base.join("lacuna").join("telemetry.db"))
    }
}

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

    /// The completer's settings; `order` and `heal` are decided with the model at hand.
    pub fn settings(&self, order: lacuna_prompt::Order, heal: bool) -> Settings {
        let order = match self.model.order {
            OrderSetting::Auto => order,
            OrderSetting::Psm => lacuna_prompt::Order::Psm,
            OrderSetting::Spm => lacuna_prompt::Order::Spm,
        };
        Settings {
            order,
            // Suffix first, typing only appends as it is; prefix first, it does so behind a seam.
            seam: self.model.seam.unwrap_or(order == lacuna_prompt::Order::Psm),
            heal: self.model.heal.unwrap_or(heal),
            prompt_tokens: self.context.prompt_tokens,
            line_tokens: self.show.line_tokens,
            lines: self.show.lines.most(),
            block_tokens: self.show.block_tokens,
            deadline: Duration::from_millis(self.latency.deadline_ms),
            min_confidence: self.show.min_confidence.map(|least| least as f32),
            max_file_bytes: self.context.max_file_bytes,
            other_files: self.context.other_files,
            kv_budget_bytes: self.kv.budget_mb << 20,
            reuse: match self.kv.reuse {
                ReuseSetting::Exact => Reuse::Exact,
                ReuseSetting::Shift => Reuse::Shift { min_run: MIN_RUN },
                ReuseSetting::Blend => {
                    Reuse::Blend { min_run: MIN_RUN, ratio: self.kv.blend_ratio as f32 }
                }
            },
            drafts: self.latency.drafts,
            background: self.latency.background,
            kv_dtype: match self.kv.dtype {
                DtypeSetting::Auto => None,
                DtypeSetting::F32 => Some(KvDtype::F32),
                DtypeSetting::F16 => Some(KvDtype::F16),
                DtypeSetting::Int8 => Some(KvDtype::Int8),
            },
            ..Settings::default()
        }
    }

    /// Whether the patterns can be read.
    fn check_globs(&self) -> Result<(), globset::Error> {
        globs(&self.context.ignore)?;
        globs(&self.context.include).map(|_| ())
    }
}

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
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("lacuna").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
