//! A pretrained model made smaller before it is trained: fewer tokens, fewer layers.
//!
//! Tokens: the pieces that a corpus uses most, closed under merging: a piece stays only with the
//! two pieces that it is merged from, so that whatever stays can be reached. Special tokens and the
//! 256 bytes stay in any case, special tokens with their ids, and any text still encodes and
//! decodes to itself. Layers: a layer whose output projections are zero does nothing; those that
//! are missed least go.

use std::collections::HashMap;

use lacuna_prompt::{Tokenizer, TokenizerError};
use rayon::prelude::*;
use serde_json::Value;

use crate::mine::Document;
use crate::trainer::{Batch, Layout, Losses, Model, Row, Shape, Shards, TrainError};

/// Why a model cannot be trimmed.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error("the tokenizer is no byte-level BPE with a vocabulary and merges: {what}")]
    NotBpe { what: &'static str },
    #[error(
        "{wanted} tokens: the special tokens and single bytes alone are {least}, the tokenizer has {all}"
    )]
    Size { wanted: usize, least: usize, all: usize },
    #[error(
        "layers {drop:?} of {layers}: name layers that there are, each once, and leave one at least"
    )]
    Layers { drop: Vec<usize>, layers: usize },
}

/// A smaller tokenizer.
#[derive(Debug, Clone)]
pub struct Trimmed {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// By new id: the id before. Ascending.
    pub kept: Vec<u32>,
}

/// How often each id is used in `documents`, of which `max_bytes` are looked at, evenly spread.
pub fn counts(tokenizer: &Tokenizer, documents: &[Document], max_bytes: usize) -> Vec<u64> {
    let all: usize = documents.iter().map(|d| d.text.len()).sum();
    let step = all.div_ceil(max_bytes.max(1)).max(1);
    let chosen: Vec<&Document> = documents.iter().step_by(step).collect();
    let parts: Vec<Vec<u64>> = chosen
        .par_chunks(64)
        .map(|chunk| {
            let mut counts = vec![0u64; tokenizer.n_vocab()];
            for d in chunk {
                for id in tokenizer.encode(&d.text) {
                    counts[id as usize] += 1;
                }
            }
            counts
        })
        .collect();
    let mut total = vec![0u64; tokenizer.n_vocab()];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}

/// The tokenizer with the `n_vocab` most used tokens, as far as they close; `counts` are by id.
pub fn tokens(tokenizer_json: &[u8], counts: &[u64], n_vocab: usize) -> Result<Trimmed, TrimError> {
    // What is no tokenizer is told as everywhere.
    Tokenizer::from_json(tokenizer_json)?;
    let malformed = |what| TrimError::NotBpe { what };
    let mut json: Value = serde_json::from_slice(tokenizer_json).map_err(TokenizerError::Json)?;
    let vocab: HashMap<String, u32> = serde_json::from_value(json["model"]["vocab"].clone())
        .map_err(|_| malformed("`model.vocab` is no map of pieces to ids"))?;
    let merges: Vec<(String, String)> = json["model"]["merges"]
        .as_array()
        .ok_or(malformed("no `model.merges`"))?
        .iter()
        .map(|m| pair(m).ok_or(malformed("a merge is no pair")))
        .collect::<Result<_, _>>()?;
    let special: HashMap<u32, &str> = json["added_tokens"]
        .as_array()
        .map(|list| {
            list.iter()
                .filter_map(|t| {
                    Some((u32::try_from(t["id"].as_u64()?).ok()?, t["content"].as_str()?))
                })
                .collect()
        })
        .unwrap_or_default();
    let all = vocab.values().chain(special.keys()).max().map_or(0, |id| *id as usize + 1);
    // The first merge that makes a piece is the one that encoding finds first.
    let mut parts: HashMap<u32, [u32; 2]> = HashMap::new();
    for (left, right) in &merges {
        if let (Some(&l), Some(&r), Some(&whole)) =
            (vocab.get(left), vocab.get(right), vocab.get(&format!("{left}{right}")))
        {
            parts.entry(whole).or_insert([l, r]);
        }
    }
    let mut keep = vec![false; all];
    let mut n = 0;
    for id in vocab.values().chain(special.keys()).copied() {
        if !std::mem::replace(
            &mut keep[id as usize],
            special.contains_key(&id) || !parts.contains_key(&id),
        ) && keep[id as usize]
        {
            n += 1;
        }
    }
    if n_vocab < n || n_vocab > all {
        return Err(TrimError::Size { wanted: n_vocab, least: n, all });
    }
    let mut order: Vec<u32> = parts.keys().copied().filter(|id| !keep[*id as usize]).collect();
    order.sort_unstable_by_key(|id| {
        (std::cmp::Reverse(counts.get(*id as usize).copied().unwrap_or(0)), *id)
    });
    for id in order {
        let needed = missing(id, &parts, &keep);
        if n + needed.len() <= n_vocab {
            n += needed.len();
            needed.into_iter().for_each(|id| keep[id as usize] = true);
        }
    }
    let kept: Vec<u32> = (0..all as u32).filter(|id| keep[*id as usize]).collect();
    let new: HashMap<u32, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let stays = |piece: &str| vocab.get(piece).is_some_and(|id| keep[*id as usize]);
    let merges: Vec<Value> = json["model"]["merges"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|m| {
            pair(m).is_some_and(|(l, r)| stays(&l) && stays(&r) && stays(&format!("{l}{r}")))
        })
        .cloned()
        .collect();
    let mut by_id: Vec<(&String, usize)> =
        vocab.iter().filter_map(|(piece, id)| Some((piece, *new.get(id)?))).collect();
    by_id.sort_by_key(|(_, id)| *id);
    let vocab: serde_json::Map<String, Value> =
        by_id.into_iter().map(|(piece, id)| (piece.clone(), id.into())).collect();
    for token in json["added_tokens"].as_array_mut().into_iter().flatten() {
        if let Some(id) = token["id"].as_u64().and_then(|id| new.get(&u32::try_from(id).ok()?)) {
            token["id"] = (*id).into();
        }
    }
    json["model"]["vocab"] = vocab.into();
    json["model"]["merges"] = merges.into();
    let tokenizer = json.to_string().into_bytes();
    Tokenizer::from_json(&tokenizer)?;
    Ok(Trimmed { tokenizer, kept })
}

/// A piece and all that it is merged from, as far as it is not kept yet.
fn missing(id: u32, parts: &HashMap<u32, [u32; 2]>, keep: &[bool]) -> Vec<u32> {
    let (mut found, mut open) = (Vec::new(), vec![id]);
    while let Some(id) = open.pop() {
        if !keep[id as usize] && !found.contains(&id) {
            found.push(id);
            open.extend(parts.get(&id).into_iter().flatten());
        }
    }
    found
}

/// `"a b"`, or the pair `["a", "b"]` of newer files.
fn pair(merge: &Value) -> Option<(String, String)> {
    match merge {
        Value::String(text) => text.split_once(' ').map(|(l, r)| (l.to_owned(), r.to_owned())),
        Value::Array(parts) => {
            Some((parts.first()?.as_str()?.to_owned(), parts.get(1)?.as_str()?.to_owned()))
        }
        _ => None,
    }
}

/// The parameters with the embeddings of `kept` only.
///
/// Panics: if the parameters do not fit the shape, or an id is not below its vocabulary.
pub fn with_tokens(parameters: &[f32], shape: &Shape, kept: &[u32]) -> (Shape, Vec<f32>) {
    assert_eq!(parameters.len(), shape.n_parameters(), "parameters do not fit the model");
    let (d, embedding) = (shape.d, shape.vocab * shape.d);
    let mut out = Vec::with_capacity(parameters.len());
    kept.iter()
        .for_each(|&id| out.extend_from_slice(&parameters[..embedding][id as usize * d..][..d]));
    out.extend_from_slice(&parameters[embedding..]);
    (Shape { vocab: kept.len(), ..shape.clone() }, out)
}

/// The parameters without the layers of these numbers.
pub fn without_layers(
    parameters: &[f32],
    shape: &Shape,
    drop: &[usize],
) -> Result<(Shape, Vec<f32>), TrimError> {
    let mut distinct = drop.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() != drop.len()
        || drop.len() >= shape.layers
        || drop.iter().any(|l| *l >= shape.layers)
    {
        return Err(TrimError::Layers { drop: drop.to_vec(), layers: shape.layers });
    }
    let layout = Layout::new(shape);
    let stays = layout.tensors.iter().filter(|t| t.layer.is_none_or(|l| !drop.contains(&l)));
    let out = stays.flat_map(|t| parameters[t.range.clone()].iter().copied()).collect();
    Ok((Shape { layers: shape.layers - drop.len(), ..shape.clone() }, out))
}

/// The `n` layers that are missed least: one after the other, each time the one without which the
/// loss on the first `rows` validation rows is lowest. Told to `progress` with the loss (nats a
/// token) without it and those before it.
///
/// Errors: shards that do not fit the model or have no validation rows.
pub fn least_missed(
    parameters: &[f32],
    shape: &Shape,
    shards: &Shards,
    (n, rows): (usize, usize),
    row: Row,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<Vec<usize>, TrimError> {
    if n >= shape.layers {
        return Err(TrimError::Layers { drop: (0..n).collect(), layers: shape.layers });
    }
    if shards.n_vocab != shape.vocab || shards.validation.is_empty() {
        let what = format!(
            "the shards have {} tokens and {} validation rows, the model {}",
            shards.n_vocab,
            shards.validation.len(),
            shape.vocab
        );
        return Err(TrainError::Config(what).into());
    }
    let mut model = Model::new(shape, row, shards.seq_len)?;
    let mut loss = |p: &[f32]| {
        let mut losses = Losses::default();
        let mut batch = Batch::default();
        for i in 0..rows.clamp(1, shards.validation.len()) {
            batch.clear();
            batch.push_row(shards.validation.row(i), shards.markers, 1.0);
            losses.add(&model.losses(p, &batch)?);
        }
        Ok::<f64, TrainError>(losses.mean())
    };
    let layout = Layout::new(shape);
    let outputs = |l: usize| [layout.layers[l].o.clone(), layout.layers[l].down.clone()];
    let mut p = parameters.to_vec();
    let mut dropped: Vec<usize> = Vec::new();
    for _ in 0..n {
        let mut best: Option<(f64, usize)> = None;
        for l in (0..shape.layers).filter(|l| !dropped.contains(l)) {
            outputs(l).into_iter().for_each(|range| p[range].fill(0.0));
            let without = loss(&p)?;
            outputs(l)
                .into_iter()
                .for_each(|range| p[range.clone()].copy_from_slice(&parameters[range]));
            if best.is_none_or(|(least, _)| without < least) {
                best = Some((without, l));
            }
        }
        let Some((without, l)) = best else { break };
        outputs(l).into_iter().for_each(|range| p[range].fill(0.0));
        dropped.push(l);
        progress(l, without);
    }
    dropped.sort_unstable();
    Ok(dropped)
}
