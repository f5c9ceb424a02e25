//! `lacuna fim-eval evidence`: what model, n-grams and suffix say;
//! `datasets/embedded/fit_ngrams.py` and `fit_suffix.py` read it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use lacuna_complete::{Evidence, Settings, Suffix};
use lacuna_engine::Cancel;
use lacuna_eval::Example;
use lacuna_eval::example::Rows;
use lacuna_eval::generate::{evidence, lines_behind_suffix};
use lacuna_serving::models;

use crate::Answer;

/// Print what the weights of evidence are fitted on
#[derive(ClapArgs)]
#[command(hide = true)]
pub struct Args {
    /// Examples in the format of `fim-eval build`
    set: PathBuf,
    #[arg(long, value_enum, default_value_t = Of::Ngrams)]
    of: Of,
    /// Examples that are looked at, from the first
    #[arg(long, default_value_t = usize::MAX, value_name = "N", hide_default_value = true)]
    limit: usize,
    /// Look at every N-th example only
    #[arg(long, default_value_t = 1, value_name = "N")]
    every: usize,
    /// Hypotheses that are followed, instead of the model's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    beam: Option<u8>,
    /// Model [default: the embedded one]
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Of {
    /// A row for each token of the true middles: what model and n-grams said before it
    Ngrams,
    /// A row for each line that might have been shown: how likely what follows is behind it
    Suffix,
}

/// More than is served: what is fitted is how much of it is worth having.
const ALL_OF_SUFFIX: Suffix = Suffix { weight: 0.0, tokens: 24, margin: 5.0 };

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let mut settings = lacuna_config::resolve_here(args.model.as_deref())?.strict()?.config;
    settings.latency.deadline_ms = 0;
    let loaded = models::load_configured(&settings.model)?;
    settings.model.beam = args.beam.map(usize::from).or(settings.model.beam);
    let used = loaded.settings(&settings)?;
    let (order, prompt_tokens) = (used.order, used.prompt_tokens);
    let parts = (&*loaded.model, &*loaded.tokenizer, &loaded.sentinels);
    let evidence_of_all = Evidence { suffix: true, ..used.evidence };
    let completer = loaded.completer_with(Settings {
        background: true,
        evidence: evidence_of_all,
        suffix: ALL_OF_SUFFIX,
        ..used
    });
    let mut out = std::io::stdout().lock();
    let (mut n, mut asked) = (0, Vec::new());
    for row in Rows::<Example>::open(&args.set)?.step_by(args.every.max(1)).take(args.limit) {
        let (row, cancel) = (row?, Cancel::new());
        let text = match args.of {
            Of::Ngrams => evidence(parts, (order, prompt_tokens), &row, &cancel)?,
            Of::Suffix => {
                let (text, took) = lines_behind_suffix(&completer, &row, &cancel);
                asked.extend(took);
                text
            }
        };
        n += 1;
        out.write_all(text.as_bytes())?;
    }
    if !asked.is_empty() {
        asked.sort_by(f64::total_cmp);
        let at = |share: f64| asked[((asked.len() - 1) as f64 * share).round() as usize];
        eprintln!(
            "asked in {} of {n} rows: p50 {:.1} ms, p95 {:.1} ms",
            asked.len(),
            at(0.5),
            at(0.95)
        );
    }
    Ok(Answer::Yes)
}
