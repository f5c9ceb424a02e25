//! `lacuna model convert`: a Hugging Face directory as a file of another engine.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lacuna_model::gguf::{self, Encoding, Options, Value};
use lacuna_model::read_spec;
use lacuna_prompt::vocabulary::{PieceKind, Vocabulary};
use lacuna_prompt::{Sentinels, Tokenizer};

use super::progress::Progress;

/// Convert a directory in Hugging Face layout to a GGUF file, which llama.cpp loads
#[derive(clap::Args)]
pub struct Args {
    /// The directory: config.json, *.safetensors and tokenizer.json of a Llama or Qwen model
    directory: PathBuf,
    /// The format to write
    #[arg(long, value_enum)]
    to: Format,
    /// How matrices are stored; norms and biases are always f32
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "f16")]
    matrices: Type,
    /// How the embedding and the vocabulary projection are stored [default: as --type; q8_0 for
    /// q4_0]
    #[arg(long, value_enum, value_name = "TYPE")]
    head: Option<Type>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Gguf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Type {
    F16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

impl Type {
    fn encoding(self) -> Encoding {
        match self {
            Type::F16 => Encoding::F16,
            Type::Q8_0 => Encoding::Q8_0,
            Type::Q4_0 => Encoding::Q4_0,
        }
    }

    /// As llama-quantize does it: the vocabulary projection of a 4-bit file keeps more bits.
    fn head(self) -> Type {
        match self {
            Type::Q4_0 => Type::Q8_0,
            other => other,
        }
    }
}

/// Larger files of JSON are refused before they are read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let Format::Gguf = args.to;
    let (dir, out) = (&args.directory, &args.output);
    let shown = dir.display();
    if !dir.exists() {
        bail!("{shown} does not exist: give a directory in Hugging Face layout");
    }
    if !dir.is_dir() {
        bail!(
            "{shown} is not a directory: give the directory with its config.json, weights and tokenizer.json"
        );
    }
    if out.is_dir() {
        bail!(
            "-o {} is a directory: give the file to write, for example {}",
            out.display(),
            out.join("model.gguf").display()
        );
    }
    let config_file = dir.join("config.json");
    if !config_file.is_file() {
        bail!(
            "{shown} holds no model: expected config.json, *.safetensors and tokenizer.json in it"
        );
    }
    let config_text = read(&config_file, MAX_CONFIG_BYTES)?;
    let spec = read_spec(&config_text).with_context(|| config_file.display().to_string())?;
    let tokenizer_file = dir.join("tokenizer.json");
    if !tokenizer_file.is_file() {
        bail!("{shown} has no tokenizer: put its tokenizer.json there");
    }
    let metadata = tokenizer_metadata(
        &read(&tokenizer_file, MAX_TOKENIZER_BYTES)?,
        &config_text,
        spec.n_vocab,
    )
    .with_context(|| tokenizer_file.display().to_string())?;

    let options = Options {
        name: std::path::absolute(dir)?
            .file_name()
            .map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned()),
        matrices: args.matrices.encoding(),
        head: args.head.unwrap_or(args.matrices.head()).encoding(),
        metadata,
    };
    let mut progress = Progress::new()?;
    let done = gguf::convert(dir, out, &options, |done, total| progress.show(done, total))?;
    drop(progress);
    if let Some(first) = done.kept_f16.first() {
        let n = done.kept_f16.len();
        crate::say(&format!(
            "{n} tensors stay f16: their rows are not a multiple of 32 long ({first} and the like)"
        ));
    }
    crate::say(&format!(
        "wrote {} ({} tensors, {:.1} MB)",
        out.display(),
        done.tensors,
        done.bytes as f64 / 1e6
    ));
    Ok(())
}

fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes));
    file.with_context(|| format!("{} cannot be read", path.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} is larger than {limit} bytes: download it again", path.display());
    }
    Ok(bytes)
}

/// The `tokenizer.ggml.*` part of the metadata.
fn tokenizer_metadata(
    file: &[u8],
    config_text: &[u8],
    n_vocab: usize,
) -> anyhow::Result<Vec<(String, Value)>> {
    let tokenizer = Tokenizer::from_json(file)?;
    let vocabulary = Vocabulary::from_json(file, n_vocab)?;
    if vocabulary.cut.is_none() {
        crate::say(
            "llama.cpp has no name for how this tokenizer cuts text (\"default\" is written): it may split text elsewhere",
        );
    }
    let ggml_kind = |kind: &PieceKind| match kind {
        PieceKind::Normal => 1,
        PieceKind::Control => 3,
        PieceKind::Whole => 4,
        PieceKind::Unused => 5,
    };
    let kinds = vocabulary.pieces.iter().map(|(_, kind)| ggml_kind(kind)).collect();
    let text = |v: &str| Value::String(v.to_owned());
    let mut all = vec![
        ("model", text("gpt2")),
        ("pre", text(vocabulary.cut.unwrap_or("default"))),
        ("add_bos_token", Value::Bool(tokenizer.bos().is_some())),
        ("tokens", Value::Strings(vocabulary.pieces.into_iter().map(|(piece, _)| piece).collect())),
        ("token_type", Value::I32s(kinds)),
        ("merges", Value::Strings(vocabulary.merges)),
    ];
    let mut id =
        |key: &'static str, id: Option<u32>| all.extend(id.map(|id| (key, Value::U32(id))));
    id("bos_token_id", tokenizer.bos().or(config_id(config_text, "bos_token_id", n_vocab)));
    id("eos_token_id", config_id(config_text, "eos_token_id", n_vocab));
    // A model without markers converts too: it only cannot infill.
    if let Ok(s) = Sentinels::resolve(&tokenizer) {
        id("fim_pre_token_id", Some(s.prefix));
        id("fim_suf_token_id", Some(s.suffix));
        id("fim_mid_token_id", Some(s.middle));
        id("fim_pad_token_id", s.pad);
        id("fim_rep_token_id", s.repo);
        id("fim_sep_token_id", s.file);
    }
    Ok(all.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect())
}

/// A token id of `config.json`: a number, or the first of a list.
fn config_id(config_text: &[u8], key: &str, n_vocab: usize) -> Option<u32> {
    let json: serde_json::Value = serde_json::from_slice(config_text).ok()?;
    let id = json[key].as_u64().or_else(|| json[key][0].as_u64())?;
    u32::try_from(id).ok().filter(|id| (*id as usize) < n_vocab)
}
