//! Work on a stream of items by several threads, results in the order of the items, a chunk in
//! memory at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of items that are held at once, unless one alone is larger.
const HELD_BYTES: usize = 64 << 20;

/// How much is in memory at a time.
pub(super) struct Chunk {
    pub jobs: usize,
    /// Items a worker. A worker waits at the end of a chunk for the slowest item, so it is not too
    /// small.
    pub items_per_worker: usize,
}

impl Chunk {
    /// Items that are `rows` examples each.
    pub fn of(jobs: usize, rows: usize) -> Chunk {
        Chunk { jobs: jobs.max(1), items_per_worker: (64 / rows.max(1)).clamp(2, 24) }
    }
}

/// Calls `work(worker, item)` for every item and `sink` with the chunks of results in order, until
/// the end, an error, or until `stop` says so (the chunk in work is dropped then). `source` says
/// how many bytes an item has. Returns whether it came to the end.
pub(super) fn in_order<T: Send, R: Send, E>(
    mut source: impl FnMut() -> Result<Option<(T, usize)>, E>,
    Chunk { jobs, items_per_worker }: Chunk,
    stop: impl Fn() -> bool + Sync,
    work: impl Fn(usize, T) -> R + Sync,
    mut sink: impl FnMut(Vec<R>) -> Result<(), E>,
) -> Result<bool, E> {
    loop {
        let (mut items, mut held) = (Vec::new(), 0);
        while items.len() < jobs * items_per_worker && held < HELD_BYTES {
            let Some((item, bytes)) = source()? else { break };
            items.push(Mutex::new(Some(item)));
            held += bytes;
        }
        if items.is_empty() {
            return Ok(true);
        }
        let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for worker in 0..jobs {
                let (items, results, next, work, stop) = (&items, &results, &next, &work, &stop);
                let turn = move || {
                    while !stop() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else { break };
                        let item =
                            item.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                        let result = item.map(|item| work(worker, item));
                        *results[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                            result;
                    }
                };
                // The caller is the last worker: one job needs no thread.
                if worker + 1 == jobs { turn() } else { drop(scope.spawn(turn)) }
            }
        });
        if stop() {
            return Ok(false);
        }
        sink(
            results
                .into_iter()
                .filter_map(|r| r.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
                .collect(),
        )?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_workers_do() {
        for jobs in [1, 2, 5] {
            let mut items = 0..500u64;
            let mut got = Vec::new();
            let work = |_: usize, i: u64| {
                std::thread::yield_now();
                i * i
            };
            let ended = in_order(
                || Ok::<_, ()>(items.next().map(|i| (i, 0))),
                Chunk::of(jobs, 1),
                || false,
                work,
                |chunk| {
                    got.extend(chunk);
                    Ok(())
                },
            );
            assert_eq!(ended, Ok(true));
            assert_eq!(got, (0..500).map(|i| i * i).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn an_error_ends_it_and_a_stop_drops_the_chunk() {
        let mut n = 0;
        let mut source = || {
            n += 1;
            if n > 100 { Err("source") } else { Ok(Some((n, 0))) }
        };
        assert_eq!(
            in_order(&mut source, Chunk::of(1, 1), || false, |_, i| i, |_| Ok(())),
            Err("source")
        );
        let done = AtomicUsize::new(0);
        let mut kept = 0;
        let ended = in_order(
            || Ok::<_, ()>(Some(((), 0))),
            Chunk::of(2, 1),
            || done.load(Ordering::Relaxed) >= 200,
            |_, ()| done.fetch_add(1, Ordering::Relaxed),
            |chunk| {
                kept += chunk.len();
                Ok(())
            },
        );
        assert_eq!(ended, Ok(false));
        assert!(kept < 200 && kept % 48 == 0, "{kept}");
    }

    #[test]
    fn large_items_are_not_held_by_the_dozen() {
        let mut n = 0;
        let mut chunks = Vec::new();
        let source = || {
            n += 1;
            Ok::<_, ()>((n <= 5).then_some((n, HELD_BYTES / 2)))
        };
        let ended = in_order(
            source,
            Chunk::of(1, 1),
            || false,
            |_, i| i,
            |chunk| {
                chunks.push(chunk);
                Ok(())
            },
        );
        assert_eq!((ended, chunks), (Ok(true), vec![vec![1, 2], vec![3, 4], vec![5]]));
    }
}
