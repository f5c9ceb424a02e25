//! Tests of the boundary of `lacuna-eval`: sets in, examples out.

mod builds;
mod formats;
mod records;
mod repository;
mod tables;
