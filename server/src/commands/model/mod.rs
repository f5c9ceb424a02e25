//! `lacuna model`: what models there are, whether they load, packing, converting, and models of
//! random weights.

mod convert;
mod progress;
mod synth;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use lacuna_model::Card;
use lacuna_serving::models;

use crate::Answer;

/// List, inspect, check and pack models
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The models that --model takes by name
    List,
    /// Architecture, size and fill-in-the-middle markers of a model
    Info {
        /// `embedded`, a directory in Hugging Face layout, or a packed file
        model: String,
    },
    /// Load a model completely and let it complete something; exit code 1 and a reason if it cannot
    /// be used
    Verify {
        /// `embedded`, a directory in Hugging Face layout, or a packed file
        model: String,
    },
    /// Quantise a directory in Hugging Face layout to one INT4 file, or change what a packed file
    /// says of its model
    Pack {
        /// The directory, or a packed file: of it only what the options say is changed
        directory: PathBuf,
        /// The file to write (`NAME.lacuna.safetensors`); the tokenizer is put beside it
        #[arg(short, long)]
        output: PathBuf,
        /// LSP ids of the languages that it was trained for: others are off unless show.languages
        /// says otherwise [default: as config.json says]
        #[arg(long, value_delimiter = ',', value_name = "LIST")]
        languages: Option<Vec<String>>,
        /// JSON with the weights by which the model says how likely a suggestion is right
        /// (datasets/embedded/fit_confidence.py) [default: as config.json says]
        #[arg(long, value_name = "FILE")]
        confidence: Option<PathBuf>,
        /// Nats of a line for a nat of the text right of the cursor behind it; 0: that is not asked
        /// (datasets/choosing.py says what it is worth) [default: as config.json says]
        #[arg(long, value_name = "W", value_parser = suffix_weight)]
        suffix_weight: Option<f32>,
    },
    Synth(synth::Args),
    Convert(convert::Args),
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let mut out = std::io::stdout().lock();
    match &args.command {
        Command::List => writeln!(out, "{}", models::EMBEDDED)?,
        Command::Info { model } => {
            let loaded = models::load(model)?;
            for (name, value) in facts(&loaded) {
                writeln!(out, "{name:<12} {value}")?;
            }
        }
        Command::Verify { model } => {
            if let Err(error) = models::load(model).and_then(|loaded| loaded.try_out()) {
                writeln!(out, "{model}: {error:#}")?;
                return Ok(Answer::No);
            }
            writeln!(out, "{model}: ok")?;
        }
        Command::Pack { directory, output, languages, confidence, suffix_weight } => {
            // The tokenizer is checked first: weights without it are of no use.
            models::load(&directory.display().to_string())?;
            let confidence = confidence.as_deref().map(models::read_confidence).transpose()?;
            let card = Card {
                languages: languages.as_deref(),
                confidence: confidence.as_ref(),
                suffix_weight: *suffix_weight,
            };
            let is_packed = directory.is_file();
            if is_packed {
                lacuna_model::describe(directory, output, &card)?;
            } else {
                lacuna_model::pack_for(directory, output, &card)?;
            }
            let beside = if is_packed {
                directory.with_file_name("tokenizer.json")
            } else {
                directory.join("tokenizer.json")
            };
            let tokenizer = output.with_file_name("tokenizer.json");
            if std::path::absolute(&beside)? != std::path::absolute(&tokenizer)? {
                std::fs::copy(&beside, &tokenizer)
                    .with_context(|| format!("{} cannot be written", tokenizer.display()))?;
            }
            crate::say(&format!(
                "wrote {} ({} bytes)",
                output.display(),
                std::fs::metadata(output)?.len()
            ));
        }
        Command::Synth(args) => synth::run(args)?,
        Command::Convert(args) => convert::run(args)?,
    }
    Ok(Answer::Yes)
}

/// A weight of the text right of the cursor, as a model's config may have it.
pub fn suffix_weight(text: &str) -> Result<f32, String> {
    let weight: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=10.0).contains(&weight) { Ok(weight) } else { Err("use 0 to 10".to_owned()) }
}

/// Lines about a model, for `info` and `doctor`.
pub fn facts(loaded: &models::Loaded) -> Vec<(&'static str, String)> {
    let (spec, info, s) = (loaded.model.spec(), loaded.model.info(), &loaded.sentinels);
    let attention = spec.attention();
    vec![
        ("model", loaded.name.clone()),
        (
            "shape",
            format!(
                "{:?}, {} layers, width {}, {} heads ({} for keys), feed-forward {}, context {}",
                spec.family,
                spec.layers(),
                spec.hidden,
                attention.heads,
                attention.kv_heads,
                spec.mlp().width,
                spec.max_positions
            ),
        ),
        (
            "weights",
            format!(
                "{:.1} M parameters, {:.1} MB as {:?}",
                info.parameters as f64 / 1e6,
                info.bytes as f64 / 1e6,
                info.precision
            ),
        ),
        ("tokenizer", format!("{} ids", loaded.tokenizer.n_vocab())),
        (
            "infill",
            format!(
                "{} markers: prefix {}, suffix {}, middle {}",
                s.family, s.prefix, s.suffix, s.middle
            ),
        ),
    ]
}
