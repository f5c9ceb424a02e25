//! Property tests of the kernels: every row of the table that this CPU can run against the scalar
//! specification.

mod attention;
mod int4;
mod isa;
mod ops;
mod random;
mod team;
