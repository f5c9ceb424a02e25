//! Memory that closed documents held goes back to the system: allocators keep what was freed, and a
//! few texts that parse badly leave gigabytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Closed text after which it is worth it: a tree takes some twenty times as much.
const ENOUGH_BYTES: usize = 64 << 10;
/// So long after the first of several that are closed at once.
const SOON: Duration = Duration::from_secs(1);

/// Notes that so many bytes of text were closed.
pub fn closed(bytes: usize) {
    static CLOSED: AtomicUsize = AtomicUsize::new(0);
    let before = CLOSED.fetch_add(bytes, Ordering::AcqRel);
    if before < ENOUGH_BYTES && before + bytes >= ENOUGH_BYTES {
        tokio::spawn(async {
            tokio::time::sleep(SOON).await;
            CLOSED.store(0, Ordering::Release);
            let _ = tokio::task::spawn_blocking(lacuna_engine::give_back).await;
        });
    }
}
