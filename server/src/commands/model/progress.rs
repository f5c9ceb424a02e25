//! Progress of writing a large file, and its interruption by Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Bytes between two lines where there is no terminal.
const BYTES_A_LINE: u64 = 1 << 30;

/// A bar on a terminal; a line for each gigabyte otherwise.
pub struct Progress {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    next_line: u64,
}

impl Progress {
    pub fn new() -> anyhow::Result<Progress> {
        let stop = Arc::new(AtomicBool::new(false));
        let raise = Arc::clone(&stop);
        ctrlc::set_handler(move || raise.store(true, Ordering::Relaxed))?;
        let style =
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?;
        Ok(Progress { bar: ProgressBar::new(0).with_style(style), stop, next_line: BYTES_A_LINE })
    }

    /// Shows `done` of `total` bytes; breaks once Ctrl-C was pressed.
    pub fn show(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.bar.is_hidden() && done >= self.next_line {
            self.next_line = done + BYTES_A_LINE;
            crate::say(&format!(
                "{:.1} of {:.1} GB written",
                done as f64 / 1e9,
                total as f64 / 1e9
            ));
        }
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
