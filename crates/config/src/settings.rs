//! Every setting with its default, and what the completer is told of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
use lacuna_complete::{AUTO_LINES, Settings};
use lacuna_engine::{DeviceChoice, KvDtype, Reuse};
use lacuna_telemetry::experiment::Definition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::globs::globs;

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
    /// What computes: `cpu`, `cuda` or `cuda:N` (a GPU by its number), or `auto`, which is the CPU as
    /// long as the kernels for GPUs have not been run on one.
    pub device: DeviceSetting,
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

/// A device by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceSetting(pub DeviceChoice);

impl Serialize for DeviceSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DeviceSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(DeviceSetting).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DeviceSetting {
    fn schema_name() -> Cow<'static, str> {
        "DeviceSetting".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]+)?)$" })
    }
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
    pub eagerness: EagernessSetting,
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

// `lacuna_complete::Eagerness` as files and flags write it.
/// How much is shown unasked.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum EagernessSetting {
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
    pub eagerness: Option<EagernessSetting>,
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
    pub fn eagerness_in(&self, language_id: &str) -> EagernessSetting {
        self.language
            .get(language_id)
            .and_then(|language| language.eagerness)
            .unwrap_or(self.eagerness)
    }
}

impl From<EagernessSetting> for lacuna_complete::Eagerness {
    fn from(eagerness: EagernessSetting) -> Self {
        match eagerness {
            EagernessSetting::Low => Self::Low,
            EagernessSetting::Normal => Self::Normal,
            EagernessSetting::High => Self::High,
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
            eagerness: EagernessSetting::Normal,
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
        let base = choose_base_strategy()
            .context("you have no home folder: set telemetry.dir in the configuration")?;
        Ok(base.data_dir().join("lacuna").join("telemetry.db"))
    }
}

impl Config {
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
    pub(crate) fn check_globs(&self) -> Result<(), globset::Error> {
        globs(&self.context.ignore)?;
        globs(&self.context.include).map(|_| ())
    }
}
