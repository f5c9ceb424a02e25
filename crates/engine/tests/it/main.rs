//! Tests of the engine at its boundary: token ids in, logits and ids out, files in, errors out.

mod beam;
mod cache;
mod drafting;
mod fixtures;
mod generation;
mod gguf;
mod hostile;
mod moved;
mod packed;
mod parity;
mod pool;
mod prepack;
mod resume;
mod sharing;
