//! The real binary over real pipes: what a user types, what an editor sends, what a hostile file
//! holds.
//!
//! Start reading at [`cli`] and [`lsp`]; [`architecture`] and [`modules`] check the source tree itself.

mod accepted;
mod architecture;
mod bad_input;
mod bench;
mod cli;
mod datasets;
mod editors;
mod fim_eval;
mod first_use;
mod http;
mod latency;
mod lsp;
mod model;
mod modules;
mod replay;
mod sets;
mod telemetry;
mod trust;
mod warm;
