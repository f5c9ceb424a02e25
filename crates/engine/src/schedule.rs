//! Whose layers run next when several requests share the machine: decoding first, then prefills of requests, then warming; clients of
//! equal rank in turn. Work in progress steps aside between layers, so nobody waits longer than a layer for work that comes after him.
//!
//! Threads wait on their own; there is no queue of jobs. Work without a [`Turn`] is not held up.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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

    /// Who comes next: by class, then who was interrupted, then the client served longest ago, then who came first.
    fn next(&self) -> Option<Waiting> {
        self.waiting.iter().copied().min_by_key(|w| (w.class, !w.in_pass, self.last_served(w.client), w.ticket))
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

    /// A place in line for one request (or one piece of warming) of `client`; goes into [`crate::Cancel::with_turn`].
    pub fn turn(self: &Arc<Self>, class: Class, client: u64) -> Turn {
        Turn { scheduler: Arc::clone(self), class: Arc::new(AtomicU8::new(class as u8)), client }
    }

    /// How many wait for a turn now.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody runs and `class` of `client` is next; then it runs. `in_pass`: it was interrupted in the middle of a pass.
    fn acquire<'a>(&'a self, mut state: MutexGuard<'a, State>, class: Class, client: u64, in_pass: bool) {
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push(Waiting { ticket, class, client, in_pass });
        while state.busy || state.next().is_none_or(|next| next.ticket != ticket) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.retain(|waiting| waiting.ticket != ticket);
        state.busy = true;
        state.serve(client);
        if state.waiting.is_empty() {
            state.served.retain(|(id, _)| *id == client);
        }
    }
}

/// A place in line; see [`Scheduler::turn`]. Clones are the same place.
#[derive(Clone)]
pub struct Turn {
    scheduler: Arc<Scheduler>,
    class: Arc<AtomicU8>,
    client: u64,
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

    pub(crate) fn enter(&self) -> Working {
        self.scheduler.acquire(self.scheduler.lock(), self.class(), self.client, false);
        Working(self.clone())
    }

    pub(crate) fn begin_decoding(&self) {
        self.class.store(Class::Decode as u8, Ordering::Relaxed);
    }

    /// Lets those go first who come first, and waits for them: others of our class only `between_passes`. Whether anybody did.
    pub(crate) fn step_aside(&self, between_passes: bool) -> bool {
        let (class, client) = (self.class(), self.client);
        let mut state = self.scheduler.lock();
        let others = |w: &Waiting| w.class < class || (between_passes && w.class == class && w.client != client);
        if !state.waiting.iter().any(others) {
            return false;
        }
        state.busy = false;
        state.serve(client);
        self.scheduler.changed.notify_all();
        self.scheduler.acquire(state, class, client, !between_passes);
        true
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("class", &self.class()).field("client", &self.client).finish_non_exhaustive()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.scheduler.lock().busy = false;
        self.0.scheduler.changed.notify_all();
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
    fn worker(scheduler: &Arc<Scheduler>, class: Class, client: u64, name: &'static str, to: &mpsc::Sender<&'static str>) {
        let (turn, to) = (scheduler.turn(class, client), to.clone());
        let before = scheduler.waiting();
        thread::spawn(move || {
            let working = turn.enter();
            to.send(name).expect("the test listens");
            drop(working);
        });
        until_waiting(scheduler, before + 1);
    }

    #[test]
    fn decoding_comes_before_prefills_and_these_before_warming() {
        let scheduler = Scheduler::new();
        let (to, from) = mpsc::channel();
        let working = scheduler.turn(Class::Prefill, 1).enter();
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
        let working = turn.enter();
        assert!(!turn.step_aside(true), "nobody waits");
        worker(&scheduler, Class::Warm, 2, "warm", &to);
        assert!(!turn.step_aside(true), "warming does not hold up a request");
        worker(&scheduler, Class::Prefill, 3, "equal", &to);
        assert!(!turn.step_aside(false), "equals wait for the end of a pass");
        worker(&scheduler, Class::Decode, 4, "first", &to);
        assert!(turn.step_aside(false));
        assert_eq!(from.recv(), Ok("first"));
        assert!(from.try_recv().is_err(), "it is our turn again");
        assert!(turn.step_aside(true));
        assert_eq!(from.recv(), Ok("equal"));
        turn.begin_decoding();
        assert!(!turn.step_aside(true));
        drop(working);
        assert_eq!(from.recv(), Ok("warm"));
    }

    #[test]
    fn clients_take_turns() {
        let scheduler = Scheduler::new();
        let (to, from) = mpsc::channel();
        let working = scheduler.turn(Class::Prefill, 1).enter();
        for _ in 0..3 {
            worker(&scheduler, Class::Prefill, 1, "greedy", &to);
        }
        worker(&scheduler, Class::Prefill, 2, "modest", &to);
        drop(working);
        assert_eq!(from.recv(), Ok("modest"), "who was served last comes last");
        assert_eq!([(); 3].map(|()| from.recv().expect("all come")), ["greedy"; 3]);
    }
}
