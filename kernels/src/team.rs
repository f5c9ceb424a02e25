//! The thread team: workers for regions of a few microseconds.
//!
//! A region is cut into chunks that the caller and the workers claim one by one, so a worker that
//! another process holds up costs at most the chunk it has begun, and one that sleeps is not waited
//! for at all. Workers spin for [`SPIN`] after the last region, then park: an idle process uses no
//! CPU. There is one region at a time; a caller that finds the team busy runs its work alone, so
//! that concurrent requests never use more threads than the team has. Nothing here allocates after
//! the start.
//!
//! Start at [`run`]. `threads.rs` decides how many threads take part and whether a region is worth
//! it.

use std::cell::{Cell, UnsafeCell};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a worker looks for the next region before it parks: longer than what lies between two
/// layers or two tokens.
const SPIN: Duration = Duration::from_micros(200);
/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 32;
/// Spins of a caller that waits for the last chunk before it offers its core to others.
const SPINS_BEFORE_YIELD: u32 = 2_000;
/// Most workers of a process.
const MAX_WORKERS: usize = 255;

/// A region's body: runs chunk `i` of the region.
type Body<'a> = dyn Fn(usize) + Sync + 'a;

/// Keeps what different threads write on different cache lines (two, because lines are fetched in
/// pairs).
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// The claim word: epoch (24 bits), chunks (20), next chunk (20). One `fetch_add` claims a chunk
/// and tells whether it exists, so a worker that comes late can never take part in a region it
/// knows nothing of.
mod claim {
    pub(super) const MAX_CHUNKS: usize = (1 << 19) - 1;
    const EPOCHS: u64 = 1 << 24;
    const FIELD: u64 = (1 << 20) - 1;

    pub(super) fn new(epoch: u64, chunks: usize) -> u64 {
        ((epoch % EPOCHS) << 40) | ((chunks as u64) << 20)
    }
    pub(super) fn epoch(word: u64) -> u64 {
        word >> 40
    }
    /// The chunk that the claim that read `word` got, if there was one left.
    pub(super) fn chunk(word: u64) -> Option<usize> {
        let (chunks, next) = (word >> 20 & FIELD, word & FIELD);
        (next < chunks).then_some(next as usize)
    }
}

thread_local! {
    static SEAT: Cell<usize> = const { Cell::new(0) };
}

/// Which thread of a region this is: 0 for the one that called [`run`], below `width` for the
/// others.
pub(crate) fn seat() -> usize {
    SEAT.get()
}

struct Worker {
    thread: Thread,
    /// Set by the worker before it parks, cleared by whoever wakes it.
    asleep: &'static Line<AtomicBool>,
}

struct Team {
    busy: Line<AtomicBool>,
    claim: Line<AtomicU64>,
    /// Chunks of the region that are done.
    done: Line<AtomicUsize>,
    /// Threads that may take part, the caller among them.
    width: Line<AtomicUsize>,
    panicked: AtomicBool,
    body: UnsafeCell<*const Body<'static>>,
    workers: RwLock<Vec<Worker>>,
    /// How many of `workers` there are, readable without the lock.
    started: AtomicUsize,
    /// CPU of the last caller that woke someone; workers keep off it.
    caller_cpu: AtomicU32,
}

// SAFETY: `body` is written by the one caller that holds `busy`, before the claim word that lets
// workers read it is published (release), and not again before every claimed chunk is done
// (acquire).
unsafe impl Sync for Team {}

static TEAM: Team = Team {
    busy: Line(AtomicBool::new(false)),
    claim: Line(AtomicU64::new(0)),
    done: Line(AtomicUsize::new(0)),
    width: Line(AtomicUsize::new(1)),
    panicked: AtomicBool::new(false),
    body: UnsafeCell::new(&|_| ()),
    workers: RwLock::new(Vec::new()),
    started: AtomicUsize::new(0),
    caller_cpu: AtomicU32::new(u32::MAX),
};

static PIN: AtomicBool = AtomicBool::new(true);

/// Whether workers are bound to one CPU each of those the process may use (the default), or left to
/// the scheduler. Takes effect when a worker is next woken.
pub fn set_pinned(pinned: bool) {
    PIN.store(pinned, Ordering::Relaxed);
}

/// Runs `body(0) … body(chunks - 1)`, each once, on at most `width` threads (the calling one among
/// them), and returns when all are done. Chunks are handed out in order. A panic in a chunk is
/// raised again here; whether later chunks have run is open then.
///
/// Regions do not nest: a region inside of a region, or one beside another thread's, runs on its
/// calling thread alone.
pub fn run(chunks: usize, width: usize, body: &(dyn Fn(usize) + Sync)) {
    let width = width.min(chunks).min(MAX_WORKERS + 1);
    if width <= 1 || chunks > claim::MAX_CHUNKS || TEAM.busy.0.swap(true, Ordering::Acquire) {
        return (0..chunks).for_each(body);
    }
    TEAM.ensure_workers(width - 1);
    // SAFETY: only the lifetime is extended; this function does not return while a worker may still
    // call it.
    let lasting = unsafe {
        std::mem::transmute::<*const Body<'_>, *const Body<'static>>(std::ptr::from_ref(body))
    };
    // SAFETY: `busy` is held and no claimed chunk is open, so nobody reads `body` now.
    unsafe { *TEAM.body.get() = lasting };
    TEAM.done.0.store(0, Ordering::Relaxed);
    TEAM.width.0.store(width, Ordering::Relaxed);
    let epoch = claim::epoch(TEAM.claim.0.load(Ordering::Relaxed)) + 1;
    TEAM.claim.0.store(claim::new(epoch, chunks), Ordering::Release);
    // Pairs with the fence of a worker that is about to park: it sees the new claim word, or we see
    // it asleep.
    fence(Ordering::SeqCst);
    TEAM.wake(width - 1);
    let first_panic = TEAM.work();
    let mut spins = 0u32;
    while TEAM.done.0.load(Ordering::Acquire) < chunks {
        spins += 1;
        if spins > SPINS_BEFORE_YIELD {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
    let worker_panicked = TEAM.panicked.swap(false, Ordering::Relaxed);
    TEAM.busy.0.store(false, Ordering::Release);
    if let Some(payload) = first_panic {
        std::panic::resume_unwind(payload);
    }
    assert!(!worker_panicked, "a thread of the team panicked");
}

impl Team {
    /// Claims and runs chunks until none is left; the first panic among them.
    fn work(&self) -> Option<Box<dyn std::any::Any + Send>> {
        let mut finished = 0;
        let mut panic = None;
        while let Some(chunk) = claim::chunk(self.claim.0.fetch_add(1, Ordering::AcqRel)) {
            // SAFETY: a claimed chunk that is not yet counted in `done` keeps the region, and so
            // its body, alive.
            let body = unsafe { &**self.body.get() };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(chunk))) {
                panic.get_or_insert(payload);
                self.panicked.store(true, Ordering::Relaxed);
            }
            finished += 1;
        }
        if finished > 0 {
            self.done.0.fetch_add(finished, Ordering::Release);
        }
        panic
    }

    fn wake(&self, n: usize) {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        let mut located = false;
        for worker in workers.iter().take(n) {
            if worker.asleep.0.load(Ordering::Relaxed)
                && worker.asleep.0.swap(false, Ordering::AcqRel)
            {
                if !located {
                    self.caller_cpu.store(cpu::current(), Ordering::Relaxed);
                    located = true;
                }
                worker.thread.unpark();
            }
        }
    }

    /// Starts workers until there are `n`. A system that gives no more threads leaves the team
    /// smaller.
    fn ensure_workers(&'static self, n: usize) {
        if self.started.load(Ordering::Relaxed) >= n {
            return;
        }
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        self.caller_cpu.store(cpu::current(), Ordering::Relaxed);
        while workers.len() < n {
            let index = workers.len();
            let asleep: &'static Line<AtomicBool> =
                Box::leak(Box::new(Line(AtomicBool::new(false))));
            let body = move || self.worker(index, asleep);
            let Ok(handle) =
                std::thread::Builder::new().name(format!("lacuna-team-{}", index + 1)).spawn(body)
            else {
                break;
            };
            workers.push(Worker { thread: handle.thread().clone(), asleep });
        }
        self.started.store(n, Ordering::Relaxed);
    }

    fn worker(&self, index: usize, asleep: &Line<AtomicBool>) -> ! {
        SEAT.set(index + 1);
        let mut seat = cpu::Seat::default();
        seat.take(index, self.caller_cpu.load(Ordering::Relaxed), PIN.load(Ordering::Relaxed));
        let mut seen = u64::MAX;
        let mut idle_since = Instant::now();
        let mut spins = 0u32;
        loop {
            let epoch = claim::epoch(self.claim.0.load(Ordering::Acquire));
            if epoch != seen {
                seen = epoch;
                if index + 1 < self.width.0.load(Ordering::Relaxed) {
                    self.work();
                    idle_since = Instant::now();
                    spins = 0;
                    continue;
                }
            }
            std::hint::spin_loop();
            spins += 1;
            if !spins.is_multiple_of(SPINS_PER_LOOK) || idle_since.elapsed() < SPIN {
                continue;
            }
            asleep.0.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if claim::epoch(self.claim.0.load(Ordering::Relaxed)) == seen {
                while asleep.0.load(Ordering::Acquire) {
                    std::thread::park();
                }
                seat.take(
                    index,
                    self.caller_cpu.load(Ordering::Relaxed),
                    PIN.load(Ordering::Relaxed),
                );
            }
            asleep.0.store(false, Ordering::Relaxed);
            idle_since = Instant::now();
        }
    }
}

/// Cores this process may use: the affinity mask and the container's quota count.
pub fn available() -> usize {
    static ALL: OnceLock<usize> = OnceLock::new();
    *ALL.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

#[cfg(target_os = "linux")]
mod cpu {
    //! Which CPU a worker sits on.

    use std::mem::{size_of, zeroed};

    /// The CPU that the calling thread runs on now.
    pub(super) fn current() -> u32 {
        // SAFETY: no arguments; -1 on error becomes u32::MAX, "unknown".
        unsafe { libc::sched_getcpu() as u32 }
    }

    /// The CPUs a worker may choose from, read when it first sits down, and the one it chose.
    #[derive(Default)]
    pub(super) struct Seat {
        allowed: Vec<u32>,
        taken: Option<u32>,
    }

    impl Seat {
        /// Binds the calling worker to the `index`-th allowed CPU that is not the caller's; frees
        /// it if it shall not be bound.
        pub(super) fn take(&mut self, index: usize, caller: u32, pinned: bool) {
            if self.allowed.is_empty() {
                self.allowed = affinity();
            }
            let others = || self.allowed.iter().filter(|cpu| **cpu != caller);
            let wanted =
                others().cycle().nth(index % others().count().max(1)).copied().filter(|_| pinned);
            if wanted == self.taken {
                return;
            }
            match wanted {
                Some(cpu) => bind(&[cpu]),
                None => bind(&self.allowed),
            }
            self.taken = wanted;
        }
    }

    fn affinity() -> Vec<u32> {
        // SAFETY: a cpu_set_t is plain bits; the call writes at most its size.
        let (set, error) = unsafe {
            let mut set: libc::cpu_set_t = zeroed();
            let error = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
            (set, error)
        };
        // SAFETY: the index is below CPU_SETSIZE.
        let is_set = |cpu: &u32| unsafe { libc::CPU_ISSET(*cpu as usize, &set) };
        if error == 0 { (0..libc::CPU_SETSIZE as u32).filter(is_set).collect() } else { Vec::new() }
    }

    /// Where the system refuses, the worker stays where it is: slower, not wrong.
    fn bind(cpus: &[u32]) {
        // SAFETY: the set is initialised to no CPU, the indices come from `affinity` (below
        // CPU_SETSIZE).
        unsafe {
            let mut set: libc::cpu_set_t = zeroed();
            for cpu in cpus {
                libc::CPU_SET(*cpu as usize, &mut set);
            }
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod cpu {
    //! Binding threads to CPUs is only done on Linux.

    pub(super) fn current() -> u32 {
        u32::MAX
    }

    #[derive(Default)]
    pub(super) struct Seat;

    impl Seat {
        pub(super) fn take(&mut self, _index: usize, _caller: u32, _pinned: bool) {}
    }
}
