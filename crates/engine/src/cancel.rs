//! The cancel flag that every long operation looks at between layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

/// A cheap, clonable flag with an optional deadline. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
    /// Checks still answered with "go on"; `None` = unlimited.
    checks: Option<Arc<AtomicI64>>,
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

    /// The same flag, cancelled at the `n`-th check from now (0 = the first). Lets a test stop at any layer, without clocks.
    #[must_use]
    pub fn at_check(mut self, n: u32) -> Self {
        self.checks = Some(Arc::new(AtomicI64::new(i64::from(n))));
        self
    }

    /// Asks for the work to stop; idempotent, from any thread.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Release);
    }

    /// Whether the work shall stop. The engine calls this once a layer.
    pub fn is_cancelled(&self) -> bool {
        if let Some(checks) = &self.checks
            && checks.fetch_sub(1, Ordering::Relaxed) <= 0
        {
            self.cancel();
        }
        self.flag.load(Ordering::Acquire) || self.deadline.is_some_and(|d| Instant::now() >= d)
    }
}
