//! Tests of the engine at its boundary: token ids in, logits and ids out, files in, errors out.

mod cache;
mod fixtures;
mod generation;
mod hostile;
mod packed;
mod parity;
