//! Whose layers run next when several requests share the machine: decoding first, then prefills of
//! requests, then warming; clients of equal rank in turn. Work in progress steps aside between
//! (halves of) layers, so nobody waits longer than a layer for work that comes after him.
//!
//! Threads wait on their own; there is no queue of jobs. Work without a [`Turn`] is not held up.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiting thread looks at its cancel flag.
const FLAG_PERIOD: Duration = Duration::from_millis(2);

/// What comes first, first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Tokens of an answer that somebody waits for.
    Decode,
    /// The prompt of such an answer.
    Prefill,
    /// Work ahead of any request.
    Warm,
}

/// Shares one machine between requests.
#[derive(Default)]
pub struct Scheduler {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    busy: bool,
    /// Those who want to run, by ticket.
    waiting: Vec<Waiting>,
    next_ticket: u64,
    /// When each client ran last; forgotten when nobody waits.
    served: Vec<(u64, u64)>,
    clock: u64,
}

#[derive(Clone, Copy)]
struct Waiting {
    ticket: u64,
    class: Class,
    client: u64,
    /// Stepped aside in the middle of a pass: before equals.
    in_pass: bool,
}

impl State {
    fn last_served(&self, client: u64) -> u64 {
        self.served.iter().find(|(id, _)| *id == client).map_or(0, |(_, at)| *at)
    }

    /// Who comes next: by class, then who was interrupted, then the client served longest ago, then
    /// who came first.
    fn next(&self) -> Option<Waiting> {
        self.waiting
            .iter()
            .copied()
            .min_by_key(|w| (w.class, !w.in_pass, self.last_served(w.client), w.ticket))
    }

    fn serve(&mut self, client: u64) {
        self.clock += 1;
        let now = self.clock;
        match self.served.iter_mut().find(|(id, _)| *id == client) {
            Some((_, at)) => *at = now,
            None => self.served.push((client, now)),
        }
    }
}

impl Scheduler {
    pub fn new() -> Arc<Scheduler> {
        Arc::default()
    }

    /// A place in line for one request (or one piece of warming) of `client`; goes into
    /// [`crate::Cancel::with_turn`].
    pub fn turn(self: &Arc<Self>, class: Class, client: u64) -> Turn {
        Turn {
            scheduler: Arc::clone(self),
            class: Arc::new(AtomicU8::new(class as u8)),
            client,
            holds: Arc::default(),
        }
    }

    /// How many wait for a turn now.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody runs and `class` of `client` is next; then it runs. `in_pass`: it was
    /// interrupted in the middle of a pass.
    ///
    /// Work that is cancelled while it waits is let through at once: it will not run a layer, and
    /// somebody waits for its cache.
    fn acquire<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        class: Class,
        client: u64,
        in_pass: bool,
        cancelled: &dyn Fn() -> bool,
    ) -> bool {
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push(Waiting { ticket, class, client, in_pass });
        while state.busy || state.next().is_none_or(|next| next.ticket != ticket) {
            if cancelled() {
                state.waiting.retain(|waiting| waiting.ticket != ticket);
                self.changed.notify_all();
                return false;
            }
            // Raising a flag wakes nobody.
            state = self
                .changed
                .wait_timeout(state, FLAG_PERIOD)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.waiting.retain(|waiting| waiting.ticket != ticket);
        state.busy = true;
        state.serve(client);
        if state.waiting.is_empty() {
            state.served.retain(|(id, _)| *id == client);
        }
        true
    }
}

/// A place in line; see [`Scheduler::turn`]. Clones are the same place.
#[derive(Clone)]
pub struct Turn {
    scheduler: Arc<Scheduler>,
    class: Arc<AtomicU8>,
    client: u64,
    /// The machine is ours now.
    holds: Arc<AtomicBool>,
}

/// The machine is ours until this is dropped.
pub(crate) struct Working(Turn);

impl Turn {
    fn class(&self) -> Class {
        match self.class.load(Ordering::Relaxed) {
            0 => Class::Decode,
            1 => Class::Prefill,
            _ => Class::Warm,
        }
    }

    /// `None`: cancelled while it waited.
    pub(crate) fn enter(&self, cancelled: &dyn Fn() -> bool) -> Option<Working> {
        let ours = self.scheduler.acquire(
            self.scheduler.lock(),
            self.class(),
            self.client,
            false,
            cancelled,
        );
        self.holds.store(ours, Ordering::Relaxed);
        ours.then(|| Working(self.clone()))
    }

    /// A request's tokens come before prefills; what is generated ahead of any request stays behind
    /// them.
    pub(crate) fn begin_decoding(&self) {
        if self.class() == Class::Prefill {
            self.class.store(Class::Decode as u8, Ordering::Relaxed);
        }
    }

    /// Lets those go first who come first, and waits for them: others of our class only
    /// `between_passes`. Whether anybody did.
    pub(crate) fn step_aside(&self, between_passes: bool, cancelled: &dyn Fn() -> bool) -> bool {
        let (class, client) = (self.class(), self.client);
        let mut state = self.scheduler.lock();
        let others = |w: &Waiting| {
            w.class < class || (between_passes && w.class == class && w.client != client)
        };
        if !self.holds.load(Ordering::Relaxed) || !state.waiting.iter().any(others) {
            return false;
        }
        state.busy = false;
        state.serve(client);
        self.scheduler.changed.notify_all();
        let ours = self.scheduler.acquire(state, class, client, !between_passes, cancelled);
        self.holds.store(ours, Ordering::Relaxed);
        true
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn")
            .field("class", &self.class())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if self.0.holds.swap(false, Ordering::Relaxed) {
            self.0.scheduler.lock().busy = false;
            self.0.scheduler.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Blocks until `n` wait.
    fn until_waiting(scheduler: &Scheduler, n: usize) {
        while scheduler.waiting() < n {
            thread::yield_now();
        }
    }

    /// Starts a thread that waits for its turn, reports its name and hands the machine on.
    fn worker(
        scheduler: &Arc<Scheduler>,
        class: Class,
        client: u64,
        name: &'static str,
        to: &mpsc::Sender<&'static str>,
    ) {
        let (turn, to) = (scheduler.turn(class, client), to.clone());
        let before = scheduler.waiting();
        thread::spawn(move || {
            let working = turn.enter(&|| false);
            to.send(name).expect("the test listens");
            drop(working);
        });
        until_waiting(scheduler, before + 1);
    }

    #[test]
    fn decoding_comes_before_prefills_and_these_before_warming() {
        let scheduler = Scheduler::new();
        let (to, from) = mpsc::channel();
        let working = scheduler.turn(Class::Prefill, 1).enter(&|| false);
        worker(&scheduler, Class::Warm, 2, "warm", &to);
        worker(&scheduler, Class::Prefill, 3, "prefill", &to);
        worker(&scheduler, Class::Decode, 4, "decode", &to);
        drop(working);
        assert_eq!([(); 3].map(|()| from.recv().expect("all come")), ["decode", "prefill", "warm"]);
    }

    #[test]
    fn work_steps_aside_for_what_comes_first_at_every_layer_and_for_equals_between_passes() {
        let scheduler = Scheduler::new();
        let (to, from) = mpsc::channel();
        let turn = scheduler.turn(Class::Prefill, 1);
        let working = turn.enter(&|| false);
        assert!(!turn.step_aside(true, &|| false), "nobody waits");
        worker(&scheduler, Class::Warm, 2, "warm", &to);
        assert!(!turn.step_aside(true, &|| false), "warming does not hold up a request");
        worker(&scheduler, Class::Prefill, 3, "equal", &to);
        assert!(!turn.step_aside(false, &|| false), "equals wait for the end of a pass");
        worker(&scheduler, Class::Decode, 4, "first", &to);
        assert!(turn.step_aside(false, &|| false));
        assert_eq!(from.recv(), Ok("first"));
        assert!(from.try_recv().is_err(), "it is our turn again");
        assert!(turn.step_aside(true, &|| false));
        assert_eq!(from.recv(), Ok("equal"));
        turn.begin_decoding();
        assert!(!turn.step_aside(true, &|| false));
        drop(working);
        assert_eq!(from.recv(), Ok("warm"));
    }

    #[test]
    fn clients_take_turns() {
        let scheduler = Scheduler::new();
        let (to, from) = mpsc::channel();
        let working = scheduler.turn(Class::Prefill, 1).enter(&|| false);
        for _ in 0..3 {
            worker(&scheduler, Class::Prefill, 1, "greedy", &to);
        }
        worker(&scheduler, Class::Prefill, 2, "modest", &to);
        drop(working);
        assert_eq!(from.recv(), Ok("modest"), "who was served last comes last");
        assert_eq!([(); 3].map(|()| from.recv().expect("all come")), ["greedy"; 3]);
    }

    #[test]
    fn who_is_cancelled_while_waiting_leaves_at_once_and_takes_nothing_along() {
        let scheduler = Scheduler::new();
        let working = scheduler.turn(Class::Decode, 1).enter(&|| false);
        assert!(
            scheduler.turn(Class::Warm, 2).enter(&|| true).is_none(),
            "the machine is taken, and it is not waited for"
        );
        assert_eq!(scheduler.waiting(), 0);
        drop(working);
        // In the middle of its work: it steps aside for a request, is cancelled, and does not hand
        // on what is not its own.
        let turn = scheduler.turn(Class::Warm, 2);
        let warming = turn.enter(&|| false);
        let (to, order) = mpsc::channel();
        worker(&scheduler, Class::Prefill, 1, "request", &to);
        until_waiting(&scheduler, 1);
        assert!(turn.step_aside(false, &|| true));
        drop(warming);
        assert_eq!(order.recv().unwrap(), "request");
        drop(
            scheduler
                .turn(Class::Warm, 3)
                .enter(&|| false)
                .expect("the machine is free in the end"),
        );
        // Generating ahead of any request does not come before prefills.
        turn.begin_decoding();
        assert_eq!(turn.class(), Class::Warm);
    }
}
