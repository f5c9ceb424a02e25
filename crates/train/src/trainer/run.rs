//! A run: steps, validation, log, checkpoints, stopping.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lacuna_kernels::gemm::Row;
use lacuna_kernels::int4::round_to_int4;
use serde::Serialize;

use super::batch::Batch;
use super::checkpoint::{self, EarlierShards, State};
use super::config::RunConfig;
use super::error::TrainError;
use super::losses::Losses;
use super::model::Model;
use super::optimizer::Optimizer;
use super::schedule;
use super::shape::{Kind, Layout};
use super::shards::{RowOrder, Shards};
use super::weights::{Adapter, Full, Weights};

/// What one step did; a line of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps taken, this one included.
    pub step: u64,
    /// Positions trained on so far.
    pub tokens: u64,
    /// Learning rate of the matrices.
    pub lr: f64,
    /// Weighted mean loss in nats: what is minimised.
    pub loss: f64,
    /// Mean loss of the middles, unweighted.
    pub middle_loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Positions a second in this step.
    pub tokens_per_second: f64,
    /// Seconds spent so far, all sessions together.
    pub seconds: f64,
    /// Share of the run that is done.
    pub progress: f64,
}

/// What a validation found, in nats; a line of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValidationReport {
    /// Steps taken before it.
    pub step: u64,
    /// Mean loss of all positions.
    pub validation_loss: f64,
    /// Mean loss of the middles.
    pub validation_middle_loss: f64,
    /// Seconds spent so far.
    pub seconds: f64,
}

/// Hears what a run does. Every method may be left out.
pub trait Progress {
    /// After each step; `remaining` is estimated from the pace so far.
    fn step(&mut self, _report: &StepReport, _remaining: Duration) {}
    /// After each validation.
    fn validation(&mut self, _report: &ValidationReport) {}
    /// After each checkpoint.
    fn checkpoint(&mut self, _path: &Path) {}
}

/// Hears nothing.
impl Progress for () {}

/// How a run came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The end of its steps or minutes; the last checkpoint.
    Finished(PathBuf),
    /// The stop flag; the checkpoint to resume from.
    Stopped(PathBuf),
}

/// A model in training.
pub struct Trainer<'a> {
    config: RunConfig,
    shards: &'a Shards,
    pool: rayon::ThreadPool,
    model: Model,
    weights: Box<dyn Weights>,
    /// What the model computes with as INT4 holds it; empty if the run does not ask for it.
    rounded: Vec<f32>,
    gradient: Vec<f32>,
    optimizer: Optimizer,
    order: RowOrder,
    state: State,
    batch: Batch,
}

impl<'a> Trainer<'a> {
    /// Fresh weights.
    pub fn new(
        config: RunConfig,
        shards: &'a Shards,
        row: Row,
        threads: usize,
    ) -> Result<Trainer<'a>, TrainError> {
        config.check()?;
        let parameters = Layout::new(&config.shape).initial(config.initial_std, config.seed);
        Trainer::with(parameters, config, shards, row, threads)
    }

    /// These parameters, everything else fresh.
    fn with(
        parameters: Vec<f32>,
        config: RunConfig,
        shards: &'a Shards,
        row: Row,
        threads: usize,
    ) -> Result<Trainer<'a>, TrainError> {
        config.check()?;
        if config.shape.vocab != shards.n_vocab {
            let (model, shards) = (config.shape.vocab, shards.n_vocab);
            return Err(TrainError::Config(format!(
                "the model has a vocabulary of {model}, the shards of {shards}"
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("train-{i}"))
            .build()
            .map_err(|e| TrainError::Config(format!("cannot start {threads} threads: {e}")))?;
        let mut model = Model::new(&config.shape, row, shards.seq_len)?;
        let n = model.layout().n_parameters();
        model.set_frozen(
            config.frozen_layers,
            config.adapter.as_ref().map(|adapter| adapter.tokens.clone()),
        );
        let weights = weights(model.layout(), parameters, &config);
        let n_trained = weights.tensors().iter().map(|t| t.range.len()).sum();
        Ok(Trainer {
            weights,
            rounded: if config.int4 { vec![0.0; n] } else { Vec::new() },
            gradient: vec![0.0; n],
            optimizer: Optimizer::new(n_trained),
            order: RowOrder::new(shards.train.len(), config.seed),
            state: State::default(),
            batch: Batch::default(),
            config,
            shards,
            pool,
            model,
        })
    }

    /// Weights of a model directory (f32, f16 or bf16), everything else fresh.
    pub fn init_from(
        dir: &Path,
        config: RunConfig,
        shards: &'a Shards,
        row: Row,
        threads: usize,
    ) -> Result<Trainer<'a>, TrainError> {
        let dir = checkpoint::locate(dir)?;
        let shape = checkpoint::read_shape(&dir)?;
        let parameters = checkpoint::read_weights(&dir, &shape)?;
        Trainer::with(parameters, RunConfig { shape, ..config }, shards, row, threads)
    }

    /// Begins with adapters that [`super::snapshot_adapters`] wrote, over the same base; `config`
    /// must have them from [`super::adapters_of`].
    pub fn take_adapters(&mut self, dir: &Path) -> Result<(), TrainError> {
        let values = super::snapshot::values_of(dir, &self.config.shape, &*self.weights)?;
        let (pool, weights) = (&self.pool, &mut self.weights);
        pool.install(|| weights.set_values(values));
        Ok(())
    }

    /// Goes on from a checkpoint, or the latest of a run's directory. Sizes, adapters and frozen
    /// layers are the checkpoint's; `config` may change the end of the run, rates and what is
    /// reported; the rest of what decides the loss curve must be as it was.
    ///
    /// On other shards (of the same tokenizer) the optimizer goes on and rows start anew;
    /// [`State::earlier_shards`] records it.
    pub fn resume(
        dir: &Path,
        config: RunConfig,
        shards: &'a Shards,
        row: Row,
        threads: usize,
    ) -> Result<Trainer<'a>, TrainError> {
        let saved = checkpoint::load(dir)?;
        if saved.tokenizer != shards.tokenizer {
            return Err(TrainError::Config(format!(
                "{} has another tokenizer than the shards: mine with its own",
                dir.display()
            )));
        }
        let changed = |what: &str| {
            TrainError::Config(format!(
                "{what} differs from the checkpoint's: use --init-from to start anew"
            ))
        };
        let (old, new) = (&saved.config, &config);
        if old.seed != new.seed || old.rows_per_step != new.rows_per_step {
            return Err(changed("the seed or the number of rows per step"));
        }
        if old.optimizer.rule != new.optimizer.rule {
            return Err(changed("the optimizer"));
        }
        let (adapter, frozen_layers) = (old.adapter.clone(), old.frozen_layers);
        let config = RunConfig { shape: old.shape.clone(), adapter, frozen_layers, ..config };
        let mut trainer = Trainer::with(saved.base, config, shards, row, threads)?;
        if let Some(values) = saved.adapter {
            trainer.weights.set_values(values);
        }
        trainer.optimizer = saved.optimizer;
        trainer.state = saved.state;
        if saved.shards != shards.fingerprint {
            let state = &mut trainer.state;
            state
                .earlier_shards
                .push(EarlierShards { shards: saved.shards, until_step: state.step });
            state.row = 0;
        }
        Ok(trainer)
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// What the model computes with: the flat parameter vector, adapters merged.
    pub fn parameters(&self) -> &[f32] {
        self.weights.operand()
    }

    /// Number of trained parameters.
    pub fn n_trained(&self) -> usize {
        self.weights.tensors().iter().map(|t| t.range.len()).sum()
    }

    /// Share of the run that is done.
    pub fn progress(&self) -> f64 {
        schedule::progress(
            self.state.step,
            self.config.steps,
            self.state.seconds,
            self.config.minutes,
        )
    }

    /// One step.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let start = Instant::now();
        let progress = self.progress();
        let factor =
            self.config.schedule.factor(self.state.step, self.config.warmup_steps, progress);
        let rows: Vec<usize> = (0..self.config.rows_per_step as u64)
            .map(|i| self.order.at(self.state.row + i))
            .collect();
        let middle_weight = self.config.middle_weight;
        let Trainer {
            pool,
            model,
            weights,
            rounded,
            gradient,
            optimizer,
            shards,
            batch,
            config,
            ..
        } = self;
        // The whole step's weight comes first: each pass scales its gradient by it.
        let mut total = 0.0;
        for &row in &rows {
            batch.clear();
            batch.push_row(shards.train.row(row), shards.markers, middle_weight);
            total += batch.weight();
        }
        let (losses, grad_norm) = pool.install(|| {
            gradient.fill(0.0);
            let computed = computed(model.layout(), weights.operand(), rounded);
            let mut losses = Losses::default();
            for rows in rows.chunks(config.rows_per_pass) {
                batch.clear();
                rows.iter().for_each(|&row| {
                    batch.push_row(shards.train.row(row), shards.markers, middle_weight)
                });
                losses.add(&model.losses_and_gradient(computed, batch, total, gradient)?);
            }
            let row = model.row();
            let norm = weights.step(gradient, optimizer, &config.optimizer, factor, row);
            Ok::<_, TrainError>((losses, norm))
        })?;
        let loss = losses.objective();
        for (what, value) in [("the loss", loss), ("the gradient", grad_norm)] {
            if !value.is_finite() {
                return Err(TrainError::Diverged { step: self.state.step + 1, what });
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let state = &mut self.state;
        state.step += 1;
        state.row += self.config.rows_per_step as u64;
        state.tokens += losses.tokens;
        state.seconds += seconds;
        state.loss_average =
            Some(state.loss_average.map_or(loss, |average| 0.98 * average + 0.02 * loss));
        Ok(StepReport {
            step: state.step,
            tokens: state.tokens,
            lr: self.config.optimizer.rate * factor,
            loss,
            middle_loss: losses.middle_mean(),
            grad_norm,
            tokens_per_second: losses.tokens as f64 / seconds.max(1e-9),
            seconds: state.seconds,
            progress: self.progress(),
        })
    }

    /// Losses on the first [`RunConfig::validation_rows`] validation rows; none if there are no
    /// rows.
    pub fn validate(&mut self) -> Result<Option<ValidationReport>, TrainError> {
        let start = Instant::now();
        let n = self.config.validation_rows.min(self.shards.validation.len());
        if n == 0 {
            return Ok(None);
        }
        let Trainer { pool, model, weights, rounded, shards, batch, config, .. } = self;
        let losses = pool.install(|| {
            let computed = computed(model.layout(), weights.operand(), rounded);
            let mut losses = Losses::default();
            for first in (0..n).step_by(config.rows_per_pass) {
                batch.clear();
                (first..n.min(first + config.rows_per_pass))
                    .for_each(|i| batch.push_row(shards.validation.row(i), shards.markers, 1.0));
                losses.add(&model.losses(computed, batch)?);
            }
            Ok::<_, TrainError>(losses)
        })?;
        self.state.seconds += start.elapsed().as_secs_f64();
        Ok(Some(ValidationReport {
            step: self.state.step,
            validation_loss: losses.mean(),
            validation_middle_loss: losses.middle_mean(),
            seconds: self.state.seconds,
        }))
    }

    /// Writes a checkpoint under `dir`; returns its path.
    pub fn save(&mut self, dir: &Path) -> Result<PathBuf, TrainError> {
        let start = Instant::now();
        let saved = checkpoint::Saved {
            state: &self.state,
            shards: &self.shards.fingerprint,
            config: &self.config,
            layout: self.model.layout(),
            weights: &*self.weights,
            optimizer: &self.optimizer,
            tokenizer: &self.shards.tokenizer,
        };
        let path = checkpoint::save(dir, &saved, self.config.keep)?;
        self.state.seconds += start.elapsed().as_secs_f64();
        Ok(path)
    }

    /// Trains to the end of the run, or until `stop` is set, which is looked at between steps.
    /// Either way the last thing is a checkpoint under `dir`; `dir/log.jsonl` gets a line a step.
    pub fn run(
        &mut self,
        dir: &Path,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, TrainError> {
        fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let log_path = dir.join("log.jsonl");
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(TrainError::io("open", &log_path))?;
        let mut note = |line: serde_json::Result<String>| {
            let line = line.map_err(|e| TrainError::malformed(&log_path, e.to_string()))?;
            writeln!(log, "{line}").map_err(TrainError::io("append to", &log_path))
        };
        let mut last_saved = self.state.seconds;
        while self.progress() < 1.0 {
            if stop.load(Ordering::Relaxed) {
                let path = self.save(dir)?;
                progress.checkpoint(&path);
                return Ok(Outcome::Stopped(path));
            }
            let report = self.step()?;
            note(serde_json::to_string(&report))?;
            progress.step(&report, self.remaining());
            let every = |n: u64| n > 0 && report.step % n == 0;
            if every(self.config.validate_every)
                && let Some(report) = self.validate()?
            {
                note(serde_json::to_string(&report))?;
                progress.validation(&report);
            }
            let minutes = self.config.checkpoint_minutes;
            let due = minutes > 0.0 && self.state.seconds - last_saved >= 60.0 * minutes;
            if (every(self.config.checkpoint_every) || due) && self.progress() < 1.0 {
                let path = self.save(dir)?;
                progress.checkpoint(&path);
                last_saved = self.state.seconds;
            }
        }
        if let Some(report) = self.validate()? {
            note(serde_json::to_string(&report))?;
            progress.validation(&report);
        }
        let path = self.save(dir)?;
        progress.checkpoint(&path);
        Ok(Outcome::Finished(path))
    }

    /// Time to the end at the pace so far.
    fn remaining(&self) -> Duration {
        let done = self.progress();
        let seconds = self.state.seconds * (1.0 - done) / done.max(1e-6);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// What a run with these settings trains.
pub(crate) fn weights(
    layout: &Layout,
    parameters: Vec<f32>,
    config: &RunConfig,
) -> Box<dyn Weights> {
    match &config.adapter {
        Some(adapter) => Box::new(Adapter::new(
            layout,
            parameters,
            adapter.clone(),
            config.frozen_layers,
            config.seed,
        )),
        None => Box::new(Full::new(layout, parameters, config.frozen_layers)),
    }
}

/// What a pass computes with: the parameters, or what INT4 holds of them if there is room for that.
/// Weights that are not finite stay as they are, so that the loss shows them.
fn computed<'p>(layout: &Layout, parameters: &'p [f32], rounded: &'p mut [f32]) -> &'p [f32] {
    if rounded.is_empty() {
        return parameters;
    }
    for t in &layout.tensors {
        let (from, to) = (&parameters[t.range.clone()], &mut rounded[t.range.clone()]);
        if t.kind == Kind::Norm || round_to_int4(t.rows, t.cols, from, to).is_err() {
            to.copy_from_slice(from);
        }
    }
    rounded
}
