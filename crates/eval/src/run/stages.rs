//! The stages that go over the examples one by one: prompt, post-process, score. Generating goes in
//! batches: `generate`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use lacuna_engine::Cancel;
use serde::de::DeserializeOwned;

use super::journal::Journal;
use super::parallel::{Chunk, in_order};
use super::score::{ScoreRow, Scored, score};
use super::{ANSWERS, EXAMPLES, GENERATIONS, PROMPTS, Run, RunError, SCORES};
use crate::Example;
use crate::example::{ReadError, Rows};
use crate::generate::{AnswerRow, GenerationRow, Generator, PromptRow, answer};
use crate::sandbox::Sandbox;

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Select,
    Prompt,
    Generate,
    PostProcess,
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
        let source = || Ok(examples.next().transpose()?.map(weighed));
        finished(
            in_order(source, Chunk::of(jobs, 1), || cancel.is_cancelled(), work, sink)?,
            progress,
        )
    }

    /// The post-process stage: the editor's rules on what was generated.
    pub fn post_process(
        &self,
        jobs: usize,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let total = rows_in(&self.file(EXAMPLES))?;
        let mut journal = Journal::open(&self.file(ANSWERS))?;
        let done = journal.rows();
        let mut examples = self.rows::<Example>(EXAMPLES, done)?;
        let mut generations = self.rows::<GenerationRow>(GENERATIONS, done)?;
        progress.begin(Stage::PostProcess, done, total);
        let mut at = done;
        let source = || {
            at += 1;
            let Some(example) = examples.next().transpose()? else { return Ok(None) };
            let generation =
                self.partner(&example, generations.next(), |g| &g.id, at, GENERATIONS, "generate")?;
            let ((example, bytes), generation) = (weighed(example), generation.generation);
            Ok(Some(((example, generation), bytes)))
        };
        let work =
            |_: usize, (example, generation): (Example, crate::example::stages::Generation)| {
                let answers = generation
                    .outputs
                    .iter()
                    .map(|output| answer(&example, output, self.manifest.config.min_confidence))
                    .collect();
                progress.step(0);
                AnswerRow { id: example.id, answers }
            };
        let sink = |rows: Vec<AnswerRow>| {
            rows.iter().try_for_each(|row| journal.append(row))?;
            journal.flush()
        };
        finished(
            in_order(source, Chunk::of(jobs, 1), || cancel.is_cancelled(), work, sink)?,
            progress,
        )
    }

    /// The score stage. `execution`: for pass@k.
    pub fn score(
        &self,
        execution: Option<Execution<'_>>,
        jobs: usize,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let total = rows_in(&self.file(EXAMPLES))?;
        let mut journal = Journal::open(&self.file(SCORES))?;
        let done = journal.rows();
        let mut examples = self.rows::<Example>(EXAMPLES, done)?;
        let mut prompts = self.rows::<PromptRow>(PROMPTS, done)?;
        let mut generations = self.rows::<GenerationRow>(GENERATIONS, done)?;
        let mut answers = self.rows::<AnswerRow>(ANSWERS, done)?;
        progress.begin(Stage::Score, done, total);
        let mut at = done;
        let source = || {
            at += 1;
            let Some(example) = examples.next().transpose()? else { return Ok(None) };
            let prompt =
                self.partner(&example, prompts.next(), |p| &p.id, at, PROMPTS, "prompt")?.prompt;
            let generation = self
                .partner(&example, generations.next(), |g| &g.id, at, GENERATIONS, "generate")?
                .generation;
            let answers = self
                .partner(&example, answers.next(), |a| &a.id, at, ANSWERS, "post-process")?
                .answers;
            let (example, bytes) = weighed(example);
            Ok(Some((
                Scored { example, prompt, answers, gold: generation.gold, error: generation.error },
                bytes,
            )))
        };
        let work = |_: usize, scored: Scored| {
            let off = self.manifest.config.is_off(&scored.example.language);
            let row = score(scored, off, execution);
            progress.step(0);
            row
        };
        let sink = |rows: Vec<Result<ScoreRow, RunError>>| {
            for row in rows {
                journal.append(&row?)?;
            }
            journal.flush()
        };
        finished(
            in_order(source, Chunk::of(jobs, 1), || cancel.is_cancelled(), work, sink)?,
            progress,
        )
    }

    /// The rows of one of the run's files from row `skip` on.
    pub(crate) fn rows<T: DeserializeOwned>(
        &self,
        name: &str,
        skip: u64,
    ) -> Result<Rows<T>, RunError> {
        let mut rows = Rows::open(&self.file(name))?;
        for _ in 0..skip {
            rows.next().transpose()?;
        }
        Ok(rows)
    }

    /// The row of another stage's file that belongs to the example.
    pub(super) fn partner<T>(
        &self,
        example: &Example,
        row: Option<Result<T, ReadError>>,
        id: impl Fn(&T) -> &str,
        at: u64,
        file: &str,
        stage: &'static str,
    ) -> Result<T, RunError> {
        row.transpose()?
            .filter(|row| id(row) == example.id)
            .ok_or_else(|| self.out_of_step(at, file, stage))
    }

    fn out_of_step(&self, row: u64, file: &str, stage: &'static str) -> RunError {
        RunError::OutOfStep { a: self.file(EXAMPLES), b: self.file(file), row, stage }
    }
}

/// An example and about how many bytes it holds.
pub(super) fn weighed(example: Example) -> (Example, usize) {
    let others: usize = example.context.iter().map(|c| c.text.len()).sum();
    let bytes = example.prefix.len() + example.middle.len() + example.suffix.len() + others;
    (example, bytes)
}

pub(super) fn finished(ended: bool, progress: &dyn Progress) -> Result<(), RunError> {
    progress.end();
    if ended { Ok(()) } else { Err(RunError::Interrupted) }
}

pub(super) fn rows_in(path: &Path) -> Result<u64, RunError> {
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
