//! GGUF, the file format of llama.cpp: writing one from a directory in Hugging Face layout.
//!
//! [`container`] owns the bytes of the format, [`blocks`] the encodings of weights, [`convert`]
//! what a model becomes: names, the order of rows, hyperparameters. The tokenizer is text: its
//! metadata come from the caller, as [`Value`]s. Start at [`convert`]. Version 3, little-endian, as
//! in ggml's `docs/gguf.md`; names and order of rows as in llama.cpp's `convert_hf_to_gguf.py`.

mod blocks;
mod container;
mod convert;

pub use blocks::Encoding;
pub use container::Value;
pub use convert::{ConvertError, Converted, Options, convert};
