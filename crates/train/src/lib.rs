//! Training: mining a corpus, the tokenizer, fill-in-the-middle documents, packing; and the trainer
//! of the embedded model.

mod excerpts;
pub mod fim;
pub mod markers;
pub mod mine;
pub mod once;
pub mod pack;
pub mod recipe;
pub mod synth;
pub mod tokenizer;
pub mod trainer;
pub mod trim;
