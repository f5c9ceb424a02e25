//! Documents through their public boundary: positions, edits, and both against a naive model.

mod edits;
mod mirror;
mod model;
mod positions;
