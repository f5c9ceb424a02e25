//! `lacuna model synth`: a model of random weights in the shape of a published one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lacuna_model::FAMILIES;
use lacuna_model::synth::{SHAPES, Shape, shape, write};
use lacuna_serving::models;
use lacuna_train::synth::{Style, tokenizer};

use super::progress::Progress;

/// Write a model of random weights in the shape of a published one, to measure speed with
///
/// The directory has Hugging Face layout (bf16 weights, config, tokenizer) and loads here, in
/// transformers and, converted, in llama.cpp. What it says is noise; how fast it says it is real.
#[derive(clap::Args)]
pub struct Args {
    /// The shape, for example qwen2.5-coder-0.5b; an unknown one lists them all
    #[arg(long, value_name = "SHAPE")]
    like: String,
    /// The directory to write; it must be new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Equal seeds give equal files, on every machine
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let Some(shape) = shape(&args.like) else {
        let names: Vec<&str> = SHAPES.iter().map(|s| s.name).collect();
        let known = FAMILIES.map(|family| family.name).join(", ");
        bail!(
            "--like {}: no such shape of a supported family ({known}); use one of {}",
            args.like,
            names.join(", ")
        );
    };
    let dir = &args.output;
    let shown = dir.display();
    let is_new = !dir.exists();
    if !is_new && !dir.is_dir() {
        bail!("-o {shown} is a file: give a new directory");
    }
    std::fs::create_dir_all(dir).with_context(|| format!("-o {shown} cannot be created"))?;
    let mut entries =
        std::fs::read_dir(dir).with_context(|| format!("-o {shown} cannot be read"))?;
    if entries.next().is_some() {
        bail!("-o {shown} is not empty: give a new directory");
    }
    // Everything is written here and moved once it is complete.
    let stage = dir.join(format!(".{}.tmp", std::process::id()));
    let result =
        fill(shape, args.seed, &stage).and_then(|bytes| publish(&stage, dir).map(|()| bytes));
    // On success it is empty; on failure nothing in it is the user's.
    let _ = std::fs::remove_dir_all(&stage);
    if result.is_err() && is_new {
        let _ = std::fs::remove_dir(dir);
    }
    crate::say(&format!("wrote {shown} ({} in bf16, seed {})", size(result?), args.seed));
    Ok(())
}

/// Writes all files of the model into `stage`. Returns the bytes of its weights.
fn fill(shape: &Shape, seed: u64, stage: &Path) -> anyhow::Result<u64> {
    std::fs::create_dir(stage).with_context(|| format!("{} cannot be created", stage.display()))?;
    let put = |name: &str, text: &[u8]| {
        let path = stage.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    let files = tokenizer(models::EMBEDDED_TOKENIZER, Style::of_shape(shape.name), shape.n_vocab)?;
    put("tokenizer_config.json", files.config.as_bytes())?;
    let own = shape.name == models::EMBEDDED;
    put(
        "tokenizer.json",
        if own { models::EMBEDDED_TOKENIZER } else { files.tokenizer.as_bytes() },
    )?;
    let mut progress = Progress::new()?;
    Ok(write(shape, seed, stage, |done, total| progress.show(done, total))?)
}

/// Moves the files to where they belong, `config.json` last: without it there is no model.
fn publish(stage: &Path, dir: &Path) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(stage)? {
        names.push(entry?.file_name());
    }
    names.sort_by_key(|name| name == "config.json");
    for name in names {
        std::fs::rename(stage.join(&name), dir.join(&name))
            .with_context(|| format!("{} cannot be written", dir.join(&name).display()))?;
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.2} GB", bytes as f64 / 1e9)
    }
}
