//! The simulator by its public boundary: opcodes against plain Rust, planted faults, counters, and the kernels that ship.

mod counters;
mod faults;
mod matrix;
mod opcodes;
mod random;
mod support;
mod warp;
