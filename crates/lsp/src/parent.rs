//! The process that started the server, where a client names it: when it dies without a word,
//! nobody is left to serve.
//!
//! Only on Linux, where `/proc` tells; elsewhere the end of the input is the only sign.

use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A process that was alive when it was named.
pub struct Parent {
    pid: u32,
    /// Its start, in the system's ticks: another process with the same number has another one.
    started: String,
}

impl Parent {
    /// `None`: there is no such process that could be watched (another system, another name space).
    pub fn of(pid: u64) -> Option<Parent> {
        let pid = u32::try_from(pid).ok().filter(|pid| *pid != std::process::id())?;
        started(pid).map(|started| Parent { pid, started })
    }

    fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }
}

/// Returns when the process has died; never without one.
pub async fn ended(parent: Option<&Parent>) {
    let Some(parent) = parent else { return std::future::pending().await };
    loop {
        tokio::time::sleep(INTERVAL).await;
        if !parent.is_alive() {
            return;
        }
    }
}

/// When a living process was started; a dead one that nobody has asked about yet does not count.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned))?
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_watched_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let parent = Parent::of(u64::from(child.id())).unwrap();
        assert!(parent.is_alive());
        child.kill().unwrap();
        while parent.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!parent.is_alive());
        assert!(Parent::of(u64::MAX).is_none() && Parent::of(u64::from(child.id())).is_none());
    }
}
