//! Training: mining a corpus, the tokenizer, fill-in-the-middle documents, packing; and the trainer of the embedded model.

pub mod fim;
pub mod markers;
pub mod mine;
pub mod pack;
pub mod synth;
pub mod tokenizer;
pub mod trainer;
