//! Where a measurement was made: CPU, memory, system, commit and date; and the limits of the
//! machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use lacuna_kernels::isa::{self, Isa};
use lacuna_kernels::limits;
use serde::{Deserialize, Serialize};

use super::timing::Spread;

/// What a figure is worth nothing without.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// What of the CPU's instruction sets matters here.
    pub flags: Vec<String>,
    /// Bytes of the last cache.
    pub last_cache: usize,
    pub memory_gb: f64,
    pub system: String,
    pub version: String,
    /// Commit of the source tree that the binary lies in, `+` after it if that was changed; none
    /// outside of one.
    pub commit: Option<String>,
    /// UTC, `2026-11-24`.
    pub date: String,
}

/// Instruction sets that some row uses.
const FLAGS: [&str; 11] = [
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
];
/// Where the system does not tell.
const LIKELY_LAST_CACHE: usize = 32 << 20;

impl Machine {
    pub fn here() -> Machine {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo
                .lines()
                .find(|l| l.split(':').next().is_some_and(|key| key.trim() == name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let family = field("cpu family")
            .zip(field("model"))
            .map_or_else(String::new, |(f, m)| format!(" (family {f}, model {m})"));
        let all = field("flags").unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = meminfo.lines().find_map(|l| {
            l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        });
        Machine {
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()) + &family,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            flags: FLAGS
                .iter()
                .filter(|flag| all.split(' ').any(|f| f == **flag))
                .map(ToString::to_string)
                .collect(),
            last_cache: last_cache(),
            memory_gb: kilobytes.unwrap_or(0.0) / 1e6,
            system: system(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            date: date(SystemTime::now()),
        }
    }

    /// One line for the head of a table.
    pub fn line(&self, threads: usize) -> String {
        format!(
            "{}, {} cores, {} threads used, {:.0} MB last cache, {:.0} GB memory, {}; {}; lacuna {} at {}, {}",
            self.cpu,
            self.cores,
            threads,
            self.last_cache as f64 / f64::from(1 << 20),
            self.memory_gb,
            self.system,
            if self.flags.is_empty() {
                "no known vector extension".to_owned()
            } else {
                self.flags.join(" ")
            },
            self.version,
            self.commit.as_deref().unwrap_or("an unknown commit"),
            self.date
        )
    }
}

fn last_cache() -> usize {
    let read = |name: String| std::fs::read_to_string(name).ok();
    let size = |index: usize| {
        let text = read(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size"))?;
        let text = text.trim();
        let (digits, unit) = text.split_at(
            text.len() - text.chars().next_back().filter(|c| c.is_alphabetic()).map_or(0, |_| 1),
        );
        let scale = match unit {
            "K" => 1 << 10,
            "M" => 1 << 20,
            _ => 1,
        };
        Some(digits.parse::<usize>().ok()? * scale)
    };
    (0..8).filter_map(size).max().unwrap_or(LIKELY_LAST_CACHE)
}

fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned())
}

/// The commit of the source tree around the running binary.
fn commit() -> Option<String> {
    let exe = std::env::current_exe().ok()?;
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(exe.parent().unwrap_or(Path::new(".")))
            .args(args)
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|s| !s.is_empty());
    Some(if changed { head + "+" } else { head })
}

/// The day of a moment, in UTC.
fn date(at: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(at).format("%F").to_string()
}

/// What the machine can do with the threads of the run, measured in the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Gigabytes read a second.
    pub read_gbs: Spread,
    /// 10¹² integer operations a second with the row's multiply-add; `None` where there is no loop
    /// for it.
    pub tops: Option<Spread>,
}

impl Limits {
    /// Seconds that reading `bytes` and doing `ops` operations take at least, and which of the two
    /// it is. A limit is the best that was reached: a measurement that a neighbour disturbed must
    /// not flatter what is held against it.
    pub fn bound(&self, bytes: f64, ops: f64) -> (f64, Bound) {
        let read = bytes / self.read_gbs.most / 1e9;
        match &self.tops {
            Some(tops) if ops / tops.most / 1e12 > read => (ops / tops.most / 1e12, Bound::Integer),
            _ => (read, Bound::Read),
        }
    }
}

/// What keeps an operation from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    Read,
    Integer,
}

impl Bound {
    pub fn name(self) -> &'static str {
        match self {
            Bound::Read => "read",
            Bound::Integer => "integer",
        }
    }
}

/// One measurement of read bandwidth (GB/s) over `bytes` and of the row's integer peak (TOPS).
pub fn measure_limits(isa: Isa, threads: usize, bytes: usize) -> (f64, Option<f64>) {
    let time = Duration::from_millis(if bytes < 1 << 28 { 10 } else { 200 });
    (limits::read_bandwidth(threads, bytes, 2), limits::integer_peak(isa, threads, time))
}

/// Measurements of one run together. Panics: there are none.
pub fn limits_of(measured: &[(f64, Option<f64>)]) -> Limits {
    let reads: Vec<f64> = measured.iter().map(|m| m.0).collect();
    let peaks: Vec<f64> = measured.iter().filter_map(|m| m.1).collect();
    Limits { read_gbs: Spread::of(&reads), tops: (!peaks.is_empty()).then(|| Spread::of(&peaks)) }
}

/// Bytes over which read bandwidth is measured: a gigabyte, or four times the last cache.
pub fn limit_bytes(machine: &Machine) -> usize {
    (4 * machine.last_cache).max(1 << 30)
}

/// What `--isa` takes: a row that this machine can run.
pub fn parse_isa(name: &str) -> Result<Isa, String> {
    isa::choose(Some(name))
        .map(|row| row.isa())
        .map_err(|error| error.to_string().replace(isa::ISA_VARIABLE, "--isa"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_known_days() {
        let day =
            |days: u64| date(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + 86_399));
        let known = [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_819, "2027-01-01"),
            (20_818, "2026-12-31"),
        ];
        for (days, text) in known {
            assert_eq!(day(days), text);
        }
    }

    #[test]
    fn the_machine_is_known() {
        let here = Machine::here();
        assert!(!here.cpu.is_empty() && here.cores > 0 && here.last_cache >= 1 << 15, "{here:?}");
        assert!(here.line(3).contains("3 threads used") && here.line(3).contains(&here.date));
    }
}
