//! The generate stage: what the model and the baselines say, batch by batch.
//!
//! Batches are cut by row number, whatever `--jobs` is and wherever the run was taken up: what a
//! model says of a row may depend on its batch in the last bits (AMX), and two runs shall have the
//! same bytes.

use lacuna_engine::Cancel;

use super::journal::Journal;
use super::parallel::{Chunk, in_order};
use super::stages::{Progress, Stage, finished, rows_in, weighed};
use super::{EXAMPLES, GENERATIONS, LATENCY, PROMPTS, Run, RunError};
use crate::Example;
use crate::baseline::{close_bracket, continue_by_ngrams, copy_similar_line};
use crate::example::stages::Output;
use crate::generate::{GenerationRow, Generator, Interrupted, PromptRow, TimingRow};

/// So many failures in a row are the server's or the model's, not the rows'.
const MAX_FAILURES_IN_A_ROW: usize = 20;

/// What the two files get of an example.
type Rows = (GenerationRow, TimingRow);

impl Run {
    /// The generate stage: the model's outputs and the baselines'.
    pub fn generate(
        &self,
        generator: Option<&dyn Generator>,
        jobs: usize,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let total = rows_in(&self.file(EXAMPLES))?;
        let batch = generator.map_or(1, Generator::batch);
        // Rows go to both files, latency first: what only it has is cut off again, and so is what a
        // batch has in part.
        let whole = Journal::open(&self.file(LATENCY))?
            .rows()
            .min(Journal::open(&self.file(GENERATIONS))?.rows());
        let done = if whole == total { total } else { whole - whole % batch as u64 };
        let mut latency = Journal::open_with(&self.file(LATENCY), done)?;
        let mut journal = Journal::open_with(&self.file(GENERATIONS), done)?;
        let mut examples = self.rows::<Example>(EXAMPLES, done)?;
        let mut prompts = self.rows::<PromptRow>(PROMPTS, done)?;
        progress.begin(Stage::Generate, done, total);
        let mut at = done;
        let source = || {
            let (mut rows, mut bytes) = (Vec::with_capacity(batch), 0);
            while rows.len() < batch
                && let Some(example) = examples.next().transpose()?
            {
                at += 1;
                let prompt =
                    self.partner(&example, prompts.next(), |p| &p.id, at, PROMPTS, "prompt")?;
                let (example, size) = weighed(example);
                bytes += size;
                rows.push((example, prompt));
            }
            Ok((!rows.is_empty()).then_some((rows, bytes)))
        };
        let work = |worker: usize,
                    rows: Vec<(Example, PromptRow)>|
         -> Result<Vec<Rows>, Interrupted> {
            let said = match generator {
                Some(generator) => generator.generate(&rows, worker, cancel)?,
                None => rows.iter().map(|_| Default::default()).collect(),
            };
            let rows =
                rows.into_iter().zip(said).map(|((example, _), (mut generation, timings))| {
                    generation.outputs.extend(self.baselines(&example));
                    let tokens = timings.iter().map(|t| t.prefilled + t.generated).sum::<usize>()
                        + generation.gold.map_or(0, |g| g.tokens);
                    progress.step(tokens);
                    (
                        GenerationRow { id: example.id.clone(), generation },
                        TimingRow { id: example.id, set: example.set, timings },
                    )
                });
            Ok(rows.collect())
        };
        let mut failing: Vec<Rows> = Vec::new();
        let mut write = |rows: &mut Vec<Rows>| {
            for (row, timing) in rows.drain(..) {
                latency.append(&timing)?;
                journal.append(&row)?;
            }
            latency.flush()?;
            journal.flush()
        };
        let sink = |batches: Vec<Result<Vec<Rows>, Interrupted>>| {
            for rows in batches {
                for row in rows.map_err(|Interrupted| RunError::Interrupted)? {
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
            }
            // A few failed examples at a chunk's end wait for the next chunk to tell whether all
            // fail now.
            Ok(())
        };
        let ended = in_order(source, Chunk::of(jobs, batch), || cancel.is_cancelled(), work, sink)?;
        if ended {
            write(&mut failing)?;
        }
        finished(ended, progress)
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
}
