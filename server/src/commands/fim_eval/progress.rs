//! Progress of a run's stages: a bar with the time left and tokens a second on a terminal, a line
//! now and then otherwise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use lacuna_eval::run::{Progress, Stage};

use crate::say;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

pub struct Stages {
    current: Mutex<Current>,
    tokens: AtomicU64,
}

struct Current {
    bar: ProgressBar,
    name: &'static str,
    start: Instant,
    last_line: Instant,
}

impl Stages {
    pub fn new() -> Stages {
        let (bar, now) = (ProgressBar::hidden(), Instant::now());
        Stages {
            current: Mutex::new(Current { bar, name: "", start: now, last_line: now }),
            tokens: AtomicU64::new(0),
        }
    }
}

impl Progress for Stages {
    fn begin(&self, stage: Stage, done: u64, of: u64) {
        let name = match stage {
            Stage::Select => "select",
            Stage::Prompt => "prompts",
            Stage::Generate => "generate",
            Stage::PostProcess => "rules",
            Stage::Score => "score",
        };
        let bar = ProgressBar::new(of);
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:9} {bar:40} {pos}/{len} {per_sec} {msg} eta {eta}",
        ) {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        bar.set_position(done);
        // The examples of an earlier run took none of this one's time.
        bar.reset_eta();
        self.tokens.store(0, Ordering::Relaxed);
        let now = Instant::now();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
            Current { bar, name, start: now, last_line: now };
    }

    fn step(&self, tokens: usize) {
        let tokens = self.tokens.fetch_add(tokens as u64, Ordering::Relaxed) + tokens as u64;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.bar.inc(1);
        let rate = tokens as f64 / current.start.elapsed().as_secs_f64().max(1e-3);
        if tokens > 0 {
            current.bar.set_message(format!("{rate:.0} tokens/s"));
        }
        if current.bar.is_hidden() && current.last_line.elapsed() >= LINE_EVERY {
            current.last_line = Instant::now();
            let (position, length) = (current.bar.position(), current.bar.length().unwrap_or(0));
            say(&format!(
                "{} {position} of {length}, {rate:.0} tokens/s, {:.0} s left",
                current.name,
                current.bar.eta().as_secs_f64()
            ));
        }
    }

    fn end(&self) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).bar.finish_and_clear();
    }
}
