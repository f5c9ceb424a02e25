//! The cancel flag that every long operation looks at between layers, a prefill between the halves
//! of a layer too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use crate::schedule::{Turn, Working};

/// A cheap, clonable flag with an optional deadline. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
    /// Checks still answered with "go on"; `None` = unlimited.
    checks: Option<Arc<AtomicI64>>,
    turn: Option<Turn>,
}

impl Cancel {
    /// A flag that is not set and has no deadline.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// The same flag, also cancelled from `deadline` on.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |d| d.min(deadline)));
        self
    }

    /// The same flag for work that shares the machine by turns: at every check it goes behind work
    /// that comes first, see [`crate::Scheduler`].
    #[must_use]
    pub fn with_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// The same flag, cancelled at the `n`-th check from now (0 = the first). Lets a test stop at
    /// any layer, without clocks.
    #[must_use]
    pub fn at_check(mut self, n: u32) -> Self {
        self.checks = Some(Arc::new(AtomicI64::new(i64::from(n))));
        self
    }

    /// Asks for the work to stop; idempotent, from any thread.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Release);
    }

    /// Whether the work shall stop. The engine calls this once a layer, in a prefill once for each
    /// half of it.
    pub fn is_cancelled(&self) -> bool {
        if let Some(checks) = &self.checks
            && checks.fetch_sub(1, Ordering::Relaxed) <= 0
        {
            self.cancel();
        }
        self.is_raised()
    }

    /// Whether it was raised, without counting as a check.
    fn is_raised(&self) -> bool {
        self.flag.load(Ordering::Acquire) || self.deadline.is_some_and(|d| Instant::now() >= d)
    }

    /// Waits for the turn, if there is one to wait for; the machine is handed on when the result is
    /// dropped.
    pub(crate) fn enter(&self) -> Option<Working> {
        self.turn.as_ref().and_then(|turn| turn.enter(&|| self.is_raised()))
    }

    /// From here on this is decoding: it comes before prefills.
    pub(crate) fn begin_decoding(&self) {
        if let Some(turn) = &self.turn {
            turn.begin_decoding();
        }
    }

    /// [`Cancel::is_cancelled`] before a layer or half of one; lets work that comes first go first.
    /// `first_layer`: equals may go first too.
    pub(crate) fn checkpoint(&self, first_layer: bool) -> bool {
        if self.is_cancelled() {
            return true;
        }
        match &self.turn {
            Some(turn) if turn.step_aside(first_layer, &|| self.is_raised()) => self.is_raised(),
            _ => false,
        }
    }
}
