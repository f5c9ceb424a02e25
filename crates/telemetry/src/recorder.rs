//! [`Recorder`]: what a server holds. Feeds the tracker on the caller's thread and writes on its own.
//!
//! A call costs the caller microseconds: the tracker's step and no file. Nothing here fails: a
//! store that cannot be opened or written (read-only home, full disk, damaged or newer file) is
//! said once in the log, and completing goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::store::{Store, StoreError, set_aside};
use crate::track::{Answer, Change, Signal, Tracker};

/// Where and how to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub path: PathBuf,
    /// Rows older than this are deleted at the start of a session; 0: never.
    pub retention_days: u32,
    /// Time between two batches: what a crash may cost.
    pub flush: Duration,
}

impl Options {
    pub fn at(path: PathBuf) -> Options {
        Options { path, retention_days: 365, flush: Duration::from_secs(1) }
    }
}

/// Changes that wait for a store that cannot be written just now; beyond, the oldest are given up
/// and counted.
const MAX_PENDING: usize = 100_000;
/// A store that takes longer to answer at the end of a session is left to itself: an editor is
/// waiting.
const LAST_WRITE: Duration = Duration::from_secs(30);
const DAY_MS: i64 = 86_400_000;

enum Order {
    /// Write what there is and answer.
    Flush(Sender<()>),
    Stop,
}

struct Shared {
    clock: Clock,
    tracker: Mutex<Tracker>,
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Tracker, Moment) -> R) -> R {
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that moments do not go back.
        let now = self.clock.now();
        f(&mut tracker, now)
    }
}

/// Looks at the store on the writer's thread, before the first batch and after each: how a running
/// server learns what other processes have put there. What it costs, no request waits for.
pub type Glance = Box<dyn FnMut(&Store) + Send>;

/// Records one client's session.
pub struct Recorder {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    /// With what tells that it has ended.
    writer: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
}

impl Recorder {
    /// Starts the writer. Returns at once: the store is opened on the writer's thread.
    pub fn start(options: Options) -> Recorder {
        Recorder::start_with(options, Box::new(|_| ()))
    }

    /// As [`Recorder::start`], with a look at the store now and then.
    pub fn start_with(options: Options, glance: Glance) -> Recorder {
        let shared = Arc::new(Shared { clock: Clock::default(), tracker: Mutex::default() });
        let (orders, inbox) = mpsc::channel();
        let writers = Arc::clone(&shared);
        let (ending, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            Writer::new(options, writers, glance).run(&inbox);
            let _ = ending.send(());
        });
        let writer = thread
            .map_err(|e| tracing::warn!(error = %e, "telemetry is off: no thread"))
            .ok()
            .map(|thread| (thread, ended));
        Recorder { shared, orders, writer: Mutex::new(writer) }
    }

    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    pub fn signal(&self, signal: Signal<'_>) {
        self.shared.with(|tracker, now| tracker.feed(now, signal));
    }

    /// Returns the ids of the items, for the client to send back.
    pub fn answered(&self, answer: &Answer<'_>) -> Vec<u32> {
        self.shared.with(|tracker, now| tracker.answered(now, answer))
    }

    /// Writes everything that was recorded before; returns when that is done or cannot be.
    pub fn flush(&self) {
        let (answer, done) = mpsc::channel();
        if self.orders.send(Order::Flush(answer)).is_ok() {
            let _ = done.recv();
        }
    }

    /// Ends the session: what is under watch is closed, everything is written.
    pub fn finish(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((writer, ended)) = writer {
            let _ = self.orders.send(Order::Stop);
            match ended.recv_timeout(LAST_WRITE) {
                Err(RecvTimeoutError::Timeout) => tracing::warn!(
                    "telemetry: the store does not answer, what was recorded last is lost"
                ),
                _ => drop(writer.join()),
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Writer {
    options: Options,
    shared: Arc<Shared>,
    pending: Vec<Change>,
    lost: u64,
    /// The trouble that was said last, so that it is said once.
    said: String,
    glance: Glance,
}

impl Writer {
    fn new(options: Options, shared: Arc<Shared>, glance: Glance) -> Writer {
        Writer { options, shared, pending: Vec::new(), lost: 0, said: String::new(), glance }
    }

    /// A turn that panics loses what it was about to write; the next one is taken all the same.
    fn run(mut self, inbox: &Receiver<Order>) {
        let mut store = catch_unwind(AssertUnwindSafe(|| self.open())).unwrap_or_default();
        loop {
            if let Some((store, _)) = &store
                && catch_unwind(AssertUnwindSafe(|| (self.glance)(store))).is_err()
            {
                tracing::error!("telemetry: looking at the store panicked");
            }
            let order = inbox.recv_timeout(self.options.flush);
            let stop = matches!(order, Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected));
            if catch_unwind(AssertUnwindSafe(|| self.turn(&mut store, stop))).is_err() {
                tracing::error!(
                    "telemetry: writing panicked, {} changes are lost",
                    self.pending.len()
                );
                self.lost += self.pending.len() as u64;
                self.pending.clear();
            }
            if let Ok(Order::Flush(answer)) = order {
                let _ = answer.send(());
            }
            if stop {
                return;
            }
        }
    }

    /// Takes what the tracker has and writes it.
    fn turn(&mut self, store: &mut Option<(Store, i64)>, stop: bool) {
        let signal = if stop { Signal::Finished } else { Signal::Tick };
        let changes = self.shared.with(|tracker, now| {
            tracker.feed(now, signal);
            tracker.take()
        });
        let Some((store, session)) = store else { return };
        self.pending.extend(changes);
        self.write(store, session);
        if stop {
            let ended = store.end_session(*session, self.shared.clock.now().wall, self.lost);
            ended.unwrap_or_else(|e| self.complain(&e));
        }
    }

    fn write(&mut self, store: &mut Store, session: &mut i64) {
        if self.pending.is_empty() {
            return;
        }
        let written = match store.write(*session, &self.pending) {
            // What was recorded before is to be forgotten, here as well; what comes after is
            // another session's.
            Err(StoreError::Purged { .. }) => {
                self.shared.with(|tracker, _| tracker.forget());
                self.pending.clear();
                store.begin_session(self.shared.clock.now().wall).map(|begun| *session = begun)
            }
            written => written,
        };
        match written {
            Ok(()) => self.pending.clear(),
            Err(e) => {
                self.complain(&e);
                let excess = self.pending.len().saturating_sub(MAX_PENDING);
                self.lost += excess as u64;
                self.pending.drain(..excess);
            }
        }
    }

    fn open(&mut self) -> Option<(Store, i64)> {
        let opened = match Store::open(&self.options.path) {
            Err(e) if e.is_damage() => {
                self.complain(&e);
                set_aside(&self.options.path).and_then(|aside| {
                    tracing::warn!(file = %aside.display(), "the damaged telemetry store was set aside");
                    Store::open(&self.options.path)
                })
            }
            opened => opened,
        };
        let begun = opened.and_then(|mut store| {
            let now = self.shared.clock.now().wall;
            if self.options.retention_days > 0 {
                store.forget_before(now - i64::from(self.options.retention_days) * DAY_MS)?;
            }
            let session = store.begin_session(now)?;
            Ok((store, session))
        });
        begun.map_err(|e| self.complain(&e)).ok()
    }

    fn complain(&mut self, error: &StoreError) {
        let text = error.to_string();
        if text != self.said {
            tracing::warn!("telemetry: {text}");
            self.said = text;
        }
    }
}
