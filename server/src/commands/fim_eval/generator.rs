//! From flags to something that completes examples: a model of ours, or somebody's server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lacuna_complete::{Evidence, Settings};
use lacuna_config::OrderSetting;
use lacuna_engine::Precision;
use lacuna_eval::generate::endpoint::{self, EndpointGenerator};
use lacuna_eval::generate::{Generator, ModelGenerator, RawSettings};
use lacuna_eval::run::{Config as RunConfig, ModelId, sha256_of_file, sha256_of_parts};
use lacuna_prompt::Order;
use lacuna_serving::languages::Languages;
use lacuna_serving::{models, private};

use super::args::{Args, OrderFlag, Part};

/// Longest key file that is read.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// What completes, under which name, and what of the run's configuration it decided.
pub struct Chosen {
    pub generator: Option<Box<dyn Generator>>,
    pub model: ModelId,
}

/// Builds the generator; fills in the fields of `config` that depend on it.
pub fn choose(args: &Args, config: &mut RunConfig, jobs: usize) -> anyhow::Result<Chosen> {
    let has = |mode: &str| config.modes.iter().any(|m| m == mode);
    if let Some(url) = &args.endpoint {
        if has("editor") || has("raw") {
            bail!("an endpoint has one mode, `endpoint`: leave `editor` and `raw` out of --modes");
        }
        return from_endpoint(args, config, url);
    }
    if has("endpoint") {
        bail!("mode `endpoint` needs --endpoint URL");
    }
    let (editor, raw) = (has("editor"), has("raw"));
    if !editor && !raw {
        return Ok(Chosen {
            generator: None,
            model: ModelId { name: "none".to_owned(), sha256: String::new() },
        });
    }
    let mut settings = lacuna_config::resolve_here(args.model.as_deref())?.strict()?.config;
    settings.latency.deadline_ms = args.deadline.unwrap_or(0);
    match args.order {
        Some(OrderFlag::Psm) => settings.model.order = OrderSetting::Psm,
        Some(OrderFlag::Spm) => settings.model.order = OrderSetting::Spm,
        None => {}
    }
    settings.model.heal = args.heal.or(settings.model.heal);
    settings.model.beam = args.beam.map(usize::from).or(settings.model.beam);
    let precision = if args.f32 { Precision::F32 } else { Precision::Int4 };
    let loaded = models::load_as(&settings.model.path, precision, settings.model.device.0)?;
    let mut used = Settings { background: false, ..loaded.settings(&settings)? };
    used.suffix.weight = args.suffix_weight.unwrap_or(used.suffix.weight);
    used.evidence = Evidence {
        scope: !args.without.contains(&Part::Scope),
        ngrams: !args.without.contains(&Part::Ngrams),
        others: !args.without.contains(&Part::Others),
        suffix: used.suffix.weight > 0.0 && !args.without.contains(&Part::Suffix),
    };
    let completer = loaded.completer_with(used);
    let used = completer.settings().clone();
    let order = used.order;
    config.order = if order == Order::Psm { "psm" } else { "spm" }.to_owned();
    config.heal = used.heal;
    config.beam = used.beam;
    config.without = args.without.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
    config.deadline_ms = settings.latency.deadline_ms;
    config.suffix_weight = if used.evidence.suffix { used.suffix.weight } else { 0.0 };
    config.prompt_tokens = used.prompt_tokens;
    config.line_tokens = used.line_tokens;
    config.block_tokens = used.block_tokens;
    config.min_confidence = used
        .min_confidence
        .unwrap_or_else(|| used.calibration.as_ref().map_or(0.0, |c| c.levels().normal));
    config.kv_dtype =
        used.kv_dtype.map_or_else(|| "auto".to_owned(), |d| format!("{d:?}").to_lowercase());
    config.languages = Languages::new(&settings.show, loaded.languages.as_deref()).on();
    let raw_settings = RawSettings {
        order,
        context: config.context,
        prompt_tokens: used.prompt_tokens,
        max_tokens: config.max_tokens,
        line_tokens: used.line_tokens,
        samples: config.samples,
        temperature: config.temperature,
        top_p: 0.95,
        seed: config.seed,
        batch: usize::from(args.batch),
    };
    let sha256 = sha256(&settings.model.path)?;
    let name = if args.f32 { format!("{} (f32)", loaded.name) } else { loaded.name.clone() };
    let parts =
        (Arc::clone(&loaded.model), Arc::clone(&loaded.tokenizer), loaded.sentinels.clone());
    let generator =
        ModelGenerator::new(parts, editor.then_some(completer), (raw, true), raw_settings, jobs);
    config.batch = generator.batch();
    Ok(Chosen { generator: Some(Box::new(generator)), model: ModelId { name, sha256 } })
}

/// SHA-256 of the weights and the tokenizer behind `path`, in hexadecimal: of a folder, that of the
/// hashes of its files in order of their names.
fn sha256(path: &str) -> anyhow::Result<String> {
    if path.is_empty() || path == models::EMBEDDED {
        return Ok(sha256_of_parts(&[models::EMBEDDED_WEIGHTS, models::EMBEDDED_TOKENIZER]));
    }
    let place = Path::new(path);
    let mut files = if place.is_dir() {
        let named = |p: &Path| p.extension().is_some_and(|e| e == "safetensors" || e == "json");
        std::fs::read_dir(place)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| named(p))
            .collect()
    } else {
        vec![place.to_owned(), place.with_file_name("tokenizer.json")]
    };
    files.sort();
    let hashes: Vec<String> = files
        .iter()
        .map(|file| sha256_of_file(file).with_context(|| format!("{}", file.display())))
        .collect::<anyhow::Result<_>>()?;
    let parts: Vec<&[u8]> = hashes.iter().map(String::as_bytes).collect();
    Ok(sha256_of_parts(&parts))
}

fn from_endpoint(args: &Args, config: &mut RunConfig, url: &str) -> anyhow::Result<Chosen> {
    let timeout = Duration::from_secs(args.endpoint_timeout);
    let (url, protocol) = endpoint::resolve(url, timeout)?;
    if let Some(template) = &args.fim_template
        && (!template.contains("{prefix}") || !template.contains("{suffix}"))
    {
        bail!("--fim-template {template:?} must contain {{prefix}} and {{suffix}}");
    }
    let api_key = args.api_key_file.as_deref().map(read_key).transpose()?;
    config.order = "endpoint".to_owned();
    let settings = endpoint::Settings {
        url: url.clone(),
        protocol,
        api_key,
        model: args.endpoint_model.clone(),
        template: args.fim_template.clone(),
        context: config.context,
        max_tokens: config.max_tokens,
        line_tokens: config.line_tokens,
        samples: config.samples,
        temperature: config.temperature,
        seed: config.seed,
        timeout,
    };
    let name = args
        .endpoint_model
        .as_ref()
        .map_or_else(|| url.clone(), |model| format!("{model} at {url}"));
    Ok(Chosen {
        generator: Some(Box::new(EndpointGenerator::new(settings))),
        model: ModelId { name, sha256: String::new() },
    })
}

fn read_key(path: &Path) -> anyhow::Result<String> {
    let name = || format!("--api-key-file {}", path.display());
    private::check_secret(path).with_context(name)?;
    if std::fs::metadata(path).with_context(name)?.len() > MAX_KEY_BYTES {
        bail!("{} is too long for a key", name());
    }
    let key = std::fs::read_to_string(path).with_context(name)?.trim().to_owned();
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("{} holds no key: one line of visible ASCII is wanted", name());
    }
    Ok(key)
}
