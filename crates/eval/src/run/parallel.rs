//! Work on a stream of items by several threads, results in the order of the items, a chunk in memory at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Items a worker that are held at once. A worker waits at the end of a chunk for the slowest item, so it is not too small.
const ITEMS_PER_WORKER: usize = 24;

/// Calls `work(worker, item)` for every item and `sink` with the chunks of results in order, until the end, an error, or until
/// `stop` says so (the chunk in work is dropped then). Returns whether it came to the end.
pub(super) fn in_order<T: Send, R: Send, E>(
    mut source: impl FnMut() -> Result<Option<T>, E>,
    jobs: usize,
    stop: impl Fn() -> bool + Sync,
    work: impl Fn(usize, T) -> R + Sync,
    mut sink: impl FnMut(Vec<R>) -> Result<(), E>,
) -> Result<bool, E> {
    let jobs = jobs.max(1);
    loop {
        let mut items = Vec::new();
        while items.len() < jobs * ITEMS_PER_WORKER {
            match source()? {
                Some(item) => items.push(Mutex::new(Some(item))),
                None => break,
            }
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
                        let item = item.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                        let result = item.map(|item| work(worker, item));
                        *results[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = result;
                    }
                };
                // The caller is the last worker: one job needs no thread.
                if worker + 1 == jobs { turn() } else { drop(scope.spawn(turn)) }
            }
        });
        if stop() {
            return Ok(false);
        }
        sink(results.into_iter().filter_map(|r| r.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)).collect())?;
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
                || Ok::<_, ()>(items.next()),
                jobs,
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
            if n > 100 { Err("source") } else { Ok(Some(n)) }
        };
        assert_eq!(in_order(&mut source, 1, || false, |_, i| i, |_| Ok(())), Err("source"));
        let done = AtomicUsize::new(0);
        let mut kept = 0;
        let ended = in_order(
            || Ok::<_, ()>(Some(())),
            2,
            || done.load(Ordering::Relaxed) >= 200,
            |_, ()| done.fetch_add(1, Ordering::Relaxed),
            |chunk| {
                kept += chunk.len();
                Ok(())
            },
        );
        assert_eq!(ended, Ok(false));
        assert!(kept < 200 && kept % (2 * ITEMS_PER_WORKER) == 0, "{kept}");
    }
}
