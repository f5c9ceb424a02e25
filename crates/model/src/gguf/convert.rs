//! From a checkpoint in Hugging Face layout to a GGUF file: names, order of rows, hyperparameters.
//!
//! Memory stays small whatever the model: weights are read from the map, encoded and written some
//! thousand rows at a time.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use crate::error::LoadError;
use crate::family::read_spec;
use crate::gguf::container::{self, ALIGNMENT, Entry};
use crate::gguf::{Encoding, Value};
use crate::role::{Role, TensorSpec};
use crate::rope::{RopeScaling, RopeSpec};
use crate::source::safetensors::{Checkpoint, Taken, containers};
use crate::source::{WeightSource, read_config_text};
use crate::spec::ModelSpec;
use crate::whole::{unwritten, write_whole};

/// Values encoded at once.
const CHUNK: usize = 1 << 20;

/// What the file shall hold beside the weights themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Name of the model in the metadata.
    pub name: String,
    /// Encoding of matrices; vectors are always F32.
    pub matrices: Encoding,
    /// Encoding of the embedding and of the vocabulary projection.
    pub head: Encoding,
    /// Metadata of the tokenizer, written after those of the architecture.
    pub metadata: Vec<(String, Value)>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    pub bytes: u64,
    pub tensors: usize,
    /// Tensors whose rows are no multiple of 32 and which therefore stay F16, by their GGUF names.
    pub kept_f16: Vec<String>,
}

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("interrupted; nothing was kept")]
    Interrupted,
}

/// A tensor of the source and what becomes of it.
struct Plan {
    tensor: TensorSpec,
    entry: Entry,
    /// Head width, where the rows of each head are to be interleaved.
    interleave: Option<usize>,
}

/// Converts the model in `model_dir` (Hugging Face layout, Llama or Qwen2 family) into `out`; an
/// existing file is replaced at the end, and kept on an error. `progress` gets the bytes written so
/// far and in all; it can stop the work.
///
/// Errors: whatever loading the directory gives, writing, and [`ConvertError::Interrupted`].
pub fn convert(
    model_dir: &Path,
    out: &Path,
    options: &Options,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Converted, ConvertError> {
    let (file, config_text) = read_config_text(model_dir)?;
    let spec =
        read_spec(config_text.as_bytes()).map_err(|source| LoadError::Config { file, source })?;
    let containers = containers(model_dir)?;
    let mut checkpoint = Checkpoint::open(&containers)?;
    let mut plans = Vec::new();
    for tensor in spec.tensors() {
        checkpoint.expect(&tensor)?;
        plans.push(plan(tensor, &spec, options));
    }
    let frequencies = rope_factors(&spec);

    let mut entries: Vec<Entry> = plans.iter().map(|p| p.entry.clone()).collect();
    entries.extend(frequencies.as_ref().map(|f| Entry {
        name: "rope_freqs.weight".to_owned(),
        shape: vec![f.len()],
        encoding: Encoding::F32,
    }));
    let mut metadata = architecture(&spec, options);
    metadata.extend(options.metadata.iter().cloned());
    let header = container::header(&metadata, &entries);
    let padded = |entry: &Entry| entry.bytes().next_multiple_of(ALIGNMENT);
    let total = header.len() as u64 + entries.iter().map(padded).sum::<u64>();

    write_whole(out, |to| {
        let mut done = 0;
        let mut put = |bytes: &[u8]| {
            to.write_all(bytes).map_err(|source| unwritten(out, source))?;
            done += bytes.len() as u64;
            if progress(done, total).is_break() { Err(ConvertError::Interrupted) } else { Ok(()) }
        };
        put(&header)?;
        for plan in &plans {
            let taken = checkpoint.take(&plan.tensor.name, &plan.tensor.shape())?;
            tensor(&taken, plan, &mut put)?;
            put(&padding(&plan.entry))?;
        }
        if let (Some(values), Some(entry)) = (&frequencies, entries.last()) {
            let mut bytes = Vec::new();
            Encoding::F32.encode(values, &mut bytes);
            bytes.extend(padding(entry));
            put(&bytes)?;
        }
        checkpoint.finish(&spec).map_err(ConvertError::from)
    })?;
    let wanted_blocks =
        |p: &&Plan| p.tensor.columns.is_some_and(|k| !wanted(&p.tensor, options).fits(k));
    let kept_f16 = plans.iter().filter(wanted_blocks).map(|p| p.entry.name.clone()).collect();
    Ok(Converted { bytes: total, tensors: entries.len(), kept_f16 })
}

fn padding(entry: &Entry) -> Vec<u8> {
    vec![0; (entry.bytes().next_multiple_of(ALIGNMENT) - entry.bytes()) as usize]
}

/// Encodes and hands out a tensor in runs of whole rows.
fn tensor(
    taken: &Taken,
    plan: &Plan,
    put: &mut impl FnMut(&[u8]) -> Result<(), ConvertError>,
) -> Result<(), ConvertError> {
    let k = plan.tensor.columns.unwrap_or(1);
    // A head's rows are interleaved among themselves: runs are of whole heads.
    let step = plan.interleave.unwrap_or(1);
    let run = (CHUNK / k / step).max(1) * step;
    let (mut values, mut bytes) = (Vec::new(), Vec::new());
    for start in (0..plan.tensor.rows).step_by(run) {
        let rows = start..plan.tensor.rows.min(start + run);
        values.clear();
        taken.append_f32_range(rows.start * k..rows.end * k, &mut values)?;
        if let Some(head_dim) = plan.interleave {
            values = interleave(&values, head_dim, k);
        }
        bytes.clear();
        plan.entry.encoding.encode(&values, &mut bytes);
        put(&bytes)?;
    }
    Ok(())
}

/// Rows of q and k in the order in which llama.cpp's `llama` rotates them: Hugging Face files pair
/// row `i` of a head with row `i + head_dim/2`, there they are neighbours.
fn interleave(values: &[f32], head_dim: usize, k: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * k) {
        let (first, second) = head.split_at(head_dim / 2 * k);
        for (a, b) in first.chunks_exact(k).zip(second.chunks_exact(k)) {
            out.extend_from_slice(a);
            out.extend_from_slice(b);
        }
    }
    out
}

fn plan(tensor: TensorSpec, spec: &ModelSpec, options: &Options) -> Plan {
    let encoding = match tensor.columns {
        None => Encoding::F32,
        Some(k) => Some(wanted(&tensor, options)).filter(|e| e.fits(k)).unwrap_or(Encoding::F16),
    };
    let rotated = matches!(tensor.role, Role::Query | Role::Key);
    let interleave =
        (spec.family.interleaves_in_gguf && rotated).then_some(spec.attention().head_dim);
    let entry = Entry { name: tensor.gguf_name(), shape: tensor.shape(), encoding };
    Plan { tensor, entry, interleave }
}

/// The encoding that the options ask for a matrix.
fn wanted(tensor: &TensorSpec, options: &Options) -> Encoding {
    if tensor.layer.is_some() { options.matrices } else { options.head }
}

/// Metadata of the architecture.
fn architecture(spec: &ModelSpec, options: &Options) -> Vec<(String, Value)> {
    let family = spec.family.gguf;
    let attention = spec.attention();
    let text = |v: &str| Value::String(v.to_owned());
    let number = |v: usize| Value::U32(v as u32);
    // The numbers of llama.cpp's `llama_ftype`.
    let file_type = match options.matrices {
        Encoding::F32 => 0,
        Encoding::Q4_0 => 2,
        Encoding::Q8_0 => 7,
        _ => 1,
    };
    let general = [
        ("architecture", text(family)),
        ("type", text("model")),
        ("name", text(&options.name)),
        ("file_type", Value::U32(file_type)),
        ("quantization_version", Value::U32(2)),
        ("alignment", Value::U32(ALIGNMENT as u32)),
    ];
    let mut own = vec![
        ("vocab_size", number(spec.n_vocab)),
        ("context_length", number(spec.max_positions)),
        ("embedding_length", number(spec.hidden)),
        ("block_count", number(spec.layers())),
        ("feed_forward_length", number(spec.mlp().width)),
        ("attention.head_count", number(attention.heads)),
        ("attention.head_count_kv", number(attention.kv_heads)),
        ("attention.key_length", number(attention.head_dim)),
        ("attention.value_length", number(attention.head_dim)),
        ("attention.layer_norm_rms_epsilon", Value::F32(spec.norm_eps)),
        ("rope.dimension_count", number(attention.head_dim)),
        ("rope.freq_base", Value::F32(spec.rope.theta)),
    ];
    if let RopeScaling::Linear { factor } = spec.rope.scaling {
        own.push(("rope.scaling.type", text("linear")));
        own.push(("rope.scaling.factor", Value::F32(factor)));
    }
    let general = general.into_iter().map(|(key, value)| (format!("general.{key}"), value));
    general.chain(own.into_iter().map(|(key, value)| (format!("{family}.{key}"), value))).collect()
}

/// What llama.cpp divides the frequencies by, for a scaling that is not one factor: `[head_dim/2]`.
fn rope_factors(spec: &ModelSpec) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { .. } = spec.rope.scaling else { return None };
    let head_dim = spec.attention().head_dim;
    let plain = RopeSpec { scaling: RopeScaling::None, ..spec.rope }.inverse_frequencies(head_dim);
    let scaled = spec.rope.inverse_frequencies(head_dim);
    Some(plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_are_interleaved() {
        // Two heads of four rows, one column: 0 and 2, 1 and 3 are pairs.
        assert_eq!(
            interleave(&[0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0], 4, 1),
            [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0]
        );
        // Two columns: rows move as a whole.
        assert_eq!(
            interleave(&[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5], 4, 2),
            [0.0, 0.5, 2.0, 2.5, 1.0, 1.5, 3.0, 3.5]
        );
    }
}
