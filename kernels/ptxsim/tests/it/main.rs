//! The simulator by its public boundary: opcodes against plain Rust, planted faults, counters, and
//! the kernels that ship.

mod counters;
mod faults;
mod matrix;
mod mutations;
mod opcodes;
mod random;
mod shipped;
mod support;
mod warp;
