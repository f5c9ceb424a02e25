//! The stages that go over the examples: prompt, generate, score.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use lacuna_engine::Cancel;
use serde::de::DeserializeOwned;

use super::journal::Journal;
use super::parallel::in_order;
use super::score::{ScoreRow, score};
use super::{EXAMPLES, GENERATIONS, LATENCY, PROMPTS, Run, RunError, SCORES};
use crate::Example;
use crate::baseline::{close_bracket, continue_by_ngrams, copy_similar_line};
use crate::example::Rows;
use crate::example::stages::Output;
use crate::generate::{GenerationRow, Generator, Interrupted, PromptRow, TimingRow};
use crate::sandbox::Sandbox;

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Select,
    Prompt,
    Generate,
    Score,
}

/// Hears how a stage gets on. Called from several threads.
pub trait Progress: Sync {
    fn begin(&self, stage: Stage, done: u64, of: u64);
    /// An example is done, for which `tokens` were computed or generated.
    fn step(&self, tokens: usize);
    fn end(&self);
}

/// How tests are run.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    pub sandbox: &'a Sandbox,
    pub python: &'a Path,
}

/// So many failures in a row are the server's or the model's, not the rows'.
const MAX_FAILURES_IN_A_ROW: usize = 20;

impl Run {
    /// The prompt stage. Without a generator (baselines alone) the rows are empty.
    pub fn make_prompts(
        &self,
        generator: Option<&dyn Generator>,
        jobs: usize,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let total = rows_in(&self.file(EXAMPLES))?;
        let mut journal = Journal::open(&self.file(PROMPTS))?;
        let mut examples = self.rows::<Example>(EXAMPLES, journal.rows())?;
        progress.begin(Stage::Prompt, journal.rows(), total);
        let work = |_: usize, example: Example| {
            let row = generator.map_or_else(PromptRow::default, |g| g.prompt(&example));
            progress.step(row.ids.len());
            PromptRow { id: example.id, ..row }
        };
        let sink = |rows: Vec<PromptRow>| {
            rows.iter().try_for_each(|row| journal.append(row))?;
            journal.flush()
        };
        finished(in_order(|| examples.next().transpose().map_err(RunError::from), jobs, || cancel.is_cancelled(), work, sink)?, progress)
    }

    /// The generate stage: the model's outputs and the baselines'.
    pub fn generate(
        &self,
        generator: Option<&dyn Generator>,
        jobs: usize,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let total = rows_in(&self.file(EXAMPLES))?;
        // Rows go to both files, this one first: what only it has is cut off again.
        let done = Journal::open(&self.file(LATENCY))?.rows().min(Journal::open(&self.file(GENERATIONS))?.rows());
        let mut latency = Journal::open_with(&self.file(LATENCY), done)?;
        let mut journal = Journal::open_with(&self.file(GENERATIONS), done)?;
        let mut examples = self.rows::<Example>(EXAMPLES, done)?;
        let mut prompts = self.rows::<PromptRow>(PROMPTS, done)?;
        progress.begin(Stage::Generate, done, total);
        let mut at = done;
        let source = || {
            at += 1;
            self.pair(examples.next(), prompts.next(), at, PROMPTS, "prompt")
        };
        let work = |worker: usize, (example, prompt): (Example, PromptRow)| {
            let (mut generation, timings) = match generator {
                Some(generator) => generator.generate(&example, &prompt, worker, cancel)?,
                None => Default::default(),
            };
            generation.outputs.extend(self.baselines(&example));
            let tokens = timings.iter().map(|t| t.prefilled + t.generated).sum::<usize>() + generation.gold.map_or(0, |g| g.tokens);
            progress.step(tokens);
            Ok((GenerationRow { id: example.id.clone(), generation }, TimingRow { id: example.id, set: example.set, timings }))
        };
        let mut failing: Vec<(GenerationRow, TimingRow)> = Vec::new();
        let mut write = |rows: &mut Vec<(GenerationRow, TimingRow)>| {
            for (row, timing) in rows.drain(..) {
                latency.append(&timing)?;
                journal.append(&row)?;
            }
            latency.flush()?;
            journal.flush()
        };
        let sink = |rows: Vec<Result<(GenerationRow, TimingRow), Interrupted>>| {
            for row in rows {
                let row = row.map_err(|Interrupted| RunError::Interrupted)?;
                let error = row.0.generation.error.clone();
                failing.push(row);
                match error {
                    None => write(&mut failing)?,
                    Some(error) if failing.len() >= MAX_FAILURES_IN_A_ROW => {
                        return Err(RunError::Failing { n: failing.len(), error });
                    }
                    Some(_) => {}
                }
            }
            // A few failed examples at a chunk's end wait for the next chunk to tell whether all fail now.
            Ok(())
        };
        let ended = in_order(source, jobs, || cancel.is_cancelled(), work, sink)?;
        if ended {
            write(&mut failing)?;
        }
        finished(ended, progress)
    }

    /// The score stage. `execution`: for pass@k.
    pub fn score(&self, execution: Option<Execution<'_>>, jobs: usize, cancel: &Cancel, progress: &dyn Progress) -> Result<(), RunError> {
        let total = rows_in(&self.file(EXAMPLES))?;
        let mut journal = Journal::open(&self.file(SCORES))?;
        let done = journal.rows();
        let mut examples = self.rows::<Example>(EXAMPLES, done)?;
        let mut prompts = self.rows::<PromptRow>(PROMPTS, done)?;
        let mut generations = self.rows::<GenerationRow>(GENERATIONS, done)?;
        progress.begin(Stage::Score, done, total);
        let mut at = done;
        let source = || {
            at += 1;
            let Some((example, prompt)) = self.pair(examples.next(), prompts.next(), at, PROMPTS, "prompt")? else { return Ok(None) };
            let id = example.id.clone();
            let generation = generations.next().transpose()?.filter(|g| g.id == id);
            generation.map(|g| Some((example, prompt, g))).ok_or_else(|| self.out_of_step(at, GENERATIONS, "generate"))
        };
        let work = |_: usize, (example, prompt, row): (Example, PromptRow, GenerationRow)| {
            let scored = score(&example, &prompt.prompt, row.generation, execution);
            progress.step(0);
            scored
        };
        let sink = |rows: Vec<Result<ScoreRow, RunError>>| {
            for row in rows {
                journal.append(&row?)?;
            }
            journal.flush()
        };
        finished(in_order(source, jobs, || cancel.is_cancelled(), work, sink)?, progress)
    }

    /// The rows of one of the run's files from row `skip` on.
    pub(crate) fn rows<T: DeserializeOwned>(&self, name: &str, skip: u64) -> Result<Rows<T>, RunError> {
        let mut rows = Rows::open(&self.file(name))?;
        for _ in 0..skip {
            rows.next().transpose()?;
        }
        Ok(rows)
    }

    fn baselines(&self, example: &Example) -> Vec<Output> {
        let modes = self.manifest.config.modes.iter();
        modes
            .filter_map(|mode| {
                let text = match mode.as_str() {
                    "empty" => String::new(),
                    "copy-line" => copy_similar_line(example),
                    "close-bracket" => close_bracket(example),
                    "ngram" => continue_by_ngrams(example),
                    _ => return None,
                };
                Some(Output { mode: mode.clone(), text, ..Output::default() })
            })
            .collect()
    }

    fn pair(
        &self,
        example: Option<Result<Example, crate::example::ReadError>>,
        prompt: Option<Result<PromptRow, crate::example::ReadError>>,
        row: u64,
        file: &str,
        stage: &'static str,
    ) -> Result<Option<(Example, PromptRow)>, RunError> {
        match (example.transpose()?, prompt.transpose()?) {
            (None, _) => Ok(None),
            (Some(example), Some(prompt)) if example.id == prompt.id => Ok(Some((example, prompt))),
            _ => Err(self.out_of_step(row, file, stage)),
        }
    }

    fn out_of_step(&self, row: u64, file: &str, stage: &'static str) -> RunError {
        RunError::OutOfStep { a: self.file(EXAMPLES), b: self.file(file), row, stage }
    }
}

fn finished(ended: bool, progress: &dyn Progress) -> Result<(), RunError> {
    progress.end();
    if ended { Ok(()) } else { Err(RunError::Interrupted) }
}

fn rows_in(path: &Path) -> Result<u64, RunError> {
    let io = |source| RunError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?);
    let mut buffer = vec![0; 1 << 20];
    let mut rows = 0;
    loop {
        let n = reader.read(&mut buffer).map_err(io)?;
        if n == 0 {
            return Ok(rows);
        }
        rows += buffer[..n].iter().filter(|b| **b == b'\n').count() as u64;
    }
}
