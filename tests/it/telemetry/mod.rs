//! Telemetry of the real binary: sessions as editors have them, and what the commands tell about
//! them.

mod commands;
mod editor;
mod replay;
mod sessions;
