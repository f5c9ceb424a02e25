//! From `--model` to something that completes: the embedded model, a Hugging Face directory, or a
//! packed file.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, bail};
use lacuna_complete::{Calibration, Completer, Settings};
use lacuna_config::{Config, ModelConfig};
use lacuna_engine::{
    Cancel, DeviceChoice, KvCache, LoadError, Model, Precision, Sampling, Scheduler, generate,
};
use lacuna_prompt::{Sentinels, Tokenizer};

use super::costs;

/// The embedded model's weights in our packed form, and its tokenizer (see `datasets/embedded`).
pub const EMBEDDED_WEIGHTS: &[u8] =
    include_bytes!("../../../datasets/embedded/model.lacuna.safetensors");
pub const EMBEDDED_TOKENIZER: &[u8] = include_bytes!("../../../datasets/embedded/tokenizer.json");
/// Generated to see whether a model can.
const TRIAL_TOKENS: usize = 4;
/// Name under which the embedded model is shown.
pub const EMBEDDED: &str = "embedded";
/// Larger tokenizer files are refused before they are read.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;

/// A model with its tokenizer, ready to complete.
pub struct Loaded {
    pub name: String,
    pub model: Arc<Model>,
    pub tokenizer: Arc<Tokenizer>,
    pub sentinels: Sentinels,
    /// LSP ids of the languages that the model was trained for; `None`: it does not say.
    pub languages: Option<Vec<String>>,
    /// How likely what it writes is right; `None`: it does not say.
    pub calibration: Option<Arc<Calibration>>,
    /// Completers of one model take turns.
    scheduler: Arc<Scheduler>,
    /// Those of the language server: clients with equal settings share one, its caches and its
    /// budget.
    serving: Mutex<Vec<Weak<Completer>>>,
}

impl Loaded {
    /// The completer for this model under this configuration.
    ///
    /// For single requests: nothing is prepared in the background.
    pub fn completer(&self, config: &Config) -> anyhow::Result<Completer> {
        Ok(self.completer_with(Settings { background: false, ..self.settings(config)? }))
    }

    /// The completer for this model with settings that [`Loaded::settings`] gave, perhaps changed.
    pub fn completer_with(&self, settings: Settings) -> Completer {
        let scheduler = Arc::clone(&self.scheduler);
        Completer::sharing(
            scheduler,
            Arc::clone(&self.model),
            Arc::clone(&self.tokenizer),
            self.sentinels.clone(),
            settings,
        )
    }

    /// The completer of a client of the language server: prepares things in the background, knows
    /// what this machine's speed was.
    pub fn serving(&self, config: &Config) -> anyhow::Result<Arc<Completer>> {
        let mut settings = self.settings(config)?;
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let equal = |completer: &Arc<Completer>| {
            Settings { costs: settings.costs.clone(), ..completer.settings().clone() } == settings
        };
        if let Some(completer) = serving.iter().filter_map(Weak::upgrade).find(equal) {
            return Ok(completer);
        }
        if let Some(file) = costs::file() {
            settings.costs = costs::read(&file, &costs::key(&self.name));
        }
        let completer = Arc::new(self.completer_with(settings));
        serving.retain(|other| other.strong_count() > 0);
        serving.push(Arc::downgrade(&completer));
        Ok(completer)
    }

    /// Keeps what a completer has learned about this machine for the next start.
    pub fn remember_costs(&self, completer: &Completer) {
        if let Some(file) = costs::file() {
            costs::write(&file, &costs::key(&self.name), &completer.costs());
        }
    }

    /// Generates a few tokens between the sides of a small hole: weights that load may still be out
    /// of range.
    ///
    /// Errors: the forward pass gives no numbers, or cannot be made.
    pub fn try_out(&self) -> anyhow::Result<()> {
        let s = &self.sentinels;
        let mut ids = vec![s.prefix];
        ids.extend(self.tokenizer.encode("def area(r):\n    "));
        ids.push(s.suffix);
        ids.extend(self.tokenizer.encode("\n\nprint(area(3))\n"));
        ids.push(s.middle);
        let longest = self.model.spec().max_positions;
        ids.truncate(longest.saturating_sub(TRIAL_TOKENS));
        let sampling = Sampling { max_tokens: TRIAL_TOKENS, ..Sampling::default() };
        let mut cache = KvCache::new(&self.model, longest.min(ids.len() + TRIAL_TOKENS));
        generate(&self.model, &mut cache, &ids, &sampling, None, &Cancel::new(), &mut |_| {
            ControlFlow::Continue(())
        })
        .with_context(|| format!("model {} cannot complete", self.name))?;
        Ok(())
    }

    /// What the configuration says for this model; threads are set at once.
    pub fn settings(&self, config: &Config) -> anyhow::Result<Settings> {
        lacuna_engine::set_threads(config.latency.threads);
        lacuna_engine::set_pinned(config.latency.pin_threads);
        let mut settings = config.settings(self.sentinels.order, true);
        settings.calibration = self.calibration.clone();
        settings.beam = config.model.beam.unwrap_or_else(|| beam(self.model.info().parameters));
        settings.suffix.weight = self.model.spec().suffix_weight;
        settings.evidence.suffix = settings.suffix.weight > 0.0;
        let limit = self.model.spec().max_positions;
        let longest = settings.line_tokens.max(settings.block_tokens) + 1;
        if longest + 32 > limit {
            bail!(
                "model {} has a context of {limit} tokens: lower show.block_tokens below {}",
                self.name,
                limit / 2
            );
        }
        settings.prompt_tokens = settings.prompt_tokens.min(limit - longest);
        Ok(settings)
    }
}

/// Hypotheses that are followed with a model of so many parameters, unless the configuration says
/// (see `lacuna_complete::Settings::beam`): a pass over several costs a large model more, and its
/// likeliest token is the right one more often.
fn beam(parameters: u64) -> usize {
    match parameters {
        ..50_000_000 => 8,
        50_000_000..300_000_000 => 4,
        300_000_000..1_000_000_000 => 2,
        1_000_000_000.. => 1,
    }
}

/// Loads what `path` names, directories quantised to INT4; empty means the embedded model.
pub fn load(path: &str) -> anyhow::Result<Loaded> {
    load_as(path, Precision::Int4, DeviceChoice::Auto)
}

/// [`load`] of what the settings name, on the device that they name.
pub fn load_configured(model: &ModelConfig) -> anyhow::Result<Loaded> {
    load_as(&model.path, Precision::Int4, model.device.0)
}

/// As [`load`], with a choice of precision for directories (a packed file and the embedded model
/// are INT4 already) and of the device.
pub fn load_as(path: &str, precision: Precision, device: DeviceChoice) -> anyhow::Result<Loaded> {
    if path.is_empty() || path == EMBEDDED {
        let model = Model::from_packed_on(EMBEDDED_WEIGHTS, device).map_err(|error| {
            let is_of_device = matches!(error, LoadError::Gpu(_) | LoadError::NotOnGpu { .. });
            let what = match is_of_device {
                true => "the embedded model",
                false => "the embedded model is damaged: build lacuna again",
            };
            anyhow::Error::new(error).context(what)
        })?;
        return finish(EMBEDDED.to_owned(), model, EMBEDDED_TOKENIZER, "the embedded tokenizer");
    }
    let place = Path::new(path);
    if !place.exists() {
        bail!(
            "model {path} does not exist: give a directory in Hugging Face layout or a packed .safetensors file"
        );
    }
    if place.extension().is_some_and(|e| e == "gguf") {
        bail!(
            "model {path} is a GGUF file, which this version cannot read yet: give a directory in Hugging Face layout"
        );
    }
    let folder = if place.is_dir() { place } else { place.parent().unwrap_or(Path::new(".")) };
    let tokenizer = folder.join("tokenizer.json");
    if !tokenizer.is_file() {
        bail!("model {path} has no tokenizer: put its tokenizer.json into {}", folder.display());
    }
    if std::fs::metadata(&tokenizer)?.len() > MAX_TOKENIZER_BYTES {
        bail!(
            "{} is larger than {MAX_TOKENIZER_BYTES} bytes: download tokenizer.json again",
            tokenizer.display()
        );
    }
    load_from(path, place, &tokenizer, precision, device)
}

/// Weights and a tokenizer that lie in different places.
pub fn load_apart(name: &str, weights: &Path, tokenizer: &Path) -> anyhow::Result<Loaded> {
    load_from(name, weights, tokenizer, Precision::Int4, DeviceChoice::Auto)
}

fn load_from(
    path: &str,
    place: &Path,
    tokenizer: &Path,
    precision: Precision,
    device: DeviceChoice,
) -> anyhow::Result<Loaded> {
    let file = std::fs::read(tokenizer).with_context(|| format!("{}", tokenizer.display()))?;
    let model =
        Model::load_on(place, precision, device).with_context(|| format!("model {path}"))?;
    finish(path.to_owned(), model, &file, &tokenizer.display().to_string())
}

/// The weights of a [`Calibration`], as a model's config holds them.
pub fn read_confidence(path: &Path) -> anyhow::Result<serde_json::Value> {
    let name = || format!("--confidence {}", path.display());
    let text = std::fs::read_to_string(path).with_context(name)?;
    Calibration::from_json(&text).with_context(name)?;
    serde_json::from_str(&text).with_context(name)
}

fn finish(
    name: String,
    model: Model,
    tokenizer_file: &[u8],
    tokenizer_name: &str,
) -> anyhow::Result<Loaded> {
    let tokenizer =
        Tokenizer::from_json(tokenizer_file).with_context(|| tokenizer_name.to_owned())?;
    let sentinels = Sentinels::resolve(&tokenizer).with_context(|| tokenizer_name.to_owned())?;
    let (ids, rows) = (tokenizer.n_vocab(), model.spec().n_vocab);
    if ids > rows {
        bail!(
            "model {name}: {tokenizer_name} has {ids} ids but the weights have {rows}: they belong to different models"
        );
    }
    let languages = model.spec().code_languages.clone();
    let weights = model.spec().confidence.as_deref().map(Calibration::from_json).transpose();
    let calibration = weights.with_context(|| format!("model {name}"))?.map(Arc::new);
    let (model, tokenizer) = (Arc::new(model), Arc::new(tokenizer));
    Ok(Loaded {
        name,
        model,
        tokenizer,
        sentinels,
        languages,
        calibration,
        scheduler: Scheduler::new(),
        serving: Mutex::default(),
    })
}
