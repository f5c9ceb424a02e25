//! lacuna-plot: charts as SVG text. No script, no numbers of its own.
//!
//! [`page`] draws for a page with a style and a script (telemetry's report), [`file`] for files
//! that stand alone (the benchmarks'), [`study`] for a page without a script (`fim-eval`'s report).

mod axis;
pub mod file;
pub mod page;
pub mod study;
mod svg;

pub use svg::escaped;
