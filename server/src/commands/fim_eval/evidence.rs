//! `lacuna fim-eval evidence`: what model and n-grams say before the tokens of true middles; `datasets/embedded/fit_ngrams.py` reads it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use lacuna_engine::Cancel;
use lacuna_eval::Example;
use lacuna_eval::example::Rows;
use lacuna_eval::generate::evidence;

use crate::{Answer, config, models};

/// Print what the model and the file's n-grams say before each token of true middles
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
    let here = std::env::current_dir()?;
    let settings = config::resolve(config::Near::Inside(&here), None, args.model.as_deref())?.strict()?.config;
    let loaded = models::load(&settings.model.path)?;
    let used = loaded.settings(&settings)?;
    let parts = (&*loaded.model, &*loaded.tokenizer, &loaded.sentinels);
    let mut out = std::io::stdout().lock();
    for row in Rows::<Example>::open(&args.set)?.take(args.limit) {
        out.write_all(evidence(parts, (used.order, used.prompt_tokens), &row?, &Cancel::new())?.as_bytes())?;
    }
    Ok(Answer::Yes)
}
