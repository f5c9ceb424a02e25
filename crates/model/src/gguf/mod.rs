//! GGUF, the file format of llama.cpp: reading one, and writing one from a directory in Hugging
//! Face layout.
//!
//! [`encoding`] names the encodings of weights, [`decode`] and [`encode`] are their bits. [`read`]
//! and [`container`] own the bytes around them. [`config`] says what a file's metadata mean, and
//! [`convert`] what a model becomes in one: names, the order of rows, hyperparameters. The weights
//! are handed out by [`crate::source`]. The tokenizer is text: its metadata go to the caller and
//! come from there, as [`Value`]s. Versions 2 and 3, little-endian, as in ggml's `docs/gguf.md`;
//! names and order of rows as in llama.cpp's `convert_hf_to_gguf.py`.

pub(crate) mod config;
mod container;
mod convert;
mod decode;
mod encode;
mod encoding;
pub(crate) mod read;

pub use container::Value;
pub use convert::{ConvertError, Converted, Options, convert};
pub use encoding::Encoding;
pub use read::GgufError;
