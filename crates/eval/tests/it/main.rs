//! Tests of the boundary of `lacuna-eval`: sets in, examples out.

mod formats;
mod records;
