//! `lacuna fim-eval confidence`: what is known of the lines that are shown, and whether they are
//! right; `datasets/embedded/fit_confidence.py` reads it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use lacuna_complete::Settings;
use lacuna_engine::Cancel;
use lacuna_eval::Example;
use lacuna_eval::example::Rows;
use lacuna_eval::generate::{confidence, confidence_header};
use lacuna_serving::models;

use crate::Answer;

/// Print what is known of the line that is shown for each example, and whether it is right
#[derive(ClapArgs)]
#[command(hide = true)]
pub struct Args {
    /// Examples in the format of `fim-eval build`
    set: PathBuf,
    /// Examples that are looked at, from the first
    #[arg(long, default_value_t = usize::MAX, value_name = "N", hide_default_value = true)]
    limit: usize,
    /// Model [default: the embedded one]
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let mut settings = lacuna_config::resolve_here(args.model.as_deref())?.strict()?.config;
    settings.latency.deadline_ms = 0;
    let loaded = models::load_configured(&settings.model)?;
    let completer =
        loaded.completer_with(Settings { background: false, ..loaded.settings(&settings)? });
    let mut out = std::io::stdout().lock();
    out.write_all(confidence_header().as_bytes())?;
    for row in Rows::<Example>::open(&args.set)?.take(args.limit) {
        out.write_all(confidence(&completer, &row?, &Cancel::new()).as_bytes())?;
        // A part of the rows is of use when the time is up.
        out.flush()?;
    }
    Ok(Answer::Yes)
}
