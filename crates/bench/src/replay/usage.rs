//! What a process has used: CPU time and peak memory, from `/proc`.

use serde::{Deserialize, Serialize};

/// Of one process since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// Largest resident set, in megabytes (10⁶ bytes).
    pub peak_mb: f64,
}

/// Ticks a second in `/proc/PID/stat`, on every Linux that we know.
const TICKS: f64 = 100.0;

/// Zeros where there is no `/proc`.
pub fn of_process(id: u32) -> Usage {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let stat = read("stat");
    // Behind the program's name, which may contain anything: state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks: f64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<f64>().ok()).sum();
    let status = read("status");
    let peak = status.lines().find_map(|l| {
        l.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    });
    Usage { cpu_seconds: ticks / TICKS, peak_mb: peak.unwrap_or(0.0) * 1024.0 / 1e6 }
}
