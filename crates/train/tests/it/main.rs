//! Tests of the data side of training through its public boundary: mining, tokenizer,
//! fill-in-the-middle, packing.

mod corpus;
mod fim;
mod mine;
mod pack;
mod recipe;
mod synth;
mod tokenizer;
mod trim;
