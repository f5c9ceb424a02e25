//! One module a command; each has its `Args` and a `run`.

pub mod complete;
pub mod config;
pub mod doctor;
pub mod fim_eval;
pub mod finetune;
pub mod model;
pub mod shell;
pub mod telemetry;
