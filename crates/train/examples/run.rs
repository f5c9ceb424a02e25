//! A thin runner of the trainer: `run --shards DIR --out DIR --minutes M [--steps N] [--optimizer adamw|muon] [--rate R]
//! [--other-rate R] [--schedule wsd|cosine] [--rows N] [--pass N] [--seed N] [--warmup N] [--compute amx|bf16|f32]
//! [--threads N] [--checkpoint-minutes M] [--validate-every N] [--validation-rows N] [--middle-weight W]
//! [--resume DIR | --init-from DIR]`.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lacuna_train::trainer::{Progress, Row, Rule, RunConfig, Schedule, Shards, StepReport, Trainer, ValidationReport};

type Failure = Box<dyn std::error::Error>;

/// A line every so many steps.
struct Lines(u64);

impl Progress for Lines {
    fn step(&mut self, r: &StepReport, remaining: Duration) {
        if r.step % self.0 == 0 || r.step <= 3 {
            println!(
                "step {:6} loss {:.4} middle {:.4} norm {:.2} lr {:.2e} {:6.0} tok/s {:5.1} M tokens {:6.0} s, {:.0} min left",
                r.step,
                r.loss,
                r.middle_loss,
                r.grad_norm,
                r.lr,
                r.tokens_per_second,
                r.tokens as f64 / 1e6,
                r.seconds,
                remaining.as_secs_f64() / 60.0
            );
        }
    }
    fn validation(&mut self, r: &ValidationReport) {
        println!("step {:6} validation {:.4} middle {:.4}", r.step, r.validation_loss, r.validation_middle_loss);
    }
    fn checkpoint(&mut self, path: &Path) {
        println!("saved {}", path.display());
    }
}

fn main() -> Result<(), Failure> {
    let mut config = RunConfig::default();
    let (mut shards, mut out, mut resume, mut init_from) = (PathBuf::new(), PathBuf::new(), None, None);
    let (mut row, mut threads, mut every) = (None, 2, 20);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--shards" => shards = value.into(),
            "--out" => out = value.into(),
            "--resume" => resume = Some(PathBuf::from(value)),
            "--init-from" => init_from = Some(PathBuf::from(value)),
            "--minutes" => config.minutes = Some(value.parse()?),
            "--steps" => config.steps = Some(value.parse()?),
            "--optimizer" => {
                config.optimizer.rule = match value.as_str() {
                    "adamw" => Rule::AdamW,
                    "muon" => Rule::Muon,
                    _ => return Err("--optimizer is adamw or muon".into()),
                }
            }
            "--rate" => config.optimizer.rate = value.parse()?,
            "--other-rate" => config.optimizer.other_rate = value.parse()?,
            "--decay" => config.optimizer.decay = value.parse()?,
            "--schedule" => {
                config.schedule = match value.as_str() {
                    "wsd" => Schedule::Wsd,
                    "cosine" => Schedule::Cosine,
                    _ => return Err("--schedule is wsd or cosine".into()),
                }
            }
            "--rows" => config.rows_per_step = value.parse()?,
            "--pass" => config.rows_per_pass = value.parse()?,
            "--seed" => config.seed = value.parse()?,
            "--std" => config.initial_std = value.parse()?,
            "--warmup" => config.warmup_steps = value.parse()?,
            "--middle-weight" => config.middle_weight = value.parse()?,
            "--checkpoint-minutes" => config.checkpoint_minutes = value.parse()?,
            "--validate-every" => config.validate_every = value.parse()?,
            "--validation-rows" => config.validation_rows = value.parse()?,
            "--compute" => row = Some(value.parse::<Row>()?),
            "--threads" => threads = value.parse()?,
            "--every" => every = value.parse()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let row = row.unwrap_or_else(Row::choose);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let shards = Shards::load(&shards)?;
    config.shape.vocab = shards.n_vocab;
    println!("{} training rows, {} validation rows, compute {row}, {threads} threads", shards.train.len(), shards.validation.len());
    let mut trainer = match (resume, init_from) {
        (Some(dir), _) => Trainer::resume(&dir, config, &shards, row, threads)?,
        (None, Some(dir)) => Trainer::init_from(&dir, config, &shards, row, threads)?,
        (None, None) => Trainer::new(config, &shards, row, threads)?,
    };
    println!("{} parameters, {:?}", trainer.parameters().len(), trainer.config());
    let outcome = trainer.run(&out, &stop, &mut Lines(every.max(1)))?;
    println!("{outcome:?}");
    Ok(())
}
